"""What is made ahead: taken once, bounded, erased when nobody wants it, and the same bytes as when it is asked for."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from benchmarks.load.host import MadeUpWork
from hefed.crypto.contribution import Mask
from hefed.crypto.keys import Subset
from hefed.crypto.label import Use
from hefed.protocol import ahead, keyholder, member
from hefed.protocol.ahead import Ahead
from hefed.protocol.board import Board
from hefed.protocol.contributor import ContributorPart
from hefed.protocol.member import Member
from hefed.protocol.ports import DeclinedError, Outgoing, Work
from hefed.study import Study
from tests.consent import taking_part
from tests.protocol.conftest import study_file
from tests.protocol.federation import NOW, Federation, Party


@pytest.fixture
def making() -> Iterator[Ahead]:
    """Room for 100 bytes, and no vector is too short."""
    made = Ahead(100, least_values=1)
    yield made
    made.forget()


class Held:
    """Work that waits until it is let go; `begun` is set once it is under way."""

    def __init__(self, result: object = "made") -> None:
        self.begun, self.go, self.result = threading.Event(), threading.Event(), result

    def __call__(self) -> object:
        self.begun.set()
        assert self.go.wait(10)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_what_is_made_is_taken_once(making: Ahead) -> None:
    made = Held()
    job = making.start(made, 100, 1)
    assert job is not None
    assert made.begun.wait(10)
    made.go.set()
    assert job.take() == "made"
    assert job.take() is None


def test_it_is_made_by_another_thread(making: Ahead) -> None:
    job = making.start(threading.get_ident, 0, 1)
    other = making.start(threading.get_ident, 0, 1)
    assert job is not None
    assert other is not None
    idents = {job.take(), other.take()} - {None}
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_room_is_bounded_and_given_back(making: Ahead) -> None:
    held = Held()
    job = making.start(held, 60, 1)
    assert job is not None
    assert making.start(lambda: "too much", 41, 1) is None
    fitting = making.start(lambda: "fits", 40, 1)
    assert fitting is not None
    fitting.drop()
    assert held.begun.wait(10)
    held.go.set()
    assert job.take() == "made"
    again = making.start(lambda: "there is room again", 100, 1)
    assert again is not None


def test_short_vectors_are_not_worth_a_thread() -> None:
    making = Ahead(least_values=1000)
    assert making.start(lambda: "short", 1, 999) is None
    job = making.start(lambda: "long", 1, 1000)
    assert job is not None
    making.forget()


def test_what_is_not_begun_when_it_is_wanted_is_left_to_the_caller(making: Ahead) -> None:
    held, calls = Held(), []
    first = making.start(held, 1, 1)
    second = making.start(lambda: calls.append("second"), 1, 1)
    assert first is not None
    assert second is not None
    assert held.begun.wait(10)
    assert second.take() is None
    held.go.set()
    assert first.take() == "made"
    making.forget()
    assert calls == []


def test_an_error_comes_up_where_the_result_is_taken(making: Ahead) -> None:
    held = Held(ValueError("no such mask"))
    job = making.start(held, 1, 1)
    assert job is not None
    assert held.begun.wait(10)
    held.go.set()
    with pytest.raises(ValueError, match="no such mask"):
        job.take()


@pytest.mark.parametrize("how", ["drop", "forget"])
def test_what_nobody_takes_is_erased(how: str, making: Ahead) -> None:
    erased: list[object] = []
    ready, running = Held("ready"), Held("running")
    ready.go.set()
    jobs = [making.start(held, 1, 1, erased.append) for held in (ready, running)]
    failed = making.start(Held(ValueError()), 1, 1, erased.append)
    assert all(jobs)
    assert failed is not None
    assert running.begun.wait(10)  # so the first is made
    if how == "drop":
        for job in (*jobs, failed):
            assert job is not None
            job.drop()
            job.drop()
            assert job.take() is None
        running.go.set()
    else:
        threading.Timer(0.1, running.go.set).start()
    making.forget()
    assert erased == ["ready", "running"]


def test_work_that_fails_after_it_was_dropped_leaves_nothing_to_erase(making: Ahead) -> None:
    erased: list[object] = []
    held = Held(ValueError("no such mask"))
    job = making.start(held, 1, 1, erased.append)
    assert job is not None
    assert held.begun.wait(10)
    job.drop()
    held.go.set()
    making.forget()
    assert erased == []
    assert isinstance(job._future.exception(), ValueError)


def test_what_waits_for_its_turn_is_left_off_when_it_is_over(making: Ahead) -> None:
    """A node that is stopped does not work down what it wanted ahead."""
    calls: list[int] = []
    held = Held()
    assert making.start(held, 0, 1) is not None
    for i in range(100):
        assert making.start(partial(calls.append, i), 0, 1) is not None
    assert held.begun.wait(10)
    threading.Timer(0.1, held.go.set).start()
    making.forget()
    assert calls == []


def test_nothing_is_begun_after_it_is_over(making: Ahead) -> None:
    held = Held()
    held.go.set()
    assert making.start(held, 1, 1) is not None
    making.forget()
    making.forget()
    assert making.start(lambda: "late", 1, 1) is None
    assert not any(thread.name.startswith("ahead") and thread.is_alive() for thread in threading.enumerate())


# --- In a study ---------------------------------------------------------------------------------------------------

Prepare = Callable[[Board], Work | None]
LONG = 70_000
"""Values of a vector in three groups of blocks, which three threads can share."""


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of any length are worth the trouble."""
    monkeypatch.setattr(member, "Ahead", partial(Ahead, least_values=1))


def made_anew(
    federation: Federation, party: Party, kinds: tuple[str, ...], prepare: Prepare | None = None, threads: int = 1
) -> list[tuple[Outgoing, Outgoing]]:
    """What a member says of these kinds when it is shown the record again and has lost what it said, beside that."""
    lost = {key for key in party.sent if key.split()[0] in kinds}
    assert lost

    def recall(key: str) -> Outgoing | None:
        if key in lost:
            lost.discard(key)
            return None
        return party.sent.get(key)

    machine = Member(
        name=party.name,
        signer=party.signer,
        roster=federation.roster,
        study=federation.submission.study,
        vault=party.vault,
        recall=recall,
        prepare=prepare or taking_part(party.name, federation.tables.get(party.name), party.vault, lambda: NOW),
        threads=threads,
    )
    said: list[Outgoing] = []
    for envelope, attachments in party.record:
        said += machine.receive(envelope, attachments)
    assert not lost
    return [(party.sent[outgoing.key], outgoing) for outgoing in said if outgoing.key.split()[0] in kinds]


def long_vectors(name: str, *args: object) -> Prepare:
    """Takes part with a vector of that length, in two rounds; the university with none."""
    return lambda board: MadeUpWork(name, board, LONG, 2) if name in board.study.contributors else None


@pytest.fixture(scope="module")
def long_study(small_study: Study) -> Federation:
    """A finished study with long vectors, made by one thread and without anything ahead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.protocol.federation.taking_part", long_vectors)
        patch.setattr(member, "Ahead", partial(Ahead, room=0))
        federation = Federation(small_study)
        federation.run()
    assert federation.finding().document == {"rounds": 2}
    return federation


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("room", [0, ahead.ROOM])
@pytest.mark.parametrize("name", ["halland", "university"])
def test_the_record_is_the_same_with_threads_and_with_work_made_ahead(
    name: str, threads: int, room: int, long_study: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "Ahead", partial(Ahead, room=room))
    used, answered = counted(monkeypatch), answering_threads(monkeypatch)
    slowly(monkeypatch)
    party = long_study.parties[name]
    kinds = ("contribution", "check", "answer") if name == "halland" else ("answer",)
    pairs = made_anew(long_study, party, kinds, long_vectors(name), threads)
    assert len(pairs) == len(kinds) * 3
    assert len(used) == (2 if room and name == "halland" else 0)
    beside = [made for made in answered if made[0].startswith("ahead")]
    assert len(beside) <= (6 if room else 0)  # three sets in each round, the known answer apart
    assert bool(beside) == bool(room)
    for before, after in pairs:
        assert after.message.envelope == before.message.envelope
        assert after.attachments == before.attachments


def answering_threads(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, Subset, bytes]]:
    """The name of the thread, the set and the label, for each answer and each hash that is made."""
    made: set[tuple[str, Subset, bytes]] = set()
    for name in ("_whole", "_hash"):
        make = getattr(keyholder._ShareAnswers, name)

        def noting(self: object, subset: Subset, use: Use, make: Callable[..., bytes] = make) -> bytes:
            made.add((threading.current_thread().name, subset, use.digest))
            return make(self, subset, use)

        monkeypatch.setattr(keyholder._ShareAnswers, name, noting)
    return made


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each contribution that is made with a mask from ahead."""
    used: list[int] = []
    encrypt = Mask.encrypt

    def counting(self: Mask, values: object) -> bytes:
        used.append(1)
        return encrypt(self, values)  # type: ignore[arg-type]

    monkeypatch.setattr(Mask, "encrypt", counting)
    return used


def rounds_of(federation: Federation) -> int:
    """The rounds that had contributions."""
    return sum(bool(record.contributions) for record in federation.board.rounds)


def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model takes long enough for a mask to be begun."""
    approved = ContributorPart._require_approved_table

    def waiting(self: ContributorPart) -> None:
        for job in self._ahead._jobs:
            while not (job._future.running() or job._future.done()):
                threading.Event().wait(0.001)
        approved(self)

    monkeypatch.setattr(ContributorPart, "_require_approved_table", waiting)


@pytest.mark.parametrize("name", ["halland", "orebro"])
def test_the_record_is_the_same_with_masks_made_ahead(
    name: str, finished: Federation, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = counted(monkeypatch)
    slowly(monkeypatch)
    pairs = made_anew(finished, finished.parties[name], ("contribution", "check"))
    assert len(used) == rounds_of(finished) > 5
    for before, after in pairs:
        assert after.message.envelope == before.message.envelope
        assert after.attachments == before.attachments


@pytest.mark.parametrize("engine", ["tenseal", "vectorised"])
def test_a_study_with_everything_made_ahead_finds_the_same(
    engine: str, finished: Federation, always: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = counted(monkeypatch)
    slowly(monkeypatch)
    federation = Federation(study_file(tmp_path / "study.toml", engine=engine))
    federation.run()
    assert len(used) == (3 * rounds_of(federation) if engine == "vectorised" else 0)
    found, expected = (one.finding().document["estimate"] for one in (federation, finished))
    assert found == pytest.approx(expected, rel=1e-9)
    assert not any(thread.name.startswith("ahead") and thread.is_alive() for thread in threading.enumerate())


def test_short_vectors_wake_no_thread(finished: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finished.board.rounds[1].first.values < ahead.LEAST_VALUES
    used = counted(monkeypatch)
    made_anew(finished, finished.parties["halland"], ("contribution",))
    assert used == []


def test_a_mask_that_is_not_used_is_erased_when_the_study_ends(
    finished: Federation, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region whose model fails while the mask is made."""
    slowly(monkeypatch)
    erased: list[Mask] = []
    erase = Mask.erase

    def noting(self: Mask) -> None:
        erased.append(self)
        erase(self)

    monkeypatch.setattr(Mask, "erase", noting)

    def declining(self: ContributorPart, *args: object) -> Callable[[], None]:
        raise DeclinedError("no")

    monkeypatch.setattr("hefed.node.work.ModelWork.contribution", declining)
    federation = Federation(finished.study)
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.words == "no"
    assert erased
    assert all(mask._packed is None for mask in erased)


def test_without_another_thread_the_caller_makes_it(making: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(ThreadPoolExecutor, "submit", refused)
        assert making.start(lambda: b"", 60, 1) is None
    made = Held()
    job = making.start(made, 100, 1)  # the room is not lost
    assert job is not None
    assert made.begun.wait(10)
    made.go.set()
    assert job.take() == "made"
