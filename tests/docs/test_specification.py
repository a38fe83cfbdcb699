"""The grammars that stand in the pages of the specification are those of what is hashed and sent."""

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pycddl
import pytest

from hefed.crypto.hashing import tagged_hash
from hefed.crypto.label import Label
from hefed.crypto.parameters import PROFILES
from hefed.protocol import codec
from hefed.protocol.opened import LEAST_VALUES, padded
from hefed.protocol.rules import Phase
from tests.protocol.conftest import study_file
from tests.protocol.federation import Federation

PROTOCOLS = Path(__file__).parents[2] / "protocols"
TOKEN = re.compile(r'\d*\*\d*|%x[0-9A-F]{2}(?:-[0-9A-F]{2})?|%s"[^"]*"|\d+|[A-Za-z][\w-]*|[()/]')


def grammar(page: str, language: str) -> str:
    block = rf"^```{language}\n(.*?)^```"
    (found,) = re.findall(block, (PROTOCOLS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


# --- Labels: ABNF as a regular expression over octets ----------------------------------------------------------------


def rules_of(abnf: str) -> dict[str, str]:
    lines = (line.partition(";")[0] for line in abnf.splitlines())
    return dict(re.findall(r"^(\S+)\s+=\s+(.*\S)", "\n".join(lines), re.MULTILINE))


def pattern(tokens: Iterator[str], rules: dict[str, str]) -> bytes:
    made, times = b"", b""
    for token in tokens:
        if token == ")":
            break
        if token == "/":
            made += b"|"
        elif repeat := re.fullmatch(r"(\d*)(\*?)(\d*)", token):
            least, star, most = repeat.groups()
            times = f"{{{least or 0},{most}}}".encode() if star else f"{{{least}}}".encode()
        else:
            made += b"(?:" + element(token, tokens, rules) + b")" + times
            times = b""
    return made


def element(token: str, tokens: Iterator[str], rules: dict[str, str]) -> bytes:
    if token == "(":
        return pattern(tokens, rules)
    if token.startswith("%s"):
        return re.escape(token[3:-1].encode())
    if token.startswith("%x"):
        ends = [re.escape(bytes.fromhex(end)) for end in token[2:].split("-")]
        return b"[" + b"-".join(ends) + b"]"
    if token == "OCTET":
        return b"."
    return pattern(iter(TOKEN.findall(rules[token])), rules)


LABELS = rules_of(grammar("round.md", "abnf"))
LABEL = re.compile(pattern(iter(TOKEN.findall(LABELS["label"])), LABELS), re.DOTALL)


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def octets(label: Label) -> bytes:
    """What the page says is hashed, part by part, without the code's own encoding."""
    parts = {
        "tag": b"hefed/1 label",
        "federation": label.federation.encode(),
        "study": label.study,
        "cohort": label.cohort,
        "round": u64(label.round),
        "purpose": label.purpose.encode(),
        "profile": label.profile.identifier.encode(),
        "contributors": u64(label.contributors),
        "values": u64(label.values),
        "exponents": struct.pack(f"<{label.values}h", *label.exponents.tolist()),
        "previous": label.previous,
    }
    return b"".join(u64(len(parts[name])) + parts[name] for name in LABELS["label"].split())


def made_up(profile: str, values: int) -> Label:
    return Label(
        federation="Nordic heart failure",
        study=bytes(range(32)),
        cohort=b"\n" * 32,
        round=300,
        purpose="time ranges",
        profile=PROFILES[profile],
        contributors=3,
        exponents=padded(np.resize(np.array([-900, 900, 0, -1], np.int16), values)),
        previous=b"\xff" * 32,
    )


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("values", [1, 32, 33, 5000])
def test_a_label_is_the_hash_of_octets_of_the_page_s_grammar(profile: str, values: int) -> None:
    label = made_up(profile, values)
    assert hashlib.sha256(octets(label)).digest() == label.digest
    assert LABEL.fullmatch(octets(label))


def test_the_grammar_of_labels_refuses_what_no_round_has() -> None:
    label = made_up("compact", 32)
    for other in (
        replace(label, purpose="Time"),
        replace(label, purpose=""),
        replace(label, federation=""),
        replace(label, exponents=np.zeros(LEAST_VALUES - 1, np.int16)),
    ):
        assert not LABEL.fullmatch(octets(other))
    whole = octets(label)
    for text in (whole[:-1], whole + b"\0", whole.replace(b"label", b"Label"), whole.replace(b"2048", b"1024")):
        assert not LABEL.fullmatch(text)


# --- The cohort ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """A federation up to the proposal of a cohort."""
    running = Federation(study_file(tmp_path_factory.mktemp("cohort") / "study.toml"))
    running.run(until=lambda now: now.board.phase is Phase.COHORT)
    return running


def test_the_cohort_of_a_study_is_the_hash_of_what_the_page_says(federation: Federation) -> None:
    cohort, schema = federation.board.cohort, pycddl.Schema(grammar("dealing.md", "cddl"))
    value = codec.decode(codec.encode(plain(asdict(cohort))))
    assert tagged_hash("cohort", codec.encode(value)) == cohort.digest
    schema.validate_cbor(codec.encode(value))
    for key in value:
        with pytest.raises(pycddl.ValidationError):
            schema.validate_cbor(codec.encode({one: value[one] for one in value if one != key}))


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value
