"""What `SAME_ROUND` says can happen in the state model does happen in the code, and ends where the model says."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hefed.crypto.packing import add_packed, pack_array, residue_array
from hefed.protocol import messages as m
from hefed.protocol.coordinator import Entry
from hefed.protocol.ports import Outgoing
from hefed.study import Study
from tests.protocol.conftest import study_file
from tests.protocol.federation import Federation

Frames = tuple[bytes, tuple[bytes, ...]]
ROUND = 2
FOR_OREBRO = ("halland for orebro", "kronoberg", "orebro")


class TwoRecords:
    """The aggregator and halland show orebro another record than the rest, from halland's contribution on."""

    def __init__(self, study: Study) -> None:
        self.federation = federation = Federation(study)
        self.last: dict[str, bytes] = {}
        self.vectors: dict[str, bytes] = {}
        self.total = b""
        self.said: dict[str, Outgoing] = {}
        federation.deliver, federation.before_accept = self.deliver, self.before_accept

    def sign(self, sender: str, content: m.Content, attachments: tuple[bytes, ...], previous: bytes) -> m.Message:
        message = self.federation.signers[sender].sign(
            content,
            federation="test",
            study=self.federation.submission.study,
            sender=sender,
            previous=self.last.get(sender, previous),
            attachments=attachments,
        )
        self.last[sender] = message.digest
        return message

    def deliver(self, name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        content, body = entry.message.content, entry.message.body
        if isinstance(content, m.Contribution) and content.round == ROUND:
            self.vectors[body.sender] = entry.attachments[0]
        if name != "orebro":
            return entry.message.envelope, attachments
        if isinstance(content, m.Contribution) and content.round == ROUND and body.sender == "halland":
            self.vectors["halland for orebro"] = self.added(["halland"], shift=1)
            other = self.sign("halland", content, (self.vectors["halland for orebro"],), body.previous)
            return other.envelope, ()
        if isinstance(content, m.Open) and content.round == ROUND:
            self.total = self.added(FOR_OREBRO)
            total = m.Attachment.of(self.total).sha256
            content = content.model_copy(update={"total": total, "keyholders": ["halland", "orebro"]})
            return self.sign("aggregator", content, (), body.previous).envelope, ()
        return entry.message.envelope, attachments

    def added(self, names: Sequence[str], shift: int = 0) -> bytes:
        """The sum of these vectors, the first value shifted by one step."""
        profile, values = self.federation.board.profile, self.federation.board.round.first.values
        residues = residue_array(profile, values)
        for name in names:
            add_packed(profile, np.frombuffer(self.vectors[name], np.uint8), values, residues)
        residues[:, 0] = (residues[:, 0] + shift) % np.array(profile.primes)
        return pack_array(profile, residues, values)

    def before_accept(self, name: str, outgoing: Outgoing) -> Outgoing | None:
        if name == "orebro" and outgoing.key in (f"check {ROUND}", f"answer {ROUND} 1"):
            self.said[outgoing.key.split()[0]] = outgoing
            self.federation.present.discard("orebro")
            return None
        return outgoing if name in self.federation.present else None

    def show(self, message: m.Message, attachments: tuple[bytes, ...] = ()) -> list[Outgoing]:
        said: list[Outgoing] = self.federation.parties["orebro"].machine.receive(message.envelope, attachments)
        return said


def test_two_readers_can_open_different_sums_of_one_round_and_then_no_next_one(tmp_path: Any) -> None:
    two = TwoRecords(study_file(tmp_path / "study.toml"))
    federation = two.federation
    federation.run()
    parties = federation.parties
    orebro, kronoberg = parties["orebro"].machine, parties["kronoberg"].machine
    assert kronoberg.reader.rounds_opened == ROUND + 1

    for key in ("check", "answer"):
        two.show(two.said[key].message, two.said[key].attachments)
    keyholder = parties["halland"].machine.keyholder
    own, keyholder._board = keyholder._board, orebro.board
    content, attachments = keyholder.answer()
    keyholder._board = own
    two.show(two.sign("halland", content, attachments, b""), attachments)
    gone = (two.vectors["halland for orebro"], two.vectors["kronoberg"])
    absent = m.Sum(round=ROUND, absent=["halland", "kronoberg"])
    frames = (two.total, *gone)
    said = two.show(two.sign("aggregator", absent, frames, b""), frames)

    assert orebro.reader.rounds_opened == ROUND + 1
    assert orebro.reader.previous != kronoberg.reader.previous
    (contribution,) = said
    assert contribution.key == f"contribution {ROUND + 1}"
    theirs = parties["kronoberg"].sent[f"contribution {ROUND + 1}"].message.content
    assert isinstance(theirs, m.Contribution)
    assert isinstance(contribution.message.content, m.Contribution)
    assert contribution.message.content.label != theirs.label
