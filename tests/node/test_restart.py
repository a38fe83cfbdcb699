"""Parties that are killed and started again in the middle of a study go on where they were, with the same bytes."""

from pathlib import Path

from hefed.protocol import messages as m
from hefed.protocol.board import Board
from tests.node.runs import Run, Stored, cox_reference, free_port, is_sum, study_file, wait_for


def test_a_region_that_is_killed_and_started_again_goes_on(tmp_path: Path) -> None:
    before: dict[str, Stored] = {}

    def kill(run: Run, board: Board, message: "m.Message | None") -> None:
        if is_sum(message, 3):
            run.parties.kill("halland")
            before.update(run.sent("halland"))
            run.parties.start("halland")

    with Run(study_file(tmp_path), tmp_path / "parties") as run:
        board = run.follow(kill)
        run.assert_answer(board, cox_reference())
        assert "took up study" in run.log("halland")
        after = run.sent("halland")
        assert {key: after[key] for key in before} == before
        assert "contribution 3" in before
        assert "closing" in set(after) - set(before)
        run.assert_every_message_was_sent_once()


class KilledWithAMessageOnItsWay:
    """Kills aggregator and halland when halland has stored a contribution that the aggregator does not have, and starts
    both again.
    """

    def __init__(self) -> None:
        self.key = ""
        self.stored: Stored | None = None

    def __call__(self, run: Run, board: Board, message: "m.Message | None") -> None:
        if self.stored or message is None or not is_sum(message, len(board.rounds) - 2) or len(board.rounds) < 4:
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


def test_what_was_not_delivered_before_both_ends_were_killed_is_sent_again_byte_for_byte(tmp_path: Path) -> None:
    killer = KilledWithAMessageOnItsWay()
    with Run(study_file(tmp_path), tmp_path / "parties", port=free_port()) as run:
        board = run.follow(killer)
        run.assert_answer(board, cox_reference())
        assert killer.stored is not None
        assert run.sent("halland")[killer.key] == killer.stored
        assert killer.stored.envelope in [kept.envelope for kept in run.record("aggregator")]
        run.assert_every_message_was_sent_once()
        assert "took up study" in run.log("aggregator")
        assert "took up study" not in run.log("orebro")  # it only connected again


def test_a_table_that_changed_while_its_region_was_down_ends_the_study_in_the_regions_words(tmp_path: Path) -> None:
    def kill(run: Run, board: Board, message: "m.Message | None") -> None:
        if is_sum(message, 1):
            run.parties.kill("halland")
            table = tmp_path / "halland.csv"
            lines = table.read_text().splitlines(keepends=True)
            table.write_text("".join(lines[:-1]))  # one patient less
            run.parties.start("halland")

    with Run(study_file(tmp_path), tmp_path / "parties") as run:
        board = run.follow(kill)
        contributed = [key for key in run.sent("halland") if key.startswith("contribution")]
    assert board.outcome is not None
    assert (board.outcome.how, board.outcome.by) == ("refusal", "halland")
    assert board.outcome.words == "the table of halland has changed since it was approved; submit the study again"
    assert len(contributed) <= 3
