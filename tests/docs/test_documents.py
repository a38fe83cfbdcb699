"""Cheap truths about the documents: what they name exists, and what they must name is named."""

import json
import math
import re
import struct
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel

import hefed
import hefed.cli
import hefed.statistics
from hefed.crypto.hashing import prf
from hefed.crypto.parameters import COMPACT, PROFILES, Precision
from hefed.node import region
from hefed.protocol import codec
from hefed.protocol.answers import most_bytes, write_answers
from hefed.protocol.messages import KINDS
from hefed.protocol.opened import LEAST_VALUES
from hefed.protocol.reader import FINDING_STEP
from hefed.protocol.sealing import ContentCipher
from hefed.statistics.model import Phase
from hefed.study import Cox, Heading, Limits, Logistic, Security, Study
from protocols.diagrams import PAGES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("protocols/**/*.md"), *ROOT.glob("examples/**/*.md")])
EXAMPLE_ADDRESS = "10.0.0.1"
"""Stands for a machine that is nobody's (RFC 1918)."""
README, SECURITY = ROOT / "README.md", ROOT / "SECURITY.md"
ROUND, CLOSING, REVEALED = (ROOT / "protocols" / f"{name}.md" for name in ("round", "closing", "revealed"))
SPECIFICATION = (ROOT / "protocols" / "README.md", ROOT / "protocols" / "messages.md", *PAGES)
"""The pages of a study's protocols."""


def text(path):
    return path.read_text(encoding="utf-8")


def without_code(path):
    return re.sub(r"^```.*?^```", "", text(path), flags=re.MULTILINE | re.DOTALL)


def rows(path, columns):
    """The cells of all table rows with so many columns."""
    lines = (line.strip().strip("|").split("|") for line in text(path).splitlines() if line.startswith("|"))
    return [[cell.strip().strip("`") for cell in cells] for cells in lines if len(cells) == columns]


# --- What is named exists -------------------------------------------------------------------------


def test_every_guarantee_names_its_code_and_tests_that_exist():
    table = [row for row in rows(SECURITY, 4) if row[0].isdigit()]
    assert {row[0] for row in table} == set(re.findall(r"^(\d)\. \*", text(SECURITY), re.MULTILINE))
    for _, _, enforced, attacked in table:
        for path in enforced.replace("`", "").split(", "):
            assert (ROOT / path).is_file(), path
        named = re.findall(r"(tests/[a-z_/]+\.py)::(test_\w+)", attacked)
        assert len(named) == attacked.count("::") > 0
        for path, name in named:
            assert re.search(rf"^def {name}\(", text(ROOT / path), re.MULTILINE), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)]+)\)", without_code(path)):
        if not target.startswith("https://"):
            assert (path.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(path):
    for name in re.findall(r"\b((?:hefed|protocols|tests|examples|benchmarks)/(?!1\b)[\w./*-]*\w/?)", text(path)):
        assert list(ROOT.glob(name)), name


def test_names_in_code_that_are_named_exist():
    for path in DOCUMENTS:
        for name, file in re.findall(r"`(\w+)` in `((?:hefed|tests)/[\w/]+\.py)`", text(path)):
            assert re.search(rf"\b{name}\b", text(ROOT / file)), f"{name} in {file}"


def test_tests_that_are_named_exist():
    tests = "\n".join(map(text, ROOT.glob("tests/**/*.py")))
    defined = set(re.findall(r"^def (test_\w+)\(", tests, re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"`(test_\w+)`", text(path))}
    assert named - defined == set()
    assert len(named) > 30


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_machine_path_host_or_address_slips_in(path):
    for pattern in (r"/(?:work|home|tmp|root|Users)/", r"[\w.]+@\w+\.\w", r"\b(?:\d{1,3}\.){3}\d{1,3}\b", r"localhost"):
        assert not re.search(pattern, text(path).replace(EXAMPLE_ADDRESS, "")), pattern


# --- README ---------------------------------------------------------------------------------------


def study_of_readme():
    blocks = re.findall(r"^```toml\n(.*?)^```", text(README), flags=re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith("[study]")]
    return block


SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "study": (Heading,),
    "model": (Cox, Logistic),
    "security": (Security,),
    "limits": (Limits,),
}


def test_the_study_file_in_the_readme_has_every_key_and_no_other():
    section, keys = "", {}
    for line in study_of_readme().splitlines():
        if found := re.match(r"\[(\w+)", line):
            section = found[1]
        elif found := re.match(r"(?:# )?(\w+) = ", line):
            keys.setdefault(section, set()).add(found[1])
    assert keys.pop("regions") == {"data", "contributes"}
    assert keys == {name: {key for model in models for key in model.model_fields} for name, models in SECTIONS.items()}


def test_the_study_file_in_the_readme_loads_and_shows_the_defaults(tmp_path):
    (tmp_path / "all.toml").write_text(study_of_readme(), encoding="utf-8")
    needed = {"id", "purpose", "kind", "duration", "event", "covariates"}
    content = tomllib.loads(study_of_readme())
    sparse = {name: {key: value for key, value in content[name].items() if key in needed} for name in SECTIONS}
    lines = []
    for name, values in sparse.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    for name, values in content["regions"].items():
        lines += [f"[regions.{name}]", f"data = {json.dumps(values['data'])}"]
    (tmp_path / "sparse.toml").write_text("\n".join(lines), encoding="utf-8")
    assert Study.load(tmp_path / "all.toml").public() == Study.load(tmp_path / "sparse.toml").public()


def test_every_option_of_simulate_is_in_the_readme():
    import inspect

    for option in inspect.signature(hefed.cli.study.simulate).parameters:
        if option != "study_file":
            assert f"--{option}" in text(README)


def commands():
    """Every command as it is typed, with its function."""
    groups = [
        ("hefed", hefed.cli.app.app),
        ("hefed federation", hefed.cli.federation.federation_app),
        ("hefed keys", hefed.cli.keys.keys_app),
    ]
    for group, typer_app in groups:
        for command in typer_app.registered_commands:
            yield f"{group} {command.name or command.callback.__name__}", command.callback


def test_every_command_is_in_the_readme_and_no_other():
    typed = {name for name, _ in commands()}
    assert {name for name in typed if name not in text(README)} == set()
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", text(README), flags=re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^(hefed (?:(?:federation|keys) )?[a-z-]+)", shell, flags=re.MULTILINE)
    assert set(lines) <= typed
    assert len(lines) >= 8


def test_what_the_demonstration_says_is_next_is_in_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "result.hefed").touch()
    said = hefed.cli.study.next_commands(Path("demo"), ".venv/bin/hefed")
    assert len(said) == 3
    assert "\n" + "\n".join(said) + "\n```\n" in text(README)


def test_the_bounds_of_limits_in_the_readme_are_the_code_s():
    for name in ("rounds", "step", "linear_predictor", "min_effective", "min_events"):
        (line,) = re.findall(rf"^{name} = .*# (.*)$", study_of_readme(), flags=re.MULTILINE)
        bounds = {
            kind: getattr(one, kind)
            for one in Limits.model_fields[name].metadata
            for kind in ("ge", "le")
            if hasattr(one, kind)
        }
        if bounds.get("ge", 1) > 1:
            assert f"{bounds['ge']:g} to {bounds['le']:g}" in line, name
        else:
            assert re.search(rf"(at most|no more than) {bounds['le']:g}\b", line), name


def test_the_exit_codes_are_those_of_the_command_line():
    codes = [cells[0] for cells in rows(README, 2)]
    assert {"0", str(hefed.cli.app.EXIT_FAILED), str(hefed.cli.app.EXIT_INPUT)} <= set(codes)


def test_the_changelog_knows_this_version():
    assert f"## [{hefed.__version__}]" in text(ROOT / "CHANGELOG.md")


# --- The specification ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_message_is_specified_once(kind):
    assert sum(text(page).count(f"**`{kind}`**") for page in SPECIFICATION) == 1


def test_the_pages_times_are_the_code_s():
    from hefed.node import analyst, connections, consent
    from hefed.node.limits import USUAL
    from hefed.protocol import coordinator, messages

    page = " ".join(" ".join(map(text, SPECIFICATION)).split())
    assert f"does so {region.PATIENCE:.0f} s after the study expires" in page
    assert f"gives up by itself {analyst.SILENCE:.0f} s after the last sign" in page
    assert f"gives up by itself {analyst.GRACE:.0f} s after the study has expired" in page
    assert f"not connected for {connections.GONE_AFTER:.0f} s" in page
    assert f"(and {consent.CLOCK_TOLERANCE:.0f} s for differing clocks)" in page
    assert coordinator.PATIENCE == 0.25
    assert "silent for a quarter of the wait" in page
    assert f"attempt (1, 2, ..., {messages.MAX_ATTEMPTS})" in page
    assert f"at most {messages.MAX_ATTEMPTS} attempts" in page
    assert f"at most {messages.MAX_WORDS} printable characters" in page
    assert f"nest at most {codec.MAX_DEPTH} deep" in page
    assert f"at most {codec.MAX_ITEMS} items" in page
    assert f"differ: an estimate by more than {analyst.AGREEMENT:.0e}".replace("e-0", "e-") in page
    assert f"has at most {USUAL.region_studies} studies that run or wait at once" in page
    assert f"up to {USUAL.aggregator_studies} studies running" in " ".join(text(SECURITY).split())
    assert hefed.study.MAX_COMPACT == 2**24
    assert "|U|^3 binomial(n, t-1) > 2^24" in page
    assert messages.MAX_ATTACHMENT == 900 * 10**6
    assert "at most 900 MB an attachment" in page
    values = 3 * 8 * COMPACT.ring_degree
    assert most_bytes(3, 5, COMPACT, values) == 128 + 3 * (COMPACT.packed_size(values) + 16 * 3 + 64 + 2 * 5)
    assert "at most 128 + s (p + 16 g + 64 + 2 (t-1)) bytes" in page


def test_findings_are_filled_up_to_what_the_pages_say():
    for path in (CLOSING, REVEALED, SECURITY):
        assert re.search(rf"multiples? of {FINDING_STEP} bytes", " ".join(text(path).split())), path


def test_the_form_of_answers_is_the_page_s():
    cipher, packed = ContentCipher(bytes(32), ("context",)), bytes(COMPACT.packed_size(1))
    answers = write_answers(cipher, COMPACT, 1, [((0, 2), [packed])], [((1,), bytes(32))])
    (length,) = struct.unpack_from("<I", answers)
    aes = AESGCM(prf(bytes(32), "content", "context"))
    assert codec.decode(aes.decrypt(bytes(12), answers[4 : 4 + length], None)) == {
        "answers": [[0, 2]],
        "hashes": [{"share": [1], "digest": bytes(32)}],
    }
    assert aes.decrypt((1).to_bytes(12, "little"), answers[4 + length :], None) == packed
    assert '{"answers": [set, ...], "hashes": [{"share": set, "digest": hash}, ...]}' in " ".join(text(ROUND).split())


def phases(of=Phase):
    return {phase for direct in of.__subclasses__() for phase in ({direct} | phases(direct))}


def test_every_round_of_every_statistic_is_on_the_page_of_what_is_revealed():
    purposes = {phase.purpose for phase in phases()}
    assert len(purposes) > 5
    for purpose in {*purposes, "known answer"}:
        assert f"`{purpose}`" in text(REVEALED)


def test_the_numbers_of_values_on_that_page_are_the_code_s():
    from hefed.statistics import Cox as CoxModel
    from hefed.statistics import Logistic as LogisticModel
    from hefed.statistics.columns import Means, Ranges, Scales, Spreads, Variances
    from hefed.statistics.cox_shared import Layout, TimeRanges

    p = 5
    names = tuple(f"x{j}" for j in range(p))
    cox = CoxModel(names, "time", "event", regions=3, noise_bits=70)
    assert Ranges(cox).exponents().size == 27 + 129 * p
    zeros, ints = 0.0 * cox.first_phase().exponents()[:p], cox.first_phase().exponents()[:p]
    assert Means(cox, 8, ints).exponents().size == 2 + p
    assert Spreads(cox, 8, 9, 9, zeros, zeros).exponents().size == 129 * p
    assert Variances(cox, 8, 9, 9, zeros, ints).exponents().size == p
    assert TimeRanges.vote.size == 40
    scales = Scales(90, 30, zeros, zeros + 1, zeros + 3, zeros + 1)
    assert cox.after_columns(scales).exponents().size == 1 + p + p * (p + 1) // 2
    q = p + 1
    logistic = LogisticModel(names, "y", regions=3, noise_bits=70)
    assert logistic.after_columns(scales).exponents().size == 1 + q + q * (q + 1) // 2
    assert Layout(p, 20, 4).size == (1 + p + p * (p + 1) // 2) * (20 + 4)


# --- SECURITY.md ----------------------------------------------------------------------------------


def test_what_a_reviewer_runs_stands_before_all_else_and_is_what_the_demonstration_says():
    _, first, *_ = text(SECURITY).split("\n## ")
    assert first.startswith("Three commands\n")
    assert len(first.splitlines()) < 20
    (demo, *_), *others = [row for row in rows(SECURITY, 3) if "demo" in row[0]]
    assert demo == "make demo"
    said = [line.partition("  #")[0] for line in text(README).splitlines() if line.startswith(".venv/bin/hefed ")]
    assert [row[0] for row in others] == [command.strip() for command in said]
    assert len(others) == 2
    headings = {
        re.sub(r"[^a-z -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^## (.*)$", text(SECURITY), re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", " ".join(text(SECURITY).split()))) <= headings


def test_the_figures_of_noise_and_precision_are_the_code_s():
    table = [cells for cells in rows(SECURITY, 7) if cells[0] in PROFILES]
    assert len(table) == 5
    for profile, n, t, contributors, answer, opened, error in table:
        precision = Precision(PROFILES[profile], int(n), int(t), int(contributors))
        assert float(answer) == round(precision.sigma_answer, 1)
        assert float(opened) == round(precision.sigma_opened, 1)
        assert error == f"2^{math.log2(precision.error(0)):.1f}"


def test_the_parameter_sets_of_the_estimates_are_the_code_s():
    table = {cells[0]: cells[1:3] for cells in rows(SECURITY, 5) if cells[0] in PROFILES}
    assert table == {name: [str(profile.ring_degree), str(profile.modulus_bits)] for name, profile in PROFILES.items()}


def test_the_deviation_that_is_left_is_the_one_of_the_estimates():
    """sigma_0 of the argument for privacy, from the variances that the code uses."""
    for contributors in (3, 32, 4096):
        precision = Precision(PROFILES["precise"], 3, 2, contributors)
        inverse = 2 * (1 / precision.variance_contribution + contributors / precision.variance_answer)
        assert round(1 / math.sqrt(inverse), 3) == 3.204
    assert "= 3.204" in text(SECURITY)


def test_guesses_of_what_a_label_hides_are_as_many_as_the_page_says():
    """In the smallest study that is allowed, to who knows all noise but that of one answer."""
    smallest = min(
        Precision(profile, n, t, max(3, t + 1)).sigma_answer
        for profile in PROFILES.values()
        for n in range(2, 9)
        for t in range(2, n + 1)
    )
    assert f"deviation {smallest:.1f} or more" in " ".join(text(SECURITY).split())
    assert f"at least {LEAST_VALUES} values" in " ".join(text(SECURITY).split())
    assert LEAST_VALUES * math.log2(smallest * math.sqrt(2 * math.pi)) > 256


def test_the_check_of_a_sum_is_as_good_as_the_page_says():
    worst = min(min(profile.primes) for profile in PROFILES.values())
    assert 3 * math.log2(2 / worst) < -134
    assert "(2/p)^3 < 2^-134" in " ".join(text(SECURITY).split())


def test_the_distances_of_the_argument_are_as_small_as_the_page_says():
    page = " ".join(text(SECURITY).split())
    log2_opened, contributors = 30, 32
    # eta_epsilon(Z^k) <= sqrt(ln(2 k (1 + 1/epsilon)) / pi) is at most sqrt(pi) sigma_0 for this epsilon.
    log2_epsilon_for_one = 1 - (math.pi * 3.204) ** 2 / math.log(2)
    assert -143 < 3 + log2_epsilon_for_one < -142
    assert "k 2^-142 a coefficient" in page
    assert 3 + log2_epsilon_for_one + math.log2(contributors) + log2_opened < -107
    assert "2^-107 for 2^30 opened values of 32 contributors" in page
    # The samplers: what lies beyond 11 deviations, and 51,138 thresholds rounded to 127 bits.
    tail, rounding = 2 * math.exp(-(11**2) / 2), 51_138 * 2.0**-127
    assert math.log2(tail + rounding) < -80
    assert -80 + math.log2(contributors + 1) + log2_opened < -44
    assert "2^-44 for the same number of values" in page


def test_the_sizes_in_the_reviewers_guide_are_about_right():
    (guide,) = re.findall(r"^## A reviewer's guide$(.*?)^## ", text(SECURITY), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^\| (`.*`) \| (\d+) \|", guide, flags=re.MULTILINE)
    assert len(found) == 9
    for names, lines in found:
        sizes = [len((ROOT / name).read_text().splitlines()) for name in re.findall(r"`([^`]+)`", names)]
        assert abs(sum(sizes) - int(lines)) <= 0.1 * int(lines), (names, sum(sizes))
