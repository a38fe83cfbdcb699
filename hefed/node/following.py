"""Following a study to its end for people: progress on a console, the figures of each round, the finding, the result.

`hefed simulate` and `hefed submit` both come here. Relies on the analyst's part for the record and on `report` for what
is shown and written.
"""

import time
from dataclasses import dataclass

from hefed.node.analyst import Finding, Submission
from hefed.node.errors import StudyFailedError
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.coordinator import indispensable
from hefed.protocol.rules import Phase
from hefed.report.progress import Progress, Standing
from hefed.report.result import Document, Encryption, Round, result_document
from hefed.study import INTERCEPT, Study

NAMELESS_SECONDS = 1.0
"""How long a round may go without a first contribution, which says its purpose, before it is shown without one."""

PHASES = {
    Phase.INVITATION: "waiting for the parties",
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

    def __init__(self, study: Study, progress: Progress, *, timed: bool = True) -> None:
        """`timed`: whether the rounds are followed as they happen, so that their seconds can be told."""
        self._study, self._progress, self._timed = study, progress, timed
        self._phase_since = self._waits_since = time.time()
        self._place: tuple[Phase, int] | None = None
        self._waits_in: tuple[Phase, int, bool] | None = None
        self._timing = _Timing([], {})

    def __call__(self, board: Board, message: m.Message | None) -> None:
        """Called at every message, and in between."""
        now = time.time()
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
        without_result = board.outcome is not None and board.outcome.how != "result"
        return Standing(
            phase="ended without a result" if without_result else PHASES[phase],
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
                seconds=self._seconds(record.number),
                checked=checked,
            )
            for record, checked in zip(board.rounds, finding.checked, strict=False)
        ]

    def _seconds(self, number: int) -> float | None:
        return round(self._timing.ends[number] - self._timing.starts[number], 4) if self._timed else None


def finding_of(board: Board, submission: Submission, lost: str = "") -> Finding:
    """What the readers found; `lost` is said behind the words of a study that failed. Raises StudyFailedError."""
    outcome = board.outcome
    if outcome is None:
        raise AssertionError("a study was followed to its end and has no outcome")
    if outcome.how not in ("result", "error"):
        raise StudyFailedError(outcome.words + lost, refused=outcome.how == "refusal" and not board.rounds)
    finding = submission.open(board)
    if finding.outcome == "error":
        raise StudyFailedError(str(finding.document.get("words", "the readers do not say why")), refused=False)
    return finding


def coefficients(study: Study) -> tuple[str, ...]:
    """The names of a study's coefficients, in order."""
    return (*([INTERCEPT] if study.model.kind == "logistic" else []), *study.model.covariates)


def document_of(study: Study, board: Board, watcher: Watcher, finding: Finding) -> Document:
    """The content of `result.json`. Raises StudyFailedError when the finding is none of this model."""
    from hefed.node.work import fit_of

    encryption = Encryption(
        engine=study.security.engine, ring_degree=board.profile.ring_degree, modulus_bits=board.profile.modulus_bits
    )
    try:
        fit = fit_of(finding.document)
    except TypeError as error:
        raise StudyFailedError("what the readers report is not a result of this model", refused=False) from error
    if fit.names != coefficients(study):
        raise StudyFailedError("what the readers report has coefficients of another model", refused=False)
    return result_document(study, fit, encryption, watcher.rounds(board, finding))
