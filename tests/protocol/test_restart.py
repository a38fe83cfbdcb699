"""Started again at any message, a member sends the same bytes or nothing, and the answer does not change."""

from pathlib import Path

import numpy as np
import pytest

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


def test_a_table_that_changed_since_the_approval_ends_the_study(small_study: Study, tmp_path: Path) -> None:
    table = tmp_path / "orebro.csv"
    rows = small_study.tables["orebro"].read_text()
    table.write_text(rows)
    federation = Federation(small_study, orebro=table)

    def change(running: Federation) -> bool:
        if len(running.board.rounds) == 3 and table.read_text() == rows:
            table.write_text(rows.replace("55", "56", 1))
            running.start("orebro")
        return False

    federation.run(until=change)
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
