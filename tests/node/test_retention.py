"""How much state there is after many studies, what goes and what stays, and that what goes is gone from the disk."""

import secrets
import time
from pathlib import Path

import pytest

from hefed.node.database import LOG_BYTES
from hefed.node.errors import NodeError
from hefed.node.history import History, log_sections
from hefed.node.store import Store
from hefed.protocol import messages as m

DAY = 86400.0
FRAME = 50_000
STUDIES = 150
SIGNER = m.Signer(secrets.token_bytes(32))


def contribution(study: bytes, frame: bytes, sender: str = "halland") -> m.Message:
    content = m.Contribution(round=1, purpose="newton", label=bytes(32), values=36)
    return SIGNER.sign(
        content, federation="test", study=study, sender=sender, previous=m.ZERO_HASH, attachments=(frame,)
    )


def study_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def take_part(store: Store, number: int, at: float, frame: bytes | None = None) -> bytes:
    """A small study: one message of ours, the same in the record, a secret, and its end. Returns the frame."""
    study, frame = study_of(number), frame or secrets.token_bytes(FRAME)
    store.add_study(study, name=f"study-{number}", began=at)
    store.vault(study).get_or_create("seed", lambda: secrets.token_bytes(32))
    message = contribution(study, frame)
    store.remember(study, "contribution 1", message.envelope, (frame,), made=at)
    store.commit()
    store.mark_left(study, 0, at + 1, "aggregator")
    store.append(study, 0, message, at + 2, (frame,))
    store.commit()
    store.end_study(study, at + 3, "a result")
    return frame


def disk_of(folder: Path) -> int:
    """Bytes of everything in a home."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_many_studies_leave_no_more_than_their_signed_messages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sizes = []
    for number in range(STUDIES):
        now = number * DAY
        take_part(store, number, now)
        if number % 5 == 4:
            store.prune(now - 10 * DAY, 0.0)
            sizes.append(disk_of(tmp_path))
    store.close()
    growth = (sizes[-1] - sizes[5]) / (5 * (len(sizes) - 6))
    assert growth < 0.05 * 2 * FRAME, growth  # a study's two frames go, its two envelopes stay
    assert max(sizes) < 20 * 2 * FRAME
    assert not list((tmp_path / "study-keys").iterdir())


def test_with_records_pruned_too_the_disk_is_level(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sizes = []
    for number in range(STUDIES):
        now = number * DAY
        take_part(store, number, now)
        if number % 5 == 4:
            store.prune(now - 10 * DAY, now - 20 * DAY)
            sizes.append(disk_of(tmp_path))
    assert sizes[-1] - sizes[5] < STUDIES * 300  # a line of the table of studies each
    assert store.has_ended(study_of(0))
    assert store.length(study_of(0)) == 0
    assert study_of(0) not in store.studies()
    with pytest.raises(NodeError, match="has ended"):
        store.vault(study_of(0))  # though nothing of it is kept, it is never taken up again
    store.close()


def test_what_was_pruned_is_not_passed_on_from_memory(tmp_path: Path) -> None:
    store = Store(tmp_path)
    take_part(store, 1, 0.0)
    assert store.bare_entry(study_of(1), 0).kind == "contribution"
    store.prune(DAY, DAY)
    with pytest.raises(TypeError):
        store.bare_entry(study_of(1), 0)


def test_signed_messages_go_after_ten_years(tmp_path: Path) -> None:
    store, now = Store(tmp_path), time.time()
    take_part(store, 1, now - 11 * 365.25 * DAY)
    take_part(store, 2, now - 9 * 365.25 * DAY)
    store.prune(now - 30 * DAY)
    assert (store.length(study_of(1)), store.length(study_of(2))) == (0, 1)
    store.close()


def test_what_was_pruned_is_nowhere_on_disk_and_the_rest_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = take_part(store, 1, 0.0), take_part(store, 2, 50 * DAY)
    running = study_of(3)
    store.add_study(running)
    kept = secrets.token_bytes(FRAME)
    store.remember(running, "contribution 1", b"e", (kept,), made=0.0)
    store.prune(30 * DAY, 0.0)
    assert store.entry(study_of(1), 0).attachments == store.sent(study_of(1), 0).attachments == ()
    assert store.entry(study_of(2), 0).attachments == store.sent(study_of(2), 0).attachments == (new,)
    assert store.sent(running, 0).attachments == (kept,)
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        content = path.read_bytes()
        assert not any(old[start : start + 64] in content for start in range(0, FRAME, 64))
    store.close()


def test_the_log_is_the_same_after_the_ciphertexts_have_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    frame = take_part(store, 1, 0.0)
    with History(tmp_path) as history:
        before = log_sections(history, aggregator="aggregator")
    store.prune(DAY, 0.0)
    with History(tmp_path) as history:
        assert log_sections(history, aggregator="aggregator") == before
    (section,) = before
    assert section.lines[0].size == len(store.sent(study_of(1), 0).envelope) + len(frame)
    store.prune(DAY, DAY)
    with History(tmp_path) as history:
        (section,) = log_sections(history, aggregator="aggregator")
    assert section.note == "Its messages have been deleted, as their time was over."
    assert [line.event for line in section.lines] == ["ended"]
    store.close()


def test_pruning_that_was_interrupted_is_finished_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    for number in range(5):
        take_part(store, number, 0.0)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_delete_by_message", killed)
    with pytest.raises(KeyboardInterrupt):
        store.prune(DAY, 0.0)
    monkeypatch.undo()
    store._db.close()
    store = Store(tmp_path)
    assert store.entry(study_of(1), 0).attachments != ()
    store.prune(DAY, 0.0)
    assert all(store.entry(study_of(number), 0).attachments == () for number in range(5))
    assert disk_of(tmp_path) < 2 * FRAME
    store.close()


def test_the_write_ahead_log_is_cut_after_a_large_message(tmp_path: Path) -> None:
    store, study = Store(tmp_path), study_of(1)
    log = tmp_path / "state.sqlite-wal"
    store.add_study(study)
    store.remember(study, "large", b"e", (bytes(10 * LOG_BYTES),))
    store.commit()
    assert log.stat().st_size > 9 * LOG_BYTES
    for number in range(3):
        store.remember(study, f"small {number}", b"e", ())
        store.commit()
    assert log.stat().st_size <= LOG_BYTES
    store.close()


def test_somebody_who_reads_the_log_stops_neither_the_node_nor_the_folding(tmp_path: Path) -> None:
    store = Store(tmp_path)
    take_part(store, 1, 0.0)
    with History(tmp_path) as history:
        assert len(log_sections(history, aggregator="aggregator")) == 1
        for number in range(2, 12):
            take_part(store, number, 0.0)
        store.prune(DAY, 0.0)
        assert (tmp_path / "state.sqlite-wal").stat().st_size == 0
        assert len(log_sections(history, aggregator="aggregator")) == 11
    store.close()


def test_a_message_leaves_once_and_by_when_it_came_back_if_that_was_not_noted(tmp_path: Path) -> None:
    store, study = Store(tmp_path), study_of(1)
    store.add_study(study)
    messages = [contribution(study, bytes([number])) for number in range(3)]
    for number, message in enumerate(messages):
        store.remember(study, str(number), message.envelope, (bytes([number]),), made=float(number))
    store.mark_left(study, 0, 10.0, "aggregator")
    store.mark_left(study, 0, 99.0, "aggregator")  # sent again after the connection broke
    store.mark_leaving(study, 1, "aggregator")
    store.commit()
    store.mark_left(study, 1, 11.0, "aggregator")
    store._db.close()  # as a kill does: the message left, the note of it did not become durable
    store = Store(tmp_path)
    store.append(study, 0, messages[1], 20.0, ())
    store.commit()
    with History(tmp_path) as history:
        (section,) = log_sections(history, aggregator="aggregator")
    assert [(line.at, line.certainty) for line in section.lines] == [(10.0, "left"), (20.0, "by"), (None, "not yet")]
    store.mark_left(study, 2, 30.0, "aggregator")  # about to leave when the kill came, and sent again
    store.commit()
    with History(tmp_path) as history:
        (section,) = log_sections(history, aggregator="aggregator")
    assert (section.lines[2].at, section.lines[2].certainty) == (30.0, "left")
    store.close()
