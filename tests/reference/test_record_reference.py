"""The reference of the record runs the vectors of records: it takes the good one, opens its sum, and finds what is
wrong with each bad one.

Relies on the reference alone; must not import hefed.
"""

import json
from base64 import b64decode
from pathlib import Path

import pytest

from protocols.reference import cbor
from protocols.reference.answers import known_vector, read_answers
from protocols.reference.encryption import (
    Precision,
    answer,
    answer_hash,
    contribution,
    decode_value,
    open_sum,
)
from protocols.reference.envelopes import BreachError
from protocols.reference.keys import open_seeds, subsets
from protocols.reference.primitives import RefusedError, ceil_sqrt
from protocols.reference.record import Record
from protocols.reference.sealing import open_sealed
from protocols.reference.vector_format import bytes_of

VECTORS = json.loads((Path(__file__).parents[2] / "protocols/vectors/records/round.json").read_text(encoding="utf-8"))
CASES = {case["case"]: case for case in VECTORS["cases"]}
MESSAGES = [
    (bytes_of(kept["envelope"], b64decode), [bytes_of(data, b64decode) for data in kept["attachments"]])
    for kept in VECTORS["messages"]
]
REASONS = {
    "attachment": "an attachment that is not the one that was signed",
    "attachment length": "an attachment that is too long",
    "envelope length": "an envelope that is too long",
    "federation": "another federation",
    "sender": "a sender that is not on the roster",
    "signature": "a signature that is not its sender's",
    "version": "another version of the protocol",
}
"""What the reference says where a message is not read."""
BEYOND: dict[str, str] = {}
"""Bad cases that the reference cannot find, and why. There is none: each breaks a rule that needs no secret."""


def begun(study: str = VECTORS["study"]) -> Record:
    return Record(VECTORS["party"], b64decode(VECTORS["roster"]), bytes.fromhex(study))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_reference_names_rule_and_party(case):
    record, found, reason = begun(case.get("study", VECTORS["study"])), [], ""
    for index in case["record"]:
        try:
            record.take(*MESSAGES[index])
        except BreachError as breach:
            found, reason = [[breach.rule, breach.party]], breach.reason
            break
    if "why" in case:
        assert (reason, index) == (REASONS[case["why"]], case["record"][-1])
    assert found == ([] if case["case"] in BEYOND else case["findings"])


def test_of_each_message_that_is_not_read_it_is_said_why():
    """And of no other: what else is wrong is named by rule and party."""
    assert {case["why"] for case in CASES.values() if "why" in case} == set(REASONS)
    for case in CASES.values():
        assert ("why" in case) is (case["findings"] == [["transcript", VECTORS["party"]]])


def test_what_is_beyond_the_reference_is_among_the_cases():
    assert set(BEYOND) <= set(CASES)
    assert sum(case["findings"] == [] for case in CASES.values()) == 4


# --- The good one, with its secrets --------------------------------------------------------------


class Opened:
    """The known answer of the whole round, from the secrets that the vectors tell."""

    def __init__(self) -> None:
        self.record = begun()
        for index in CASES["a whole round"]["record"]:
            self.record.take(*MESSAGES[index])
        self.label = self.record.known_answer_label
        self.dealt, self.threshold = self.record.dealt, self.record.threshold
        self.round = self.record.rounds[0]
        self.precision = Precision(self.record.profile, len(self.dealt), self.threshold, len(self.record.contributors))
        self.seeds = {name: self.seeds_of(name) for name in sorted(self.record.contributors)}

    def seeds_of(self, dealer):
        """Its seeds, as all keyholders open them; each is held against the hashes that the dealer signed."""
        deal, seeds = self.record.said["deal"][dealer].content, {}
        for j, name in enumerate(self.dealt):
            secret = bytes.fromhex(VECTORS["secrets"]["dealing_keys"][name][dealer])
            data = open_sealed(secret, deal["sealed"][name], ("deal", self.record.study, dealer, name))
            held = open_seeds(self.record.study, dealer, j, len(self.dealt), self.threshold, data, deal["hashes"])
            assert all(seeds.setdefault(subset, seed) == seed for subset, seed in held.items())
        return {subset: seeds[subset] for subset in subsets(len(self.dealt), self.threshold)}

    def content_key(self, keyholder, reader):
        """A keyholder's content key, as a reader opens it."""
        secret = bytes.fromhex(VECTORS["secrets"]["reading_keys"][reader])
        sealed = self.record.said["acknowledgement"][keyholder].content["content_keys"][reader]
        return open_sealed(secret, sealed, ("content key", self.record.study, keyholder, reader))

    def answers_of(self, keyholder, sealed=None):
        message = self.round.answers[keyholder, 1]
        (key,) = {self.content_key(keyholder, reader) for reader in self.record.readers}
        where = (self.record.profile, self.label.values, self.label.digest, keyholder, self.round.opens[0].digest)
        return read_answers(*where, key, message.attachments[0] if sealed is None else sealed)


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened()


def test_label_and_cohort_are_those_that_all_signed(opened):
    assert {m.content["label"] for m in opened.round.contributions.values()} == {opened.label.digest}
    assert opened.record.signed == opened.record.contributors


def test_each_contribution_is_the_known_vector_encrypted(opened):
    for name, message in opened.round.contributions.items():
        noise = bytes.fromhex(VECTORS["secrets"]["noise_secrets"][name])
        values = known_vector(opened.label.digest, name)
        packed = contribution(opened.precision, opened.label, name, opened.seeds[name], noise, values)
        assert message.attachments == [packed]


def test_answers_and_hashes_are_those_of_the_dealt_seeds_and_open_the_known_answer(opened):
    answers, hashed = {}, 0
    read = {name: opened.answers_of(name) for name in opened.dealt}
    right = {
        T: answer(opened.label, T, {dealer: seeds[T] for dealer, seeds in opened.seeds.items()})
        for T in subsets(len(opened.dealt), opened.threshold)
    }
    for j, name in enumerate(opened.dealt):
        whole, hashes = read[name]
        assert {*whole, *hashes} == {T for T in right if j not in T}
        assert all(j == min(i for i in range(len(opened.dealt)) if i not in T) for T in whole)
        assert all(digest == answer_hash(opened.label.digest, T, right[T]) for T, digest in hashes.items())
        answers |= whole
        hashed += len(hashes)
    assert answers == right
    assert hashed == 3
    integers = open_sum(opened.precision, opened.label, opened.round.sum.attachments[0], answers)
    known = [known_vector(opened.label.digest, name) for name in opened.seeds]
    # 12 deviations of the noise, and half a unit for each contributor's rounding
    unit = ceil_sqrt(144 * opened.precision.variance_opened) + len(known)
    for j, (x, exponent) in enumerate(zip(integers, opened.label.exponents, strict=True)):
        found = decode_value(x, exponent, opened.precision.capacity)
        assert abs(found - sum(v[j] for v in known)) <= unit * 2.0 ** (exponent - opened.precision.capacity)


def test_what_is_sealed_to_one_opens_with_no_other_key_and_in_no_other_context(opened):
    one, other, *_ = opened.dealt
    secrets, study = VECTORS["secrets"]["dealing_keys"], opened.record.study
    sealed = opened.record.said["deal"][one].content["sealed"][other]
    assert open_sealed(bytes.fromhex(secrets[other][one]), sealed, ("deal", study, one, other))
    for key, context in (
        (secrets[one][one], ("deal", study, one, other)),
        (secrets[other][other], ("deal", study, one, other)),
        (secrets[other][one], ("deal", study, other, one)),
        (secrets[other][one], ("content key", study, one, other)),
    ):
        with pytest.raises(RefusedError, match="sealed"):
            open_sealed(bytes.fromhex(key), sealed, context)


@pytest.mark.parametrize("place", [4, 40, -1], ids=["header", "first answer", "end"])
def test_altered_answers_do_not_open(opened, place):
    sealed = bytearray(opened.round.answers[opened.dealt[0], 1].attachments[0])
    sealed[place] ^= 1
    with pytest.raises(RefusedError, match="does not open"):
        opened.answers_of(opened.dealt[0], bytes(sealed))


def test_answers_of_another_length_or_under_another_key_are_refused(opened):
    sealed = opened.round.answers[opened.dealt[0], 1].attachments[0]
    for other in (sealed + b"\0", sealed[:-1], opened.round.answers[opened.dealt[1], 1].attachments[0]):
        with pytest.raises(RefusedError, match=r"malformed|sealed"):
            opened.answers_of(opened.dealt[0], other)


# --- CBOR ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"), (23, "17"), (24, "1818"), (256, "190100"), (65536, "1a00010000"), (2**32, "1b0000000100000000"),
        (-1, "20"), (-500, "3901f3"), (True, "f5"), (None, "f6"), (1.5, "f93e00"), (100000.0, "fa47c35000"),
        (1.1, "fb3ff199999999999a"), (b"\1\2", "420102"), ("ü", "62c3bc"), ([1, [2]], "82018102"),
        ({"b": 1, "a": 2, "aa": 3}, "a3616102616201626161" "03"),
    ],
)  # fmt: skip
def test_cbor_is_that_of_the_rfc(value, encoded):
    assert cbor.encode(value).hex() == encoded
    assert cbor.decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    "data",
    [
        "",
        "1801",
        "19",
        "420a",
        "a2616101616102",
        "a2616202616101",
        "fb3ff8000000000000",
        "9f00ff",
        "c100",
        "0000",
        "61ff",
    ],
)
def test_what_is_not_in_the_one_form_is_refused(data):
    with pytest.raises(RefusedError, match="malformed"):
        cbor.decode(bytes.fromhex(data))
