"""What is gained by work that is made ahead: python -m benchmarks.ahead [VALUES ...].

For vectors of some lengths, the milliseconds in which a region waits for its encryption: from the end of the model's
work to the contribution, and from the question to the share answers (a header's sealing apart). Without and with a mask
and answers that a second thread makes while the model computes, which is a matrix product over and over, and while
others' contributions are on their way. In turn; the least of each.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.rounds import Round
from hefed.crypto.contribution import Mask, encrypt
from hefed.crypto.opening import answer
from hefed.protocol.ahead import Ahead

LENGTHS = (231, 2_048, 16_384, 65_536, 1_000_000)
MODEL = 0.03
"""Seconds that the model computes, and that others take."""


def _model(seconds: float) -> None:
    matrix = np.random.default_rng(0).random((200, 200))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        matrix @ matrix


def _contribution(one: Round, making: Ahead) -> float:
    job = making.start(lambda: Mask(one.precision, one.keys[0], one.label), 0, one.values)
    _model(MODEL)
    begun = time.perf_counter()
    mask = job.take() if job else None
    if mask is None:
        encrypt(one.precision, one.keys[0], one.label, one.own_vector)
    else:
        mask.encrypt(one.own_vector)
    return time.perf_counter() - begun


def _answers(one: Round, making: Ahead) -> float:
    shares = one.shares[0]
    makes: list[Callable[[], bytes]] = [
        lambda subset=subset: answer(one.precision, shares, subset, one.label) for subset in shares.subsets
    ]
    jobs = [making.start(make, 0, one.values) for make in makes]
    time.sleep(4 * MODEL)
    begun = time.perf_counter()
    for job, make in zip(jobs, makes, strict=True):
        if job is None or job.take() is None:
            make()
    return time.perf_counter() - begun


def measure(profile: str, values: int, repetitions: int = 15) -> dict[str, float]:
    """Milliseconds."""
    one, never = Round(profile, values), Ahead(room=-1)
    ahead = Ahead(least_values=1)
    jobs = {"contribution": _contribution, "answers": _answers}
    taken: dict[str, list[float]] = {}
    for _ in range(repetitions):
        for name, job in jobs.items():
            for how, making in (("asked", never), ("ahead", ahead)):
                taken.setdefault(f"{name}, {how}", []).append(job(one, making))
    ahead.forget()
    return {name: 1000 * min(times) for name, times in taken.items()}


if __name__ == "__main__":
    for values in map(int, sys.argv[1:]) if sys.argv[1:] else LENGTHS:
        for profile in ("compact", "precise"):
            found = measure(profile, values)
            print(f"{profile:8} {values:8,}", *(f"  {name} {ms:.2f}" for name, ms in found.items()))
