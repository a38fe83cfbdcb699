"""`hefed simulate`: a whole federation on one machine, each party a process of its own, from the study file to the
result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zmq

from hefed.node.analyst import AnalystClient, Finding, Submission
from hefed.node.errors import NodeError, StudyFailedError
from hefed.node.files import LOCK
from hefed.node.link import MemberLink
from hefed.node.parties import ANALYST, Parties
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.coordinator import indispensable
from hefed.protocol.rules import Phase
from hefed.report.progress import Progress, Standing
from hefed.report.result import Document, Encryption, Round, result_document, write_result
from hefed.study import INTERCEPT, Study

START_SECONDS = 60.0
"""How long the aggregator may take to listen."""

NAMELESS_SECONDS = 1.0
"""How long a round may go without a first contribution, which says its purpose, before it is shown without one."""

PHASES = {
    Phase.INVITATION: "starting the parties",
    Phase.APPROVAL: "regions read their tables and approve",
    Phase.DEALING: "contributors deal their keys",
    Phase.ACKNOWLEDGEMENT: "keyholders look at their shares",
    Phase.COHORT: "contributors sign the cohort",
    Phase.CONTRIBUTION: "encrypted contributions",
    Phase.OPENING: "keyholders open the sum",
    Phase.ENDED: "finished",
}


@dataclass
class _Timing:
    """When each round began and ended, as the analyst saw it."""

    starts: list[float]
    ends: dict[int, float]


class Watcher:
    """Follows a study for people: progress on a console, and the figures of each round for the result."""

    def __init__(self, study: Study, parties: Parties, progress: Progress) -> None:
        self._study, self._parties, self._progress = study, parties, progress
        self._phase_since = self._waits_since = time.time()
        self._place: tuple[Phase, int] | None = None
        self._waits_in: tuple[Phase, int, bool] | None = None
        self._timing = _Timing([], {})
        self._lost: dict[str, str] = {}

    def __call__(self, board: Board, message: m.Message | None) -> None:
        """Called at every message, and in between."""
        now = time.time()
        try:
            self._parties.require_aggregator()
        except NodeError as error:
            raise StudyFailedError(str(error), refused=False) from error
        for name, code in self._parties.ended().items():
            if name not in self._lost:
                self._lost[name] = f"the process of {name} has ended ({_cause(code)}); see {self._parties.log(name)}"
                self._progress.note(self._lost[name])
            if code > 0 and board.phase in (Phase.INVITATION, Phase.APPROVAL):
                words = self._parties.last_words(name).partition("CRITICAL ")[2]
                raise StudyFailedError(f"{name} cannot take part: {words or self._lost[name]}", refused=bool(words))
        place = (board.phase, len(board.rounds))
        if place != self._place:
            self._place, self._phase_since = place, now
            while len(self._timing.starts) < len(board.rounds):
                self._timing.starts.append(now)
        if self._waits_in != (waits_in := (*place, bool(indispensable(board)))):
            self._waits_in, self._waits_since = waits_in, now
        if message is not None and isinstance(message.content, m.Sum):
            self._timing.ends[message.content.round] = now
        if not self._nameless(board) or now - self._phase_since > NAMELESS_SECONDS:
            self._progress.show(self._standing(board, now))

    @property
    def lost(self) -> str:
        """What is to be said of parties whose processes ended in the middle, behind another sentence."""
        return "".join(f"; {words}" for words in self._lost.values())

    @staticmethod
    def _nameless(board: Board) -> bool:
        return board.phase is Phase.CONTRIBUTION and not board.round.contributions

    def _standing(self, board: Board, now: float) -> Standing:
        phase = board.phase
        record = board.round if phase in (Phase.CONTRIBUTION, Phase.OPENING) else None
        waiting_for = board.missing() if phase is not Phase.INVITATION else ()
        concerned = board.members if phase is Phase.APPROVAL else tuple(self._study.contributors)
        left = self._waits_since + self._study.limits.wait - now
        if phase is not Phase.INVITATION:
            expires = board.invitation.expires - now
            left = expires if indispensable(board) else min(left, expires)
        return Standing(
            phase=PHASES[phase],
            round=record.number if record else None,
            purpose=record.first.purpose if record and record.contributions else "",
            answered=tuple(name for name in concerned if name not in waiting_for) if waiting_for else (),
            waiting_for=waiting_for,
            seconds_left=left,
        )

    def rounds(self, board: Board, finding: Finding) -> list[Round]:
        """The rounds that were opened, the known answer first."""
        return [
            Round(
                purpose=record.first.purpose,
                contributors=sorted(record.contributions),
                keyholders=sorted(record.answers),
                values=record.first.values,
                bytes_sent=record.bytes_sent,
                seconds=round(self._timing.ends[record.number] - self._timing.starts[record.number], 4),
                checked=checked,
            )
            for record, checked in zip(board.rounds, finding.checked, strict=False)
        ]


def run(
    study: Study, out: Path, progress: Progress, *, port: int = 0, ready: Callable[[Parties], None] | None = None
) -> Document:
    """Runs a study on this machine and returns the document that it wrote to `out`/result.json.

    `ready` is called once all processes have been started. Raises NodeError, or StudyFailedError when the study ends
    without a result.
    """
    result = out / "result.json"
    if result.exists() and not (out / "parties" / LOCK).exists():
        raise NodeError(f"{result} is there and hefed did not put it there; name another folder")
    with Parties(out / "parties", study) as parties:
        expires = int(time.time()) + study.security.deadline
        submission = Submission(study, parties.roster, ANALYST, expires)
        parties.configure(submission.study, port)
        parties.start_all()
        if ready:
            ready(parties)
        watcher = Watcher(study, parties, progress)
        watcher(Board(parties.roster, submission.study), None)
        _endpoint(parties)
        if result.exists():  # an earlier answer must not pass for this study's
            result.replace(out / "result.previous.json")
        board = follow(parties, submission, watcher)
        finding = _finding(board, submission, watcher.lost)
        document = _document(study, board, watcher, finding)
    try:
        write_result(document, result)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise NodeError(f"{out / 'result.json'} cannot be written: {reason}; mend that and run again") from error
    return document


def follow(parties: Parties, submission: Submission, watch: Callable[[Board, m.Message | None], None]) -> Board:
    """Submits a study to running parties and follows it to its end."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = MemberLink(context, parties.analyst, parties.roster, _endpoint(parties))
    try:
        client = AnalystClient(name=ANALYST, identity=parties.analyst, link=link, submission=submission)
        return client.follow(watch)
    finally:
        link.close()
        context.destroy(linger=0)


def _endpoint(parties: Parties) -> str:
    until = time.monotonic() + START_SECONDS
    while (endpoint := parties.endpoint()) is None:
        parties.require_aggregator()
        if time.monotonic() > until:
            raise NodeError(
                f"the aggregator does not listen after {START_SECONDS:.0f} s; see its log in {parties.folder}"
            )
        time.sleep(0.02)
    return endpoint


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


def _finding(board: Board, submission: Submission, lost: str) -> Finding:
    outcome = board.outcome
    if outcome is None:
        raise AssertionError("a study was followed to its end and has no outcome")
    if outcome.how not in ("result", "error"):
        raise StudyFailedError(outcome.words + lost, refused=outcome.how == "refusal" and not board.rounds)
    finding = submission.open(board)
    if finding.outcome == "error":
        raise StudyFailedError(str(finding.document.get("words", "the readers do not say why")), refused=False)
    return finding


def _document(study: Study, board: Board, watcher: Watcher, finding: Finding) -> Document:
    from hefed.node.work import fit_of

    encryption = Encryption(
        engine=study.security.engine, ring_degree=board.profile.ring_degree, modulus_bits=board.profile.modulus_bits
    )
    try:
        fit = fit_of(finding.document)
    except TypeError as error:
        raise StudyFailedError("what the readers report is not a result of this model", refused=False) from error
    if fit.names != (*([INTERCEPT] if study.model.kind == "logistic" else []), *study.model.covariates):
        raise StudyFailedError("what the readers report has coefficients of another model", refused=False)
    return result_document(study, fit, encryption, watcher.rounds(board, finding))
