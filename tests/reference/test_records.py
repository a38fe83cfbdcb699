"""The auditor takes the good record of the vectors, whose sum opens, and names rule and party of each bad one."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest

from hefed.crypto.label import Label
from hefed.crypto.opening import open_sum
from hefed.protocol import codec, known_answer
from hefed.protocol import messages as m
from hefed.protocol.answers import read_answers
from hefed.protocol.audit import audit
from hefed.protocol.contexts import answer_context
from hefed.protocol.roster import Roster
from hefed.protocol.sealing import ContentCipher
from hefed.protocol.transcript import Head, TranscriptReader, TranscriptWriter
from tests.fuzz.world import IDENTITIES
from tests.reference.make_records import FILE, cases

VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CASES = {case["case"]: case for case in VECTORS["cases"]}


def transcript(case: dict[str, Any]) -> bytes:
    """The record of a case, as its party signs it."""
    party, out = VECTORS["party"], io.BytesIO()
    roster = Roster.from_bytes(base64.b64decode(VECTORS["roster"]))
    writer = TranscriptWriter(out, Head(party, bytes.fromhex(case.get("study", VECTORS["study"])), roster))
    for number, index in enumerate(case["record"]):
        kept = VECTORS["messages"][index]
        envelope = base64.b64decode(kept["envelope"])
        body = m.Body.model_validate(codec.decode(codec.decode(envelope)[0]))
        attachments = [base64.b64decode(data) for data in kept["attachments"]]
        writer.add(number, float(number), m.Message(body, m.Content(), envelope, b""), attachments)
    writer.finish(IDENTITIES[party].sign_statement)
    return out.getvalue()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_auditor_names_rule_and_party(case: dict[str, Any]) -> None:
    (found,) = audit([("record", TranscriptReader(io.BytesIO(transcript(case))))])
    assert [[finding.rule, finding.party] for finding in found.findings] == case["findings"]
    if case["case"] == "a whole round":
        assert [release.verified for release in found.releases] == ["added"]
    if case["case"] == "a sum without one check value":
        assert [(release.verified, release.checked_again) for release in found.releases] == [
            ("added", ("halland", "kronoberg"))
        ]
    if case["case"] == "a complaint after the proposal":
        assert found.board.outcome is not None
        assert (found.board.outcome.by, found.board.outcome.about) == ("orebro", "halland")


def test_the_code_opens_the_known_answer_of_the_whole_round() -> None:
    (found,) = audit([("record", TranscriptReader(io.BytesIO(transcript(CASES["a whole round"]))))])
    board, answers, opened = found.board, {}, {}
    record = board.rounds[0]
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
        kept = VECTORS["messages"][index]
        message = m.read_message(base64.b64decode(kept["envelope"]), board.roster)
        opened[message.body.kind, message.sender] = [base64.b64decode(data) for data in kept["attachments"]]
    for name, secret in VECTORS["secrets"]["content_keys"].items():
        context = answer_context(label.digest, name, record.open_digests[0])
        (sealed,) = opened["answer", name]
        read, _ = read_answers(ContentCipher(bytes.fromhex(secret), context), label.profile, label.values, sealed)
        answers |= {subset: b"".join(bytes(group) for group in groups) for subset, groups in read.items()}
    (total,) = opened["sum", board.roster.aggregator.name]
    values = open_sum(board.precision, label, total, answers).decode(label, board.precision)
    known = sum(known_answer.vector(label.digest, name) for name in board.study.contributors)
    bounds = [board.precision.error(int(exponent)) for exponent in label.exponents]
    assert label.digest == record.first.label
    assert np.all(np.abs(values - known) <= bounds)


def test_the_vectors_are_all_that_is_made() -> None:
    _, made = cases()
    assert [(name, findings) for name, _, findings in made] == [(c["case"], c["findings"]) for c in CASES.values()]
    assert len({json.dumps(case["record"]) for case in CASES.values()}) == len(CASES)
