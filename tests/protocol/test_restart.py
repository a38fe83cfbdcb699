"""Started again at any message, a member sends the same bytes or nothing, and the answer does not change."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hefed.data import frozen
from hefed.data.table import load_table
from hefed.protocol.keyholder import KeyholderPart
from hefed.protocol.ports import DeclinedError
from hefed.study import Study
from tests.protocol.federation import Federation


@pytest.mark.parametrize("name", ["halland", "university"])
def test_a_member_started_again_after_every_message_changes_nothing(
    name: str, small_study: Study, finished: Federation
) -> None:
    federation = Federation(small_study)
    restarts = 0

    def restart(running: Federation) -> bool:
        nonlocal restarts
        party = running.parties[name]
        before = {key: outgoing.message.envelope for key, outgoing in party.sent.items()}
        said_again = running.start(name)
        assert [outgoing.message.envelope for outgoing in said_again] == list(before.values())
        assert {key: outgoing.message.envelope for key, outgoing in party.sent.items()} == before
        restarts += 1
        return False

    federation.run(until=restart)
    assert restarts > 50
    np.testing.assert_allclose(
        federation.finding().document["estimate"], finished.finding().document["estimate"], rtol=1e-9
    )


def _changed_in_round_3(federation: Federation, change: Callable[[Federation], None]) -> Federation:
    """The federation at its end, after a change to orebro's machine and its restart in the middle."""
    changed = []

    def once(running: Federation) -> bool:
        if len(running.board.rounds) == 3 and not changed:
            changed.append(running)
            change(running)
            running.start("orebro")
        return False

    federation.run(until=once)
    assert changed
    return federation


def test_a_table_that_changes_after_the_approval_changes_nothing(
    small_study: Study, finished: Federation, tmp_path: Path
) -> None:
    table = tmp_path / "orebro.csv"
    rows = small_study.tables["orebro"].read_text()
    table.write_text(rows)
    federation = _changed_in_round_3(Federation(small_study, orebro=table), lambda running: table.unlink())
    assert federation.finding().document["estimate"] == finished.finding().document["estimate"]


def test_another_table_than_the_approved_one_ends_the_study(small_study: Study) -> None:
    other = frozen.to_bytes(load_table(small_study.tables["halland"], small_study, "orebro"))

    def exchange(running: Federation) -> None:
        running.parties["orebro"].vault.secrets["frozen table"] = other

    federation = _changed_in_round_3(Federation(small_study), exchange)
    assert federation.board.outcome is not None
    assert federation.board.outcome.by == "orebro"
    assert "changed since it was approved" in federation.board.outcome.words


def test_a_refusal_follows_on_what_was_said_in_the_same_breath(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region that signs its check and cannot answer: both its messages arrive, and its own words end the study."""

    def broken(self: KeyholderPart) -> None:
        raise DeclinedError("this keyholder is out of order")

    federation = Federation(small_study)
    monkeypatch.setattr(KeyholderPart, "answer", broken)
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.words == "this keyholder is out of order"
    assert federation.board.rounds[0].checks
