"""A region whose state was lost, or that was given an older one, takes no part in the studies that ran: it says so at
once, and nothing else leaves it.
"""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from hefed.protocol import messages as m
from hefed.protocol.board import Board
from tests.node.runs import Run, free_port, hefed, is_sum, study_file, wait_for

WORDS = "halland has lost its state of this study and cannot go on with it; submit it again"
STATE = ("state.sqlite", "state.sqlite-wal", "state.sqlite-shm")


def _has_begun(folder: Path) -> bool:
    """Whether a region's database has its tables."""
    if not (folder / "state.sqlite").exists():
        return False
    with closing(sqlite3.connect(f"file:{folder / 'state.sqlite'}?mode=ro", uri=True)) as db:
        return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sent'").fetchone() is not None


class Lost:
    """Takes its state from halland after a round: all of it, or what came after an earlier round."""

    def __init__(self, copy: Path | None, killed_again: bool) -> None:
        self.copy, self.killed_again = copy, killed_again
        self.sent: list[bytes] = []
        self.at = 0.0

    def __call__(self, run: Run, board: Board, message: "m.Message | None") -> None:
        folder = run.folder / "halland"
        if self.copy and is_sum(message, 1):
            run.stop("halland")
            self.copy.mkdir()
            for name in STATE[:2]:
                shutil.copy(folder / name, self.copy)
            run.resume("halland")
        if is_sum(message, 3):
            run.parties.kill("halland")
            self.sent = [one.envelope for one in run.record("aggregator") if one.sender == "halland"]
            for name in STATE:
                (folder / name).unlink(missing_ok=True)
            if self.copy:
                for path in self.copy.iterdir():
                    shutil.copy(path, folder)
            else:
                shutil.rmtree(folder / "study-keys")
            run.parties.start("halland")
            if self.killed_again:
                wait_for(lambda: _has_begun(folder) and run.sent("halland"), 60)
                run.parties.kill("halland")
                run.parties.start("halland")
            self.at = time.time()


@pytest.mark.parametrize(
    ("older", "killed_again"), [(False, False), (False, True), (True, False)],
    ids=["all of it", "all of it, and killed while it looks", "since an older copy"],
)  # fmt: skip
def test_the_region_refuses_at_once_and_sends_nothing_else(tmp_path: Path, older: bool, killed_again: bool) -> None:
    lost = Lost(tmp_path / "copy" if older else None, killed_again)
    with Run(study_file(tmp_path), tmp_path / "parties", port=free_port()) as run:
        board = run.follow(lost)
        assert board.outcome is not None
        assert (board.outcome.how, board.outcome.by, board.outcome.words) == ("refusal", "halland", WORDS)
        assert time.time() - lost.at < 45  # of the study's 600 s
        *before, refusal = [one for one in run.record("aggregator") if one.sender == "halland"]
        assert [one.envelope for one in before] == lost.sent
        assert refusal.kind == "refusal"
        assert "refused a message of halland" not in run.log("aggregator")
        wait_for(lambda: not list((run.folder / "halland/study-keys").iterdir()))
        said = hefed("log", "--home", run.folder / "halland").out
        assert "contribution to round 3" in said  # as the record shows it
        assert WORDS in " ".join(said.split())
