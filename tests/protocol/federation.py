"""A federation in one process, without sockets: the real state machines, encryption and statistics, messages passed by
hand.

What a relay could do to messages (drop, swap, repeat, show different things to different members) a test does here in a
line.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hefed.node.analyst import Submission
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.coordinator import Coordinator, Entry, delivers_attachments
from hefed.protocol.member import Member
from hefed.protocol.ports import Outgoing
from hefed.protocol.roster import Member as RosterMember
from hefed.protocol.roster import Roster
from hefed.study import Study
from tests.consent import taking_part

EXAMPLES = Path(__file__).parents[2] / "examples"
NOW = 1_800_000_000.0


class MemoryVault:
    """Secrets in memory; a test can look at them."""

    def __init__(self) -> None:
        self.secrets: dict[str, bytes] = {}

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        if name not in self.secrets:
            self.secrets[name] = make()
        return self.secrets[name]


@dataclass
class Party:
    """A member with what is on its disk, so that it can be started again."""

    name: str
    signer: m.Signer
    vault: MemoryVault = field(default_factory=MemoryVault)
    sent: dict[str, Outgoing] = field(default_factory=dict)
    record: list[tuple[bytes, tuple[bytes, ...]]] = field(default_factory=list)
    opened: dict[int, bytes] = field(default_factory=dict)
    machine: Any = None


class Federation:
    """All parties of one study. `run` passes messages until nothing is left to say."""

    def __init__(self, study: Study, **overrides: Path) -> None:
        self.study = study
        names = ("aggregator", "analyst", *study.members)
        self.signers = {name: m.Signer(secrets.token_bytes(32)) for name in names}
        self.roster = Roster.of("test", 1, [self._listed(name) for name in names])
        self.submission = Submission(study, self.roster, "analyst", int(NOW) + study.security.deadline)
        self.tables = study.tables | overrides
        self.coordinator = Coordinator(
            self.roster, self.signers["aggregator"], self.submission.study, lambda number: self.log[number].attachments
        )
        self.parties = {name: Party(name, self.signers[name]) for name in study.members}
        self.present = set(study.members)
        self.now = NOW
        for name in self.parties:
            self.start(name)
        self.log: list[Entry] = []
        self.board = Board(self.roster, self.submission.study)
        self.refused: list[tuple[str, Exception]] = []
        self.deliver: Callable[[str, Entry, tuple[bytes, ...]], tuple[bytes, tuple[bytes, ...]] | None] = (
            lambda name, entry, attachments: (entry.message.envelope, attachments)
        )
        self.before_accept: Callable[[str, Outgoing], Outgoing | None] = lambda name, outgoing: outgoing

    def _listed(self, name: str) -> RosterMember:
        study = self.study
        roles = {
            "aggregator": ("aggregator",),
            "analyst": ("analyst",),
            "contributor": study.contributors,
            "keyholder": study.keyholders,
            "reader": study.readers,
        }
        listed = tuple(sorted(role for role, names in roles.items() if name in names))
        return RosterMember(name, self.signers[name].public, secrets.token_bytes(32), listed)  # type: ignore[arg-type]

    def start(self, name: str) -> list[Outgoing]:
        """Starts a member anew from its disk: its vault, what it sent, and the record as it had received it."""
        party = self.parties[name]
        party.machine = Member(
            name=name,
            signer=party.signer,
            roster=self.roster,
            study=self.submission.study,
            vault=party.vault,
            recall=party.sent.get,
            prepare=taking_part(name, self.tables.get(name), party.vault, lambda: self.now),
            keep=party.opened.__setitem__,
        )
        said: list[Outgoing] = []
        for envelope, attachments in party.record:
            said += self._keep(party, party.machine.receive(envelope, attachments))
        return said

    @staticmethod
    def _keep(party: Party, outgoing: list[Outgoing]) -> list[Outgoing]:
        for message in outgoing:
            party.sent.setdefault(message.key, message)
        return outgoing

    def submit(self) -> list[Entry]:
        """The invitation."""
        message = self.signers["analyst"].sign(
            self.submission.invitation,
            federation=self.roster.federation,
            study=self.submission.study,
            sender="analyst",
            previous=m.ZERO_HASH,
        )
        return self.coordinator.receive(message.envelope, (), self.now, self.present)

    def run(self, entries: list[Entry] | None = None, *, until: Callable[["Federation"], bool] | None = None) -> None:
        """Passes messages on, in order, until nobody has anything to say, or `until` holds."""
        queue = list(self.submit() if entries is None else entries)
        while queue or (queue := self.coordinator.tick(self.now, self.present)):
            entry = queue.pop(0)
            self.log.append(entry)
            self.board.post(entry.message)
            for name in sorted(self.present):
                for outgoing in self._hand_over(name, entry):
                    queue += self._accept(name, outgoing)
            if until and until(self):
                return

    def _hand_over(self, name: str, entry: Entry) -> list[Outgoing]:
        party = self.parties[name]
        wanted = delivers_attachments(self.board, entry.message.body.kind, name)
        given = self.deliver(name, entry, entry.attachments if wanted else ())
        if given is None:
            return []
        party.record.append(given)
        return self._keep(party, party.machine.receive(*given))

    def _accept(self, name: str, outgoing: Outgoing) -> list[Entry]:
        passed = self.before_accept(name, outgoing)
        if passed is None:
            return []
        try:
            return self.coordinator.receive(passed.message.envelope, passed.attachments, self.now, self.present)
        except Exception as error:
            self.refused.append((name, error))
            return []

    def leave_at(self, name: str, key: str) -> None:
        """The member is gone, once, from the moment at which it would send that: it is stored, but not sent."""
        before = self.before_accept
        left = False

        def pass_on(sender: str, outgoing: Outgoing) -> Outgoing | None:
            nonlocal left
            if sender == name and not left and f"{outgoing.key} ".startswith(f"{key} "):
                left = True
                self.present.discard(name)
            return before(sender, outgoing) if sender in self.present else None

        self.before_accept = pass_on

    def come_back(self, name: str) -> None:
        """The member is started anew: it sends again what did not arrive, and is told what it missed."""
        party = self.parties[name]
        self.present.add(name)
        self.start(name)
        arrived = sum(entry.message.sender == name for entry in self.log)
        said = list(party.sent.values())[arrived:]
        entries = [entry for outgoing in said for entry in self._accept(name, outgoing)]
        for entry in self.log[len(party.record) :]:
            for outgoing in self._hand_over(name, entry):
                entries += self._accept(name, outgoing)
        self.run(entries)

    def finding(self) -> Any:
        """What the analyst opens at the end."""
        return self.submission.open(self.board)
