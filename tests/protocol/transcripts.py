"""Transcripts of a federation in memory, honest ones and others."""

from collections.abc import Callable, Sequence
from io import BytesIO

from hefed.protocol import messages as m
from hefed.protocol.audit import StudyAudit, audit
from hefed.protocol.coordinator import Entry, delivers_attachments
from hefed.protocol.roster import Roster, signed_bytes
from hefed.protocol.transcript import Head, TranscriptReader, TranscriptWriter
from tests.protocol.federation import NOW, Federation

AGGREGATOR = "aggregator"


def signing(signer: m.Signer) -> Callable[[str, bytes], bytes]:
    """As `Identity.sign_statement`."""
    return lambda label, part: signer._key.sign(signed_bytes(label, part))


def kept(federation: Federation, party: str, entries: Sequence[Entry]) -> list[Entry]:
    """Entries with those attachments that the party keeps."""
    if party == AGGREGATOR:
        return list(entries)
    return [
        entry if delivers_attachments(federation.board, entry.message.body.kind, party) else Entry(entry.message)
        for entry in entries
    ]


def written(
    federation: Federation,
    party: str,
    entries: Sequence[Entry] | None = None,
    *,
    unrecorded: Sequence[m.Message] = (),
    roster: Roster | None = None,
    signer: m.Signer | None = None,
) -> bytes:
    """A party's transcript: of the federation's record, or of these entries."""
    file = BytesIO()
    head = Head(party, federation.submission.study, roster or federation.roster)
    writer = TranscriptWriter(file, head)
    for number, entry in enumerate(kept(federation, party, federation.log if entries is None else entries)):
        writer.add(number, NOW + number, entry.message, entry.attachments)
    for message in unrecorded:
        writer.add_unrecorded(message.envelope)
    writer.finish(signing(signer or federation.signers[party]))
    return file.getvalue()


def audited(*transcripts: bytes) -> StudyAudit:
    """The audit of transcripts of one study."""
    (one,) = audit((f"file {i}", TranscriptReader(BytesIO(data))) for i, data in enumerate(transcripts))
    return one


def frames(data: bytes) -> list[bytes]:
    """The frames of a transcript, each with its length before it."""
    found, place = [], 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        found.append(data[place:end])
        place = end
    return found
