"""The auditor takes the good record of the vectors, whose sum opens, and names rule and party of each bad one."""

import io
import json
from base64 import b64decode
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from hefed.crypto.contribution import encrypt
from hefed.crypto.keys import ContributorKey, Seed, Subset, open_seeds
from hefed.crypto.label import Label
from hefed.crypto.opening import open_sum
from hefed.protocol import codec, known_answer
from hefed.protocol import messages as m
from hefed.protocol.answers import read_answers
from hefed.protocol.audit import audit
from hefed.protocol.board import Board
from hefed.protocol.contexts import answer_context, content_key_context, deal_context
from hefed.protocol.roster import Roster
from hefed.protocol.sealing import ContentCipher, SealingKey
from hefed.protocol.transcript import MOST, Head, TranscriptReader, TranscriptWriter
from protocols.reference.vector_format import bytes_of
from tests.fuzz.world import IDENTITIES
from tests.reference.make_records import FILE, cases

VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CASES = {case["case"]: case for case in VECTORS["cases"]}
WORDS = {
    "attachment": "what it keeps beside",
    "attachment length": "'attachments.0.size': Input should be less than or equal to",
    "envelope length": "bytes of CBOR; at most",
    "federation": "a message of another federation",
    "sender": "is not on the roster",
    "signature": "does not carry halland's signature",
    "version": "in another version of the protocol",
}
"""Of the auditor's sentence where a message is not read what no other such sentence has."""


@cache
def message_at(index: int) -> tuple[bytes, list[bytes]]:
    """An envelope and its attachments."""
    kept = VECTORS["messages"][index]
    return bytes_of(kept["envelope"], b64decode), [bytes_of(data, b64decode) for data in kept["attachments"]]


def transcript(case: dict[str, Any]) -> bytes:
    """The record of a case, as its party signs it."""
    party, out = VECTORS["party"], io.BytesIO()
    roster = Roster.from_bytes(b64decode(VECTORS["roster"]))
    writer = TranscriptWriter(out, Head(party, bytes.fromhex(case.get("study", VECTORS["study"])), roster))
    for number, index in enumerate(case["record"]):
        envelope, attachments = message_at(index)
        bound = codec.decode(codec.decode(envelope, MOST)[0])["attachments"]
        body = m.Body.model_construct(attachments=bound)
        writer.add(number, float(number), m.Message(body, m.Content(), envelope, b""), attachments)
    writer.finish(IDENTITIES[party].sign_statement)
    return out.getvalue()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_auditor_names_rule_and_party(case: dict[str, Any]) -> None:
    (found,) = audit([("record", TranscriptReader(io.BytesIO(transcript(case))))])
    assert [[finding.rule, finding.party] for finding in found.findings] == case["findings"]
    if "why" in case:
        (finding,) = found.findings
        assert finding.where == f"record, entry {len(case['record']) - 1}"
        assert [why for why, piece in WORDS.items() if piece in finding.words] == [case["why"]]
    if case["case"] == "a whole round":
        assert [release.verified for release in found.releases] == ["added"]
    if case["case"] == "a sum without one check value":
        assert [(release.verified, release.checked_again) for release in found.releases] == [
            ("added", ("halland", "kronoberg"))
        ]
    if case["case"] == "a complaint after the proposal":
        assert found.board.outcome is not None
        assert (found.board.outcome.by, found.board.outcome.about) == ("orebro", "halland")


def key_of(secret: str, public: bytes | None) -> SealingKey:
    """A private key of the vectors, which belongs to a public one of the record."""
    key = SealingKey(bytes.fromhex(secret))
    assert key.public == public
    return key


def content_key(board: Board, keyholder: str) -> bytes:
    """A keyholder's content key, as every reader opens it."""
    found = set()
    for reader, secret in VECTORS["secrets"]["reading_keys"].items():
        sealed = board.acknowledgement(keyholder).content_keys[reader]
        context = content_key_context(board.study_digest, keyholder, reader)
        found.add(key_of(secret, board.approval(reader).reading_key).open(sealed, context))
    (key,) = found
    return key


def test_a_frame_that_is_longer_than_any_makes_a_file_that_is_nobodys_word() -> None:
    """It is not read, so nothing says that the party signed what stands behind it."""
    party, out = VECTORS["party"], io.BytesIO()
    roster = Roster.from_bytes(b64decode(VECTORS["roster"]))
    writer = TranscriptWriter(out, Head(party, bytes.fromhex(VECTORS["study"]), roster))
    writer._frame(bytes(MOST + 1))
    writer.finish(IDENTITIES[party].sign_statement)
    (found,) = audit([("record", TranscriptReader(io.BytesIO(out.getvalue())))])
    assert [(finding.rule, finding.party) for finding in found.findings] == [("transcript", "whoever handed in record")]


@dataclass
class Whole:
    """The good record: its board, the label of its round, and the attachments by kind and sender."""

    board: Board
    label: Label
    attachments: dict[tuple[str, str], list[bytes]]


@pytest.fixture(scope="module")
def whole() -> Whole:
    (found,) = audit([("record", TranscriptReader(io.BytesIO(transcript(CASES["a whole round"]))))])
    board, attachments = found.board, {}
    label = Label(
        federation=board.roster.federation,
        study=board.study_digest,
        cohort=board.cohort.digest,
        round=0,
        purpose=known_answer.PURPOSE,
        profile=board.profile,
        contributors=len(board.study.contributors),
        exponents=known_answer.EXPONENTS,
        previous=m.ZERO_HASH,
    )
    for index in CASES["a whole round"]["record"]:
        envelope, kept = message_at(index)
        message = m.read_message(envelope, board.roster)
        attachments[message.body.kind, message.sender] = kept
    return Whole(board, label, attachments)


def test_the_code_opens_what_was_dealt_and_makes_the_same_contributions_of_it(whole: Whole) -> None:
    board, dealt = whole.board, dict[str, dict[Subset, Seed]]()
    sizes = len(board.dealt_keyholders), board.threshold
    for number, name in enumerate(board.dealt_keyholders):
        for dealer, secret in VECTORS["secrets"]["dealing_keys"][name].items():
            deal, context = board.deal(dealer), deal_context(board.study_digest, dealer, name)
            opened = key_of(secret, board.approval(name).dealing_keys[dealer]).open(deal.sealed[name], context)
            held = open_seeds(board.study_digest, dealer, number, *sizes, opened, deal.hashes).seeds
            known = dealt.setdefault(dealer, {})
            assert all(known.setdefault(subset, seed) == seed for subset, seed in held.items())
    assert set(dealt) == set(board.study.contributors)
    for dealer, known in dealt.items():
        seeds = {subset: known[subset] for subset in board.subsets}
        noise_secret = Seed(bytes.fromhex(VECTORS["secrets"]["noise_secrets"][dealer]))
        key = ContributorKey(board.study_digest, dealer, *sizes, seeds, noise_secret)
        packed = encrypt(board.precision, key, whole.label, known_answer.vector(whole.label.digest, dealer))
        assert whole.attachments["contribution", dealer] == [packed]


def test_the_code_opens_the_known_answer_of_the_whole_round(whole: Whole) -> None:
    board, label, answers = whole.board, whole.label, {}
    record = board.rounds[0]
    for name in board.dealt_keyholders:
        context = answer_context(label.digest, name, record.open_digests[0])
        (sealed,) = whole.attachments["answer", name]
        read, _ = read_answers(ContentCipher(content_key(board, name), context), label.profile, label.values, sealed)
        answers |= {subset: b"".join(bytes(group) for group in groups) for subset, groups in read.items()}
    (total,) = whole.attachments["sum", board.roster.aggregator.name]
    values = open_sum(board.precision, label, total, answers).decode(label, board.precision)
    known = sum(known_answer.vector(label.digest, name) for name in board.study.contributors)
    bounds = [board.precision.error(int(exponent)) for exponent in label.exponents]
    assert label.digest == record.first.label
    assert np.all(np.abs(values - known) <= bounds)


def test_the_vectors_are_all_that_is_made() -> None:
    _, made = cases()
    assert [(name, findings, why) for name, _, findings, why in made] == [
        (case["case"], case["findings"], case.get("why", "")) for case in CASES.values()
    ]
    assert len({json.dumps(case["record"]) for case in CASES.values()}) == len(CASES)
