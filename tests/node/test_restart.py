"""Parties that are killed and started again in the middle of a study go on where they were, with the same bytes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hefed.protocol import messages as m
from hefed.protocol.board import Board
from tests.node.runs import Run, Stored, cox_reference, free_port, is_sum, study_file, wait_for


class KilledAndStarted:
    """Kills a region in the middle of a study and starts it again."""

    def __init__(self, name: str, round: int) -> None:
        self.name, self.round = name, round
        self.sent: dict[str, Stored] = {}

    def __call__(self, run: Run, board: Board, message: "m.Message | None") -> None:
        if is_sum(message, self.round):
            run.parties.kill(self.name)
            self.sent = run.sent(self.name)
            run.parties.start(self.name)


class KilledWithAMessageOnItsWay:
    """Kills aggregator and halland when halland has stored a contribution that the aggregator does not have, and starts
    both again.
    """

    def __init__(self) -> None:
        self.key = ""
        self.stored: Stored | None = None

    def __call__(self, run: Run, board: Board, message: "m.Message | None") -> None:
        if self.stored or message is None or not is_sum(message, len(board.rounds) - 2) or len(board.rounds) < 6:
            return
        run.stop("aggregator")
        key = f"contribution {board.round.number}"
        try:
            wait_for(lambda: key in run.sent("halland"), 2)
        except AssertionError:
            run.resume("aggregator")  # it was stopped before it had passed on the sum; try the next round
            return
        stored = run.sent("halland")[key]
        if stored.envelope in [kept.envelope for kept in run.record("aggregator")]:
            run.resume("aggregator")
            return
        run.parties.kill("aggregator")
        run.parties.kill("halland")
        self.key, self.stored = key, stored
        run.parties.start("aggregator")
        run.parties.start("halland")


@pytest.fixture(scope="module")
def disturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Run, Board, KilledAndStarted, KilledWithAMessageOnItsWay]]:
    """A study in which kronoberg, and later halland and the aggregator at once, are killed and started again."""
    folder = tmp_path_factory.mktemp("disturbed")
    alone, both = KilledAndStarted("kronoberg", 2), KilledWithAMessageOnItsWay()
    with Run(study_file(folder), folder / "parties", port=free_port()) as run:
        board = run.follow(alone, both)
        yield run, board, alone, both


Disturbed = tuple[Run, Board, KilledAndStarted, KilledWithAMessageOnItsWay]


def test_after_all_that_the_answer_is_the_same(disturbed: Disturbed) -> None:
    run, board, _, _ = disturbed
    run.assert_answer(board, cox_reference())


def test_a_region_that_is_killed_and_started_again_goes_on_with_what_it_had_sent(disturbed: Disturbed) -> None:
    run, _, alone, _ = disturbed
    after = run.sent("kronoberg")
    assert "took up study" in run.log("kronoberg")
    assert {key: after[key] for key in alone.sent} == alone.sent
    assert "contribution 2" in alone.sent
    assert "closing" in set(after) - set(alone.sent)


def test_what_was_not_delivered_before_both_ends_were_killed_is_sent_again_byte_for_byte(disturbed: Disturbed) -> None:
    run, _, _, both = disturbed
    assert both.stored is not None
    assert run.sent("halland")[both.key] == both.stored
    assert both.stored.envelope in [kept.envelope for kept in run.record("aggregator")]


def test_every_message_is_in_the_record_once_as_it_was_stored_by_its_sender(disturbed: Disturbed) -> None:
    run, _, _, _ = disturbed
    run.assert_every_message_was_sent_once()


def test_who_was_not_killed_only_connects_again(disturbed: Disturbed) -> None:
    run, _, _, _ = disturbed
    assert "took up study" in run.log("aggregator")
    assert "took up study" not in run.log("orebro")


def test_a_region_that_is_started_again_goes_on_with_the_table_that_it_froze(tmp_path: Path) -> None:
    def kill(run: Run, board: Board, message: "m.Message | None") -> None:
        if is_sum(message, 1):
            run.parties.kill("halland")
            (tmp_path / "halland.csv").write_text("age\n1\n")
            run.parties.start("halland")

    with Run(study_file(tmp_path), tmp_path / "parties") as run:
        board = run.follow(kill)
        run.assert_answer(board, cox_reference())
