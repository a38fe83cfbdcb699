"""Keyholders that are killed and never come back: what goes on, what ends, and who is named."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.rules import Phase
from tests.node.runs import Run, Stored, cox_reference, is_sum, secret_files, study_file, wait_for

WAIT = 4
"""Seconds that a phase waits in these studies for a keyholder that can be spared."""
DEADLINE = 40
"""Seconds that a study may take whose end is waited for; its parties start in them too."""


class KilledAfterContributing:
    """Kills kronoberg when every contribution of a round is there and it has been asked to help open it, but could not
    answer yet.

    For that order to be certain, orebro is stopped before it contributes; kronoberg contributes and is stopped;
    orebro goes on.
    """

    def __init__(self) -> None:
        self.round = -1
        self.stored: dict[str, Stored] = {}
        self._stopped: set[str] = set()

    def __call__(self, run: Run, board: Board, message: "m.Message | None") -> None:
        if self.stored or len(board.rounds) < 4:
            return
        if board.phase is Phase.OPENING:
            if "kronoberg" in self._stopped:
                self._kill(run, board)
            elif "orebro" in self._stopped and "orebro" in board.round.contributions:
                self._resume(run, "orebro")  # it was faster than we were; try the next round
            elif self._is_done_with(board, "orebro"):
                self._stop(run, "orebro")
        elif self._stopped == {"orebro"} and set(board.round.contributions) == {"halland", "kronoberg"}:
            self._stop(run, "kronoberg")
            self._resume(run, "orebro")

    @staticmethod
    def _is_done_with(board: Board, name: str) -> bool:
        return name in board.round.checks and name in board.answered(len(board.round.opens))

    def _stop(self, run: Run, name: str) -> None:
        run.stop(name)
        self._stopped.add(name)

    def _resume(self, run: Run, name: str) -> None:
        run.resume(name)
        self._stopped.discard(name)

    def _kill(self, run: Run, board: Board) -> None:
        self.round = board.round.number
        self.stored = {name: run.sent(name)[f"contribution {self.round}"] for name in run.study.contributors}
        run.parties.kill("kronoberg")


@pytest.fixture(scope="module")
def abandoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, KilledAfterContributing, Board, float]]:
    """A study with two of three keyholders, one of which is killed in the middle of a round; and by how many seconds it
    missed its deadline.
    """
    folder = tmp_path_factory.mktemp("abandoned")
    killer = KilledAfterContributing()
    study = study_file(folder, security=f'deadline = "{DEADLINE} s"', limits=f'wait = "{WAIT} s"')
    with Run(study, folder / "parties") as run:
        board = run.follow(killer)
        yield run, killer, board, time.time() - run.submission.invitation.expires


Abandoned = tuple[Run, KilledAfterContributing, Board, float]


def test_a_round_ends_without_a_keyholder_that_was_killed_after_it_contributed(abandoned: Abandoned) -> None:
    _, killer, board, _ = abandoned
    record = board.rounds[killer.round]
    assert record.opens[0].keyholders == ["halland", "kronoberg", "orebro"]
    assert record.opens[-1].keyholders == ["halland", "orebro"]
    assert record.sum is not None
    assert record.sum.absent == ["kronoberg"]
    assert set(record.contributions) == {"halland", "kronoberg", "orebro"}


def test_nothing_is_encrypted_again_for_it(abandoned: Abandoned) -> None:
    run, killer, board, _ = abandoned
    kept = [stored for stored in run.record("aggregator") if stored.kind == "contribution"]
    in_the_round = [stored for stored in kept if m.read_message(stored.envelope, run.parties.roster).content
                    == board.rounds[killer.round].first]  # fmt: skip
    assert {stored.sender: (stored.envelope, stored.attachments) for stored in in_the_round} == {
        name: (stored.envelope, stored.attachments) for name, stored in killer.stored.items()
    }
    assert len(in_the_round) == 3
    for name in ("halland", "orebro"):
        mine = run.sent(name)
        assert mine[f"contribution {killer.round}"] == killer.stored[name]
        assert len([key for key in mine if key.startswith("contribution")]) == killer.round + 2  # each round one


def test_the_study_then_ends_at_its_deadline_and_names_the_region_that_is_missing(abandoned: Abandoned) -> None:
    _, killer, board, late = abandoned
    assert board.outcome is not None
    assert board.outcome.how == "end"
    assert board.outcome.missing == ("kronoberg",)
    assert board.outcome.words == (
        f"the study's time is over ([security] deadline); in round {killer.round + 1} it waited for kronoberg"
    )
    assert 0 <= late < 5


def test_whoever_is_left_has_destroyed_its_keys(abandoned: Abandoned) -> None:
    run, _, _, _ = abandoned
    for name in ("halland", "orebro"):
        wait_for(lambda name=name: "its keys are destroyed" in run.log(name))
        assert [path.name for path in secret_files(run.folder / name)] == ["identity.key"]
    assert len(secret_files(run.folder / "kronoberg")) == 2  # it was killed; whoever started it destroys them


def test_a_region_that_comes_back_long_after_the_wait_is_over_finishes_the_study(tmp_path: Path) -> None:
    back_at = 0.0

    def away(run: Run, board: Board, message: "m.Message | None") -> None:
        nonlocal back_at
        if is_sum(message, 2):
            run.parties.kill("kronoberg")
            back_at = time.monotonic() + 3 * WAIT
        elif "kronoberg" not in run.parties.processes and time.monotonic() > back_at:
            assert board.missing() == ("kronoberg",)
            run.parties.start("kronoberg")

    with Run(study_file(tmp_path, limits=f'wait = "{WAIT} s"'), tmp_path / "parties") as run:
        board = run.follow(away)
        run.assert_answer(board, cox_reference())
        run.assert_every_message_was_sent_once()
    assert back_at > 0


def test_with_a_keyholder_that_has_no_patients_killed_for_good_the_study_finishes(tmp_path: Path) -> None:
    def kill(run: Run, board: Board, message: "m.Message | None") -> None:
        if is_sum(message, 2):
            run.parties.kill("university")

    study = study_file(tmp_path, regions="[regions.university]", limits=f'wait = "{WAIT} s"')
    with Run(study, tmp_path / "parties") as run:
        board = run.follow(kill)
        run.assert_answer(board, cox_reference())
        assert all(run.submission.open(board).checked)
    everybody = ["halland", "kronoberg", "orebro", "university"]
    assert board.rounds[2].opens[-1].keyholders == everybody
    assert board.rounds[4].opens[-1].keyholders == everybody[:3]
    assert all(record.sum is None or record.sum.absent == [] for record in board.rounds)
    assert secret_files(tmp_path) == []
