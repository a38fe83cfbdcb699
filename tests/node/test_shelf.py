"""Long attachments are read once for all who want them, and what is kept of them is bounded."""

from pathlib import Path

import pytest

from hefed.node.identity import Identity
from hefed.node.shelf import Shelf
from hefed.node.store import Store
from hefed.protocol import messages as m

STUDY = bytes(32)
LONG = bytes(1000)


class Counting(Store):
    """A store that counts how often attachments are read from the disk."""

    reads = 0

    def attachments(self, study: bytes, number: int) -> tuple[bytes, ...]:
        self.reads += 1
        return super().attachments(study, number)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    store = Counting(tmp_path / "state")
    message = Identity.passing().signer.sign(
        m.End(words="", missing=[]), federation="test", study=STUDY, sender="aggregator", previous=m.ZERO_HASH
    )
    store.add_study(STUDY)
    for number in range(6):
        store.append(STUDY, number, message, 0.0, (bytes([number]) + LONG, LONG))
    store.commit()
    return store


def test_what_several_members_want_is_read_once(store: Counting) -> None:
    shelf = Shelf(store)
    assert [shelf.attachments(STUDY, 3) for _ in range(20)] == [(b"\3" + LONG, LONG)] * 20
    assert store.reads == 1
    store.close()


@pytest.mark.parametrize(("room", "kept"), [(5 * len(LONG), 2), (len(LONG), 1), (10**6, 6)])
def test_it_has_bounded_room_and_the_first_goes_first(store: Counting, room: int, kept: int) -> None:
    shelf = Shelf(store, room)
    for number in range(6):
        assert shelf.attachments(STUDY, number)[0][0] == number
    assert store.reads == 6
    for number in range(6 - kept, 6):
        shelf.attachments(STUDY, number)
    assert store.reads == 6  # those are still there
    if kept < 6:
        assert shelf.attachments(STUDY, 5 - kept)[0][0] == 5 - kept
        assert store.reads == 7  # and this one had gone
    store.close()
