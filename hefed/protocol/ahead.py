"""What a study will soon be asked for, made by a thread beside it: masks while the model computes, share answers while
others' contributions are on their way.

It must not decide anything: whoever asks for work knows what it is for, makes it anew where it is not here, and sends
it when it is due, not before. Memory is bounded; what is not fetched is erased.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")

ROOM = 32 << 20
"""Bytes that one study keeps at most of what is made ahead. What finds no room is made when it is asked for."""

LEAST_VALUES = 1 << 14
"""Of a vector that is worth the trouble: below, a millisecond or two could be gained, and the model is done by then."""


class Job(Generic[T]):
    """One piece of work; what it makes is taken once, or erased."""

    __slots__ = ("_erase", "_future", "_leave")

    def __init__(self, future: "Future[T]", erase: Callable[[T], None], leave: Callable[[], None]) -> None:
        self._future, self._erase = future, erase
        self._leave: Callable[[], None] | None = leave

    def take(self) -> T | None:
        """What was made, once it is ready; None when it was dropped, or is not begun yet, and so never will be.

        Raises what the work raised.
        """
        if not self._let_go() or self._future.cancel():
            return None
        return self._future.result()

    def drop(self) -> None:
        """What was made is erased, or will be as soon as it is; what was not begun will not be."""
        if self._let_go() and not self._future.cancel():
            self._future.add_done_callback(self._erased)

    def _erased(self, future: "Future[T]") -> None:
        if future.exception() is None:
            self._erase(future.result())

    def _let_go(self) -> bool:
        """Gives the room back; whether that was still to be done."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        return leave is not None


class Ahead:
    """The work that is made ahead for one study, one piece after another. For one caller, beside its own thread."""

    def __init__(self, room: int = ROOM, least_values: int = LEAST_VALUES) -> None:
        self._room, self._least = room, least_values
        self._jobs: list[Job[Any]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._over = False

    def is_worth(self, values: int) -> bool:
        """Whether work on a vector of that length is made ahead at all."""
        return not self._over and values >= self._least

    def start(
        self, make: Callable[[], T], size: int, values: int, erase: Callable[[T], None] = lambda made: None
    ) -> Job[T] | None:
        """Begins to make what keeps `size` bytes, from a vector of that many values; None if it is to be made when it
        is asked for. `erase` is for what nobody fetches.
        """
        if not self.is_worth(values) or size > self._room:
            return None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        try:
            future = self._pool.submit(make)
        except RuntimeError:  # the system has no thread left
            return None
        self._room -= size

        def leave() -> None:
            self._room += size
            self._jobs.remove(job)

        job = Job(future, erase, leave)
        self._jobs.append(job)
        return job

    def forget(self) -> None:
        """Begins nothing any more, drops everything, and waits for the work under way."""
        self._over = True
        for job in list(self._jobs):
            job.drop()
        if self._pool is not None:
            self._pool.shutdown()
