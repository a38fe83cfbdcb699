"""The auditor takes the good record of the vectors, and names rule and party of each bad one."""

import base64
import io
import json
from typing import Any

import pytest

from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.audit import audit
from hefed.protocol.roster import Roster
from hefed.protocol.transcript import Head, TranscriptReader, TranscriptWriter
from tests.fuzz.world import IDENTITIES
from tests.reference.make_records import FILE, cases

VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CASES = {case["case"]: case for case in VECTORS["cases"]}


def transcript(case: dict[str, Any]) -> bytes:
    """The record of a case, as its party signs it."""
    party, out = VECTORS["party"], io.BytesIO()
    roster = Roster.from_bytes(base64.b64decode(VECTORS["roster"]))
    writer = TranscriptWriter(out, Head(party, bytes.fromhex(VECTORS["study"]), roster))
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
    if not case["findings"]:
        assert [release.round for release in found.releases] == [0]
        assert found.releases[0].verified == "added"


def test_the_vectors_are_all_that_is_made() -> None:
    _, made = cases()
    assert [(name, findings) for name, _, findings in made] == [(c["case"], c["findings"]) for c in CASES.values()]
    assert len({json.dumps(case["record"]) for case in CASES.values()}) == len(CASES)
