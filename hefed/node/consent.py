"""Whether a region takes part in a study: its policy, its people's decision, and its table, frozen at the approval.

Relies on `data` for policy and table, and on `decision`. Words of a refusal reach the analyst: they name limits, never
what the table holds.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hefed.data import frozen
from hefed.data.policy import Policy, refusals
from hefed.data.releases import Earlier, differences, refused
from hefed.data.settings import DataSettings, SettingsError
from hefed.data.source import DataError
from hefed.data.table import LocalTable, commitment, load_table
from hefed.node.decision import Decision, DecisionError, Decisions
from hefed.node.limits import CLOCK_TOLERANCE as CLOCK_TOLERANCE
from hefed.node.work import ModelWork
from hefed.protocol.board import Board
from hefed.protocol.ending import EndedError, day, require_lasting
from hefed.protocol.ports import DeclinedError, Vault
from hefed.wording import counted


@dataclass(frozen=True)
class Verdict:
    """What a region says to an invitation at this moment; "wait" for its people. `words` say why, or by whom."""

    answer: Literal["approve", "refuse", "wait"]
    words: str


class Consent:
    """One for a region. `verdict` is asked again and again until it is not "wait"; `prepare` once that is "approve"."""

    def __init__(
        self,
        name: str,
        data: Path | DataSettings | None,
        policy: Policy,
        decisions: Decisions,
        clock: Callable[[], float] = time.time,
        reread: Callable[[], tuple[DataSettings | None, Policy]] | None = None,
        earlier: Callable[[bytes], Sequence[Earlier]] = lambda study: (),
    ) -> None:
        """`reread` gives table and policy as the settings say now: people mend them between two decisions. `earlier`
        gives the studies that the region took part in before one.
        """
        self._name, self._data, self._policy, self._decisions, self._clock = name, data, policy, decisions, clock
        self._reread, self._earlier = reread, earlier

    def verdict(self, board: Board) -> Verdict:
        """Approve, refuse or wait. Raises DecisionError for a decision that this home did not sign, and for settings
        that cannot be used.
        """
        if self._reread is not None:
            try:
                self._data, self._policy = self._reread()
            except SettingsError as error:
                raise DecisionError(str(error)) from error
        refusal = self._refusal(board)
        if refusal is not None:
            return Verdict("refuse", refusal)
        decision = self._decisions.find(board.study_digest)
        if decision is not None:
            return self._decided(decision)
        if self._policy.approve == "within-policy":
            return Verdict("approve", "within the policy of this region")
        return Verdict("wait", f"waits for the people of {self._name}: hefed approve or hefed refuse")

    def withdrawn(self, study: bytes) -> str | None:
        """The words with which the people of the region took back their approval, if they did."""
        decision = self._decisions.find(study)
        return self._decided(decision).words if decision is not None and decision.answer == "refused" else None

    def _decided(self, decision: Decision) -> Verdict:
        if decision.answer == "refused":
            return Verdict("refuse", f"{self._name} refuses: {decision.words}")
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(decision.at))
        return Verdict("approve", f"by hand, signed {when}")

    def _refusal(self, board: Board) -> str | None:
        left = board.invitation.expires - self._clock()
        deadline = board.study.security.deadline
        if left > deadline + CLOCK_TOLERANCE:
            return (
                f"{self._name} would have to keep keys for {left:.0f} s, longer than the study's deadline; "
                "look at the clocks"
            )
        if left < 0:
            return (
                f"the study's deadline was over when {self._name} heard of it; "
                "submit it again, with a longer [security] deadline if the clocks are right"
            )
        parties = {board.analyst, board.roster.aggregator.name, *board.study.members}
        try:
            require_lasting(board.roster, parties, day(self._clock()))
        except EndedError as error:
            return f"{self._name} refuses: {error}"
        reasons = refusals(self._policy, board.study, None, board.analyst)
        reasons += repeated(self._policy, board, None, self._earlier(board.study_digest))
        if self._name in board.study.contributors and self._data is None:
            reasons.append("the study wants data of it, and its settings name no table")
        return f"{self._name} refuses: {'; '.join(reasons)}" if reasons else None

    def prepare(self, board: Board, vault: Vault) -> ModelWork | None:
        """The work in this study, None for a mere keyholder. The table is read and frozen at the first call, and the
        frozen one is used at every other. Raises DeclinedError.
        """
        study = board.study
        if self._name not in study.contributors:
            return ModelWork(self._name, board, None) if self._name in study.readers else None
        stored = vault.get_or_create("frozen table", lambda: frozen.to_bytes(self._checked(board)))
        return ModelWork(self._name, board, frozen.from_bytes(stored))

    def _checked(self, board: Board) -> LocalTable:
        if self._data is None:
            raise DeclinedError(f"{self._name} is to contribute, but has no table; name one in its settings")
        try:
            table = load_table(self._data, board.study, self._name)
        except DataError as error:
            raise DeclinedError(error.public) from error
        reasons = refusals(self._policy, board.study, table)
        reasons += repeated(self._policy, board, table.rows, self._earlier(board.study_digest))
        if reasons:
            raise DeclinedError(f"{self._name} refuses: {'; '.join(reasons)}")
        try:
            decision = self._decisions.find(board.study_digest)
        except DecisionError as error:
            raise DeclinedError(f"{self._name} has a decision about the study that its people did not sign") from error
        if decision and decision.table not in (None, table_digest(table, board.study_digest)):
            raise DeclinedError(
                f"the table of {self._name} changed between its approval and its first use; submit the study again"
            )
        return table


def table_digest(table: LocalTable, study: bytes) -> bytes:
    """Stands for a table in a decision, which stays in the region; the commitment that others see is salted."""
    return commitment(table.columns, study)


def repeated(policy: Policy, board: Board, rows: int | None, earlier: Sequence[Earlier]) -> list[str]:
    """Reasons of the policy against a study that could be subtracted from an earlier one; see `differences`."""
    return refused(differences(board.study, rows, earlier, policy.min_rows), policy.refused_differences)


def look_at_table(
    data: Path | DataSettings, policy: Policy, board: Board, name: str, earlier: Sequence[Earlier] = ()
) -> tuple[LocalTable, list[str]]:
    """The table as an approval would freeze it, and every reason of the policy against it. Raises DataError,
    DeclinedError.
    """
    table = load_table(data, board.study, name)
    reasons = refusals(policy, board.study, table, board.analyst)
    reasons += repeated(policy, board, table.rows, earlier)
    if not reasons:
        ModelWork(name, board, table)  # whether the model can use it
    return table, reasons


def describe(table: LocalTable, board: Board) -> str:
    """What a table holds for a study, for the people of its own region."""
    parts = [counted(table.rows, "row"), counted(table.events(board.study.model), "event")]
    parts += [f"{counted(table.dropped, 'row')} left out for missing values"] if table.dropped else []
    parts += [f"{counted(table.duplicates, 'row')} the same as another"] if table.duplicates else []
    return ", ".join(parts)
