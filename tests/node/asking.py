"""A study asked of regions, for tests: identities, a roster of them, and the record as far as its invitation."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hefed.data.policy import Policy
from hefed.data.settings import DataSettings
from hefed.node.analyst import Submission
from hefed.node.consent import Consent, Verdict
from hefed.node.decision import Decision, Decisions
from hefed.node.identity import Identity
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.roster import Role, Roster
from hefed.study import Study

EVERYTHING: tuple[Role, ...] = ("contributor", "keyholder", "reader")


@dataclass(frozen=True)
class Asked:
    """Who is on the roster, what the analyst submits, and every member's copy of the record with only that in it."""

    identities: Mapping[str, Identity]
    roster: Roster
    submission: Submission
    board: Board
    invitation: m.Message

    @property
    def study(self) -> bytes:
        """The study's hash."""
        return self.submission.study


@dataclass
class Region:
    """A region, its home and its people; `at` is what its clock says."""

    folder: Path
    asked: Asked
    policy: Policy = field(default_factory=Policy)
    name: str = "halland"
    at: float = field(default_factory=time.time)
    data: Path | DataSettings | None = None

    @property
    def identity(self) -> Identity:
        return self.asked.identities[self.name]

    @property
    def decisions(self) -> Decisions:
        return Decisions(self.folder, self.identity)

    @property
    def consent(self) -> Consent:
        return Consent(self.name, self.data, self.policy, self.decisions, lambda: self.at)

    def verdict(self) -> Verdict:
        return self.consent.verdict(self.asked.board)

    def decide(self, answer: Any, words: str = "", **more: Any) -> None:
        self.decisions.write(Decision(study=self.asked.study, answer=answer, words=words, at=self.at, **more))


def identities_of(study: Study, *more: str) -> dict[str, Identity]:
    """A new identity for everybody that a study needs."""
    return {name: Identity.passing() for name in ("aggregator", "analyst", *study.members, *more)}


def roster_of(identities: Mapping[str, Identity], version: int = 1, **roles: tuple[Role, ...]) -> Roster:
    """A roster of them; `roles` are other than usual."""
    usual: dict[str, tuple[Role, ...]] = {"aggregator": ("aggregator",), "analyst": ("analyst",)}
    members = [one.member(name, roles.get(name, usual.get(name, EVERYTHING))) for name, one in identities.items()]
    return Roster.of("test", version, members)


def ask(
    study: Study, *, expires: float | None = None, among: tuple[Mapping[str, Identity], Roster] | None = None
) -> Asked:
    """The study asked for now, or with another end."""
    identities, roster = among or ((made := identities_of(study)), roster_of(made))
    until = int(time.time()) + study.security.deadline if expires is None else int(expires)
    submission = Submission(study, roster, "analyst", until)
    message = submission.signed(identities["analyst"].signer)
    board = Board(roster, submission.study)
    board.post(message)
    return Asked(identities, roster, submission, board, message)


def changed(text: str, old: str, new: str, folder: Path, name: str = "study.toml") -> Study:
    """The study in a text with one place of it changed."""
    assert old in text, old
    path = folder / name
    path.write_text(text.replace(old, new, 1))
    return Study.load(path)
