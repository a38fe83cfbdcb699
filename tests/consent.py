"""A region that takes part in whatever it is asked for, without a home of its own."""

import time
from collections.abc import Callable
from pathlib import Path

from hefed.data.settings import DataSettings
from hefed.node.consent import Consent
from hefed.node.decision import Decisions
from hefed.node.identity import Identity
from hefed.node.process import ANY_STUDY
from hefed.node.work import ModelWork
from hefed.protocol.board import Board
from hefed.protocol.ports import DeclinedError, Vault


def taking_part(
    name: str, data: Path | DataSettings | None, vault: Vault, clock: Callable[[], float] = time.time
) -> Callable[[Board], ModelWork | None]:
    """What `Member` calls to begin: refuses as `Consent` does, and waits for nobody."""
    consent = Consent(name, data, ANY_STUDY, Decisions(Path("/nowhere"), Identity.passing()), clock)

    def prepare(board: Board) -> ModelWork | None:
        verdict = consent.verdict(board)
        if verdict.answer == "refuse" and not board.approvals:
            raise DeclinedError(verdict.words)
        return consent.prepare(board, vault)

    return prepare
