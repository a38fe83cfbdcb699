"""A region's part in a study around the decision of its people: what it keeps, what it sends, and what it says."""

import time
from pathlib import Path

import pytest

from hefed.node.decision import Decision, Decisions
from hefed.node.identity import Identity
from hefed.node.participation import Participation
from hefed.node.store import Store
from hefed.protocol import messages as m
from hefed.protocol.errors import SignatureError
from hefed.study import Study
from tests.node.asking import Region, ask
from tests.node.runs import EXAMPLES

COX = Study.load(EXAMPLES / "heart-failure" / "cox.toml")


@pytest.fixture
def region(tmp_path: Path) -> Region:
    (tmp_path / "home").mkdir()
    return Region(tmp_path / "home", ask(COX), data=COX.tables["halland"])


@pytest.fixture
def part(region: Region, tmp_path: Path) -> tuple[Participation, Store]:
    """The region's part in the study, whose invitation has come."""
    store = Store(tmp_path / "home")
    store.add_study(region.asked.study)
    store.append(region.asked.study, 0, region.asked.invitation, time.time(), ())
    store.commit()
    made = Participation(
        name=region.name,
        identity=region.identity,
        roster=region.asked.roster,
        store=store,
        consent=region.consent,
        study=region.asked.study,
    )
    made.restore()
    made.note_accepted(None)
    return made, store


def test_a_node_waits_on_beside_a_decision_of_somebody_else_and_says_so_once(
    region: Region, part: tuple[Participation, Store], caplog: pytest.LogCaptureFixture
) -> None:
    made, store = part
    assert made.waits
    stranger = Decisions(region.folder, Identity.passing())
    stranger.write(Decision(study=region.asked.study, answer="approved", at=1.0))
    for _ in range(3):
        made.decide()
    assert made.waits
    assert store.count_sent(region.asked.study) == 0
    said = [
        record.getMessage() for record in caplog.records if "not a decision that this home signed" in record.message
    ]
    assert len(said) == 1
    stranger.path(region.asked.study, "approved").unlink()
    region.decide("approved")
    made.decide()
    assert not made.waits
    assert store.recall(region.asked.study, "approval") is not None
    facts = store.facts(region.asked.study)
    assert facts is not None
    assert str(facts.approval).startswith("by hand, signed ")


@pytest.mark.parametrize("approved", [False, True])
def test_a_refusal_reaches_the_record_in_the_words_of_the_region(
    approved: bool, region: Region, part: tuple[Participation, Store]
) -> None:
    made, store = part
    if approved:
        region.decide("approved")
        made.decide()
        assert store.count_sent(region.asked.study) == 1
    region.decide("refused", "not without the ethics board")
    made.decide()
    assert made.ended
    refusal = store.recall(region.asked.study, "refusal")
    assert refusal is not None
    content = m.read_message(refusal.envelope, region.asked.roster).content
    assert content == m.Refusal(words="halland refuses: not without the ethics board")


def test_before_an_approval_nothing_of_the_table_is_read_or_kept(
    region: Region, part: tuple[Participation, Store], tmp_path: Path
) -> None:
    made, store = part
    for _ in range(3):
        made.decide()
    assert store.count_sent(region.asked.study) == 0
    assert not list(tmp_path.rglob("study-keys/*"))
    region.decide("approved")
    made.decide()
    assert list(tmp_path.rglob("study-keys/*"))  # the control


def test_our_own_message_that_comes_back_is_known_by_its_bytes_and_an_altered_one_is_not(
    region: Region, part: tuple[Participation, Store]
) -> None:
    made, store = part
    region.decide("approved")
    made.decide()
    approval = store.recall(region.asked.study, "approval")
    assert approval is not None
    assert made.read(approval.envelope) is made.read(approval.envelope)  # as it was made, not read again
    assert made.read(approval.envelope) == m.read_message(approval.envelope, region.asked.roster)
    altered = bytearray(approval.envelope)
    altered[-1] ^= 1
    with pytest.raises(SignatureError):
        made.read(bytes(altered))


def test_a_region_keeps_how_many_of_its_patients_a_study_got(region: Region, part: tuple[Participation, Store]) -> None:
    made, store = part
    assert store.approved_before(b"") == []
    region.decide("approved")
    made.decide()
    (earlier,) = store.approved_before(b"")
    assert (earlier.digest, earlier.study.id, earlier.rows) == (region.asked.study, COX.id, 150)
    assert store.approved_before(region.asked.study) == []
