"""Study files: what is read from them, and the sentence that each mistake gets."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hefed.study import Cox, Logistic, Study, StudyError

COX = """
[study]
id = "heart-failure"
purpose = "Which factors go with death?"

[model]
kind = "cox"
duration = "time"
event = "DEATH"
covariates = ["age", "sodium"]
ties = "efron"
missing = "refuse"
ridge = 0.0

[security]
threshold = 2
min_contributors = 3
profile = "precise"

[regions.halland]
data = "halland.csv"
[regions.orebro]
data = "sub/orebro.csv"
[regions.kronoberg]
data = "/data/kronoberg.csv"
"""

Load = Callable[[str], Study]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(text: str) -> Study:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return Study.load(path)

    return write_and_load


def test_a_study_file_is_read_with_its_defaults(load: Load, tmp_path: Path) -> None:
    study = load(COX)
    assert study.id == "heart-failure"
    assert study.purpose == "Which factors go with death?"
    assert isinstance(study.model, Cox)
    assert study.model.columns == ("time", "DEATH", "age", "sodium")
    assert (study.model.ties, study.model.baseline, study.model.missing) == ("efron", "per-region", "refuse")
    assert study.contributors == study.keyholders == study.readers == ("halland", "kronoberg", "orebro")
    assert (study.security.engine, study.security.deadline, study.limits.wait) == ("tenseal", 600, 120)
    assert study.tables == {
        "halland": tmp_path / "halland.csv",
        "orebro": tmp_path / "sub/orebro.csv",
        "kronoberg": Path("/data/kronoberg.csv"),
    }


def test_only_the_sections_that_have_no_default_are_needed(load: Load) -> None:
    security = COX[COX.index("[security]") : COX.index("[regions.halland]")]
    study = load(COX.replace(security, ""))
    assert (study.security.threshold, study.security.min_contributors, study.security.profile) == (2, 3, "precise")


def test_compact_is_vectorised_unless_told_otherwise(load: Load) -> None:
    compact = COX.replace('"precise"', '"compact"')
    assert load(compact).security.engine == "vectorised"
    assert load(compact.replace("[security]", '[security]\nengine = "tenseal"')).security.engine == "tenseal"


def test_min_contributors_follows_the_threshold(load: Load) -> None:
    text = COX.replace("min_contributors = 3\n", "").replace("threshold = 2", "threshold = 3")
    more = "".join(f'[regions.r{i}]\ndata = "{i}.csv"\n' for i in range(2))
    assert load(text + more).security.min_contributors == 4


def test_a_region_without_data_is_a_keyholder_only(load: Load) -> None:
    study = load(COX + "[regions.university]\n")
    assert study.contributors == ("halland", "kronoberg", "orebro")
    assert study.keyholders == ("halland", "kronoberg", "orebro", "university")
    assert study.readers == study.contributors
    assert study.members == study.keyholders
    assert "university" not in study.tables


def test_listed_keyholders_and_readers_are_taken_in_any_order(load: Load) -> None:
    listed = '[security]\nkeyholders = ["orebro", "halland"]\nreaders = ["uni", "orebro", "kronoberg", "halland"]'
    study = load(COX.replace("[security]", listed) + "[regions.uni]\n")
    assert study.keyholders == ("halland", "orebro")
    assert study.readers == ("halland", "kronoberg", "orebro", "uni")


def test_a_logistic_model_has_an_outcome(load: Load) -> None:
    study = load(
        COX.replace('"cox"', '"logistic"').replace('duration = "time"\nevent', "outcome").replace("ties =", "# ")
    )
    assert isinstance(study.model, Logistic)
    assert study.model.columns == ("DEATH", "age", "sodium")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30 s", 30), ("1 s", 1), ("10 min", 600), ("2h", 7200), ("2 h", 7200), ("30 d", 2592000)]
)
def test_durations_are_text_with_a_unit(load: Load, text: str, seconds: int) -> None:
    assert load(COX.replace("[security]", f'[security]\ndeadline = "{text}"')).security.deadline == seconds


@pytest.mark.parametrize("name", sorted(str(path) for path in Path("examples").glob("*/*.toml")))
def test_the_examples_are_valid(name: str) -> None:
    study = Study.load(Path(name))
    assert all(path.is_file() for path in study.tables.values())


DURATION_RULE = 'must be a duration such as "30 s", "10 min" or "2 h"'
NAME_RULE = "must be small letters, digits and inner hyphens, at most 64"
TWINS = "; give them names that cannot be taken for each other"
PRINTABLE = "must be printable text on one line, without spaces at its ends"

MISTAKES = [
    ("threshold =", "treshold =", "unknown key 'treshold' in [security]; did you mean 'threshold'?"),
    ("threshold =", "zzz = 1\nthreshold =", "unknown key 'zzz' in [security]; remove it"),
    ("[study]", "[studdy]", "unknown section or key 'studdy'; did you mean 'study'?"),
    ('id = "heart-failure"', "", "[study] has no 'id'; add it"),
    ('"heart-failure"', '"Heart"', f"[study] id {NAME_RULE}, not 'Heart'"),
    ('"Which', '"\\u001b[2JWhich', f"[study] purpose {PRINTABLE}"),
    ('"Which', '" Which', f"[study] purpose {PRINTABLE}"),
    ('"Which', '"' + 500 * "W", "[study] purpose must have at most 500 characters"),
    ('kind = "cox"', "", '[model] has no \'kind\'; add kind = "cox" or kind = "logistic"'),
    ('"cox"', '"coxx"', "[model] kind must be 'logistic' or 'cox', not 'coxx'; did you mean 'cox'?"),
    ('"cox"', '"logistic"', "unknown key 'duration' in [model]; remove it"),
    ('duration = "time"', "", "[model] has no 'duration'; add it"),
    ('"efron"', '"Efron"', "[model] ties must be 'efron' or 'breslow', not 'Efron'; did you mean 'efron'?"),
    ('["age", "sodium"]', "[]", "[model] covariates must not be empty"),
    ('["age", "sodium"]', '"age"', "[model] covariates must be a list in square brackets, not 'age'"),
    ('["age", "sodium"]', '["age", 3]', "[model] covariates, entry 2 must be text in quotes, not 3"),
    ('["age", "sodium"]', '["age", ""]', "[model] covariates, entry 2 must not be empty"),
    ('["age", "sodium"]', '["age", "age"]', "[model] covariates names 'age' twice; name it once"),
    ('"sodium"', '"time"', "[model] uses column 'time' in two places; give each column one part"),
    (
        '"sodium"',
        '"(intercept)"',
        "[model] has a covariate '(intercept)'; a logistic model has its intercept anyhow, so rename it",
    ),
    ("ridge = 0.0", "ridge = -1.0", "[model] ridge must be at least 0.0, not -1.0"),
    ("ridge = 0.0", "ridge = nan", "[model] ridge must be a finite number"),
    ("ridge = 0.0", 'ridge = "1"', "[model] ridge must be a number, not '1'"),
    ("threshold = 2", 'threshold = "2"', "[security] threshold must be a whole number, not '2'"),
    ("threshold = 2", "threshold = 2.0", "[security] threshold must be a whole number, not 2.0"),
    ("threshold = 2", "threshold = true", "[security] threshold must be a whole number, not true"),
    ("threshold = 2", "threshold = 1", "[security] threshold must be at least 2, not 1"),
    ("threshold = 2", "threshold = 4", "[security] threshold is 4 of only 3 keyholders; lower it or add keyholders"),
    (
        "min_contributors = 3",
        "min_contributors = 2",
        "[security] min_contributors is 2, but must be at least threshold + 1 = 3; "
        "raise it or lower threshold, so that two honest regions remain when threshold - 1 act together",
    ),
    (
        "min_contributors = 3",
        "min_contributors = 4",
        "3 regions with data, but [security] min_contributors is 4; "
        "add regions with data, by contributes = true or data, or lower it if threshold allows",
    ),
    (
        "[security]",
        '[security]\nkeyholders = ["halland", "orbro"]',
        "[security] keyholders names 'orbro', which has no section [regions.orbro]; did you mean 'orebro'?",
    ),
    (
        "[security]",
        '[security]\nkeyholders = ["orebro", "orebro"]',
        "[security] keyholders names 'orebro' twice; name it once",
    ),
    (
        "[security]",
        '[security]\nreaders = ["halland", "orebro"]',
        "[security] readers leaves out 'kronoberg', which contributes and needs each sum to go on; add it",
    ),
    ("[security]", '[security]\ndeadline = "soon"', f"[security] deadline {DURATION_RULE}"),
    ("[security]", "[security]\ndeadline = 600", f"[security] deadline {DURATION_RULE}"),
    ("[security]", '[security]\ndeadline = "31 d"', "[security] deadline must be between 1 second and 30 days"),
    ("[security]", "[limits]\nrounds = 0\n[security]", "[limits] rounds must be at least 1, not 0"),
    ("[security]", "[limits]\nrounds = 101\n[security]", "[limits] rounds must be at most 100, not 101"),
    (
        "[security]",
        "[limits]\nmin_effective = 4.9\n[security]",
        "[limits] min_effective must be at least 5.0, not 4.9",
    ),
    (
        "[security]",
        "[limits]\nmin_effective = 101.0\n[security]",
        "[limits] min_effective must be at most 100.0, not 101.0",
    ),
    ("[security]", "[limits]\nmin_events = 4\n[security]", "[limits] min_events must be at least 5, not 4"),
    ("[security]", "[limits]\nmin_events = 101\n[security]", "[limits] min_events must be at most 100, not 101"),
    ("[security]", "[limits]\nround = 1\n[security]", "unknown key 'round' in [limits]; did you mean 'rounds'?"),
    (
        "[regions.orebro]",
        "[regions.halland]",
        "two regions with the same name 'halland' (line 22, column 17); give each its own name",
    ),
    (
        "[regions.orebro]",
        "[regions.Halland]",
        f"two regions with the same name but for case or signs, 'halland' and 'Halland'{TWINS}",
    ),
    (
        "[regions.orebro]",
        "[regions.hal-land]",
        f"two regions with the same name but for case or signs, 'halland' and 'hal-land'{TWINS}",
    ),
    ("[regions.orebro]", "[regions.'Örebro']", f"the name of a region {NAME_RULE}, not 'Örebro'; rename it"),
    (
        "[regions.orebro]",
        "[regions.aggregator]",
        "no region can be called 'aggregator', as another party has that name; rename it",
    ),
    ('data = "halland.csv"', 'dta = "halland.csv"', "unknown key 'dta' in [regions.halland]; did you mean 'data'?"),
    ('data = "halland.csv"', "data = 3", "[regions.halland] data must be text in quotes, not 3"),
    (
        "[security]",
        '[regions.idle]\n[security]\nkeyholders = ["halland", "orebro"]',
        "[regions.idle] has no data and is no keyholder or reader; write contributes = true if it gives data, give "
        "it another part, or remove it",
    ),
    ("[security]", "[model]", "section [model] is there twice (line 15, column 7); join the two"),
    ("[study]", "[study", "is not valid TOML: Expected ']' at the end of a table declaration (at line 2, column 7)"),
]


@pytest.mark.parametrize(("right", "wrong", "sentence"), MISTAKES, ids=[sentence[:50] for *_, sentence in MISTAKES])
def test_each_mistake_gets_its_sentence(load: Load, tmp_path: Path, right: str, wrong: str, sentence: str) -> None:
    assert right in COX
    with pytest.raises(StudyError) as caught:
        load(COX.replace(right, wrong, 1))
    assert str(caught.value) == f"{tmp_path / 'study.toml'}: {sentence}"


def test_a_shared_baseline_needs_the_precise_profile(load: Load) -> None:
    shared = COX.replace('ties = "efron"', 'baseline = "shared"')
    assert load(shared).security.profile == "precise"
    with pytest.raises(StudyError, match=r'baseline = "shared" needs .* profile = "precise"'):
        load(shared.replace('profile = "precise"', 'profile = "compact"'))


def test_a_file_without_regions_says_what_to_add(load: Load) -> None:
    with pytest.raises(StudyError, match=r"no region is named; add a section \[regions.NAME\] .* contributes = true"):
        load(COX[: COX.index("[regions")])


def test_a_file_in_which_no_region_gives_data_says_what_to_write(load: Load) -> None:
    with pytest.raises(StudyError, match="no region gives data; write contributes = true in the section"):
        load(re.sub(r"(?m)^data = .*$", "", COX))
    with pytest.raises(StudyError, match=r"unknown key 'contribute' .*; did you mean 'contributes'"):
        load(re.sub(r"(?m)^data = .*$", "contribute = true", COX))


def test_an_empty_file_says_what_to_add(load: Load) -> None:
    with pytest.raises(StudyError, match=r"'study' is missing; add a section \[study\]"):
        load("")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such file or directory; check the name"):
        Study.load(tmp_path / "none.toml")
    with pytest.raises(StudyError, match="is a directory; check the name"):
        Study.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"#" * ((1 << 20) + 1), "has more than 1 MiB"),
        (b"a = " + b"[" * 100_000, "is not valid TOML"),
        (b"a = " + b"9" * 10_000, "is not valid TOML"),
        (b"a = '\x00'", "is not valid TOML"),
    ],
)
def test_bytes_that_are_no_study_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=sentence):
        Study.load(path)


def test_a_threshold_needs_no_more_shares_than_a_round_can_answer(load: Load) -> None:
    many = "".join(f'[regions.r{i}]\ndata = "{i}.csv"\n' for i in range(13))
    text = COX.replace("min_contributors = 3\n", "") + many
    assert len(load(text.replace("threshold = 2", "threshold = 3")).keyholders) == 16
    with pytest.raises(StudyError, match="threshold 8 of 16 keyholders makes too many shares"):
        load(text.replace("threshold = 2", "threshold = 8"))
    with pytest.raises(StudyError, match="threshold 2 of 17 keyholders makes too many shares"):
        load(text + "[regions.university]\n")


def test_the_compact_profile_is_refused_to_more_regions_and_keyholders_than_it_can_tell_apart(load: Load) -> None:
    compact = COX.replace('profile = "precise"', 'profile = "compact"').replace("min_contributors = 3\n", "")
    for regions in (177, 178):  # 3 * 177^3 < 2^24 < 3 * 178^3
        keyholders = '[security]\nkeyholders = ["halland", "orebro", "kronoberg"]'
        more = "".join(f'[regions.r{i}]\ndata = "{i}.csv"\n' for i in range(regions - 3))
        text = compact.replace("[security]", keyholders) + more
        if regions == 177:
            assert len(load(text).contributors) == 177
        else:
            with pytest.raises(
                StudyError, match='"compact" is too coarse for 178 regions with data and threshold 2 of 3'
            ):
                load(text)
