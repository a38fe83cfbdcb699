"""The analyst: submits a study, follows its public record, and opens the findings that the readers sealed to it."""

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq
from pydantic import ValidationError

from hefed.node.errors import NotTakenError, StudyFailedError
from hefed.node.identity import Identity
from hefed.node.link import BEAT, Received
from hefed.node.member_link import MemberLink
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.contexts import finding_context
from hefed.protocol.ending import EndedError, day, require_lasting
from hefed.protocol.errors import EncodingError, ProtocolError
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase
from hefed.protocol.sealing import SealingKey
from hefed.study import Study

AGREEMENT = 1e-9
"""Difference up to which the readers' results count as the same, relative to the value, for estimates relative to their
standard errors: linear algebra may differ in its last bits between machines.
"""
SILENCE = 15.0
"""Seconds without a sign of life after which a study on one machine is given up."""
GRACE = 10.0
"""Seconds beyond a study's deadline that the analyst still waits for the last word."""


@dataclass(frozen=True)
class Finding:
    """What the readers found alike: `outcome` "result" or "error", the document, and for each round whether its opening
    was checked.
    """

    outcome: str
    document: dict[str, Any]
    checked: tuple[bool, ...]


class Submission:
    """A study that an analyst is about to submit: its invitation, its hash, and the key that opens its result."""

    def __init__(self, study: Study, roster: Roster, analyst: str, expires: int) -> None:
        secret = SealingKey.new_secret()
        invitation = m.Invitation(
            definition=study.public(),
            nonce=secrets.token_bytes(32),
            roster=roster.digest,
            result_key=SealingKey(secret).public,
            expires=expires,
        )
        self._take(secret, invitation, roster, analyst)

    def _take(self, secret: bytes, invitation: m.Invitation, roster: Roster, analyst: str) -> None:
        self._secret, self._key = secret, SealingKey(secret)
        self.invitation, self.roster, self.analyst = invitation, roster, analyst
        self.study = m.study_hash(invitation, analyst)

    def __repr__(self) -> str:
        return f"Submission({self.study.hex()[:8]})"

    def to_bytes(self) -> bytes:
        """All of it, the secret that opens the result too, for an owner-only file."""
        return codec.encode(
            {
                "secret": self._secret,
                "invitation": self.invitation.model_dump(),
                "roster": self.roster.to_bytes(),
                "analyst": self.analyst,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Submission":
        """The inverse. Raises ProtocolError."""
        submission = cls.__new__(cls)
        try:
            match codec.decode(data):
                case {
                    "secret": bytes(secret),
                    "invitation": dict(plain),
                    "roster": bytes(roster),
                    "analyst": str(name),
                }:
                    invitation = m.Invitation.model_validate(plain)
                    submission._take(secret, invitation, Roster.from_bytes(roster), name)
                    return submission
        except (ValidationError, ValueError) as error:
            raise EncodingError("it does not hold a submission") from error
        raise EncodingError("it does not hold a submission")

    def signed(self, signer: m.Signer) -> m.Message:
        """The invitation as the analyst sends it. Raises ProtocolError when the roster does not allow the study."""
        message = signer.sign(
            self.invitation,
            federation=self.roster.federation,
            study=self.study,
            sender=self.analyst,
            previous=m.ZERO_HASH,
        )
        Board(self.roster, self.study).post(message)
        return message

    def require_lasting(self) -> None:
        """Raises EndedError when the identity of a party to the study is over."""
        members = Study.from_public(self.invitation.definition).members
        require_lasting(self.roster, {self.analyst, self.roster.aggregator.name, *members}, day(time.time()))

    def open(self, board: Board) -> Finding:
        """The finding of a study that all readers closed. Raises StudyFailedError when they do not report the same."""
        findings = {}
        for reader, closing in sorted(board.closings.items()):
            try:
                opened = self._key.open(closing.sealed, finding_context(self.study, reader, self.analyst))
                findings[reader] = _read_finding(opened, len(board.rounds) - 1)
            except ProtocolError as error:
                raise StudyFailedError(f"what {reader} reports cannot be opened: {error}", refused=False) from error
        first_reader, first = next(iter(findings.items()))
        for reader, finding in findings.items():
            if finding.outcome != first.outcome or not _same_fit(finding.document, first.document):
                raise StudyFailedError(
                    f"{first_reader} and {reader} do not report the same result; do not use either", refused=False
                )
        checked = tuple(all(column) for column in zip(*(f.checked for f in findings.values()), strict=True))
        return Finding(first.outcome, first.document, checked)


def _read_finding(opened: bytes, rounds: int) -> Finding:
    match codec.decode(opened):
        case {
            "outcome": str(outcome),
            "finding": dict(document),
            "checked": list(checked),
            "filling": bytes(),
            **rest,
        } if not rest:
            if len(checked) == rounds and all(type(one) is bool for one in checked):
                return Finding(outcome, document, tuple(checked))
    raise EncodingError("it does not have the form of a finding")


def _same_fit(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two documents report the same. An estimate near zero has no last bits of its own: its error is measured
    by its standard error.
    """
    match a, b:
        case {"estimate": list(one), "std_error": list(errors), **rest_a}, {"estimate": list(other), **rest_b}:
            if not len(one) == len(other) == len(errors) or not all(
                type(value) is float and math.isfinite(value) for value in (*one, *other, *errors)
            ):
                return False
            near = all(abs(x - y) <= AGREEMENT * error for x, y, error in zip(one, other, errors, strict=True))
            return near and _alike({**rest_a, "std_error": errors}, rest_b)
    return _alike(a, b)


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=AGREEMENT, abs_tol=0.0)
    return type(a) is type(b) and bool(a == b)


class AnalystClient:
    """Submits one study and follows it to its end."""

    def __init__(self, *, name: str, identity: Identity, link: MemberLink, submission: Submission) -> None:
        self._name, self._link, self._submission = name, link, submission
        self.board = Board(submission.roster, submission.study)
        self._invitation = submission.signed(identity.signer)
        self._received = 0

    def follow(self, watch: Callable[[Board, m.Message | None], None], *, patience: float | None = SILENCE) -> Board:
        """Returns the record once the study has ended; `watch` is called at every message and at least five times a
        second.

        Raises StudyFailedError when the aggregator's record breaks the protocol, or it is silent for `patience` seconds
        (None: until the study's deadline).
        """
        poller = zmq.Poller()
        poller.register(self._link.socket, zmq.POLLIN)
        poller.register(self._link.monitor, zmq.POLLIN)
        heard = beat = time.time()
        last = max(heard, self._submission.invitation.expires) + GRACE
        while self.board.phase is not Phase.ENDED:
            poller.poll(200)
            if self._link.news():
                self._greet()
            for received in self._link.receive():
                heard = time.time()
                self._handle(received, watch)
            now = time.time()
            if now - beat >= BEAT:
                beat = now
                self._link.send({"type": "beat"})
            watch(self.board, None)
            if patience is not None and now - heard > patience:
                raise StudyFailedError(
                    f"the aggregator has not been heard of for {patience:.0f} s; see its log", refused=False
                )
            if now > last:
                raise StudyFailedError(
                    "the study's deadline is over, and the aggregator does not say why", refused=False
                )
        return self.board

    def _greet(self) -> None:
        wanted = {self._submission.study.hex(): self._received}
        self._link.greet(wanted, only=True)

    def _handle(self, received: Received, watch: Callable[[Board, m.Message | None], None]) -> None:
        study = self._submission.study
        match received.header:
            case {"type": "welcome", "accepted": dict(accepted)}:
                if not accepted.get(study.hex(), 0):
                    self._invite()
            case {"type": "unknown"}:
                self._greet()
            case {"type": "entry", "number": int(number)} if received.header.get("study") == study and received.frames:
                if number == self._received:
                    self._post(bytes(received.frames[0]), watch)
            case {"type": "refused", "words": str(words)} if self._is_refused(received.header):
                raise NotTakenError(f"the aggregator refuses the study: {words[: m.MAX_WORDS]}", refused=True)
            case {"type": "turned away", "words": str(words)}:
                raise StudyFailedError(f"the aggregator turns the analyst away: {words[: m.MAX_WORDS]}", refused=True)

    def _invite(self) -> None:
        try:
            self._submission.require_lasting()
        except EndedError as error:
            if not self._received:  # otherwise it was taken before, and runs
                raise NotTakenError(f"the study was not submitted: {error}", refused=True) from error
            return
        header = {"type": "message", "study": self._submission.study, "number": 0}
        self._link.send(header, self._invitation.envelope)

    def _is_refused(self, header: dict[str, Any]) -> bool:
        """Whether the study itself was not taken: one that has a record runs, whatever the aggregator says."""
        return header.get("study", self._submission.study) == self._submission.study and not self._received

    def _post(self, envelope: bytes, watch: Callable[[Board, m.Message | None], None]) -> None:
        if self.board.phase is Phase.ENDED:
            return
        try:
            message = m.read_message(envelope, self._submission.roster)
            self.board.post(message)
        except ProtocolError as error:
            raise StudyFailedError(f"the study's record breaks the protocol: {error}", refused=False) from error
        self._received += 1
        watch(self.board, message)
