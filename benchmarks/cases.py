"""Which cases the benchmarks of a round's steps run, in the short form and in the full one.

The short form, for CI, has two lengths and three regions. The full one has 10^3 to 10^7 values and three, five and nine
regions; SEAL's engine with three.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TypeVar

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.rounds import Round
from hefed.crypto.contribution import ENGINES, Engine
from hefed.crypto.parameters import PROFILES

SHORT, FULL = (1_000, 100_000), (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
FEW, MANY = (3,), (3, 5, 9)
LONG = 10_000_000
"""Values from which on a step is timed once, after a time that is not counted: it takes seconds, up to a minute."""


@dataclass(frozen=True)
class Case:
    """One case of one step."""

    profile: str
    values: int
    parties: int = 3
    engine: Engine = "vectorised"

    def __str__(self) -> str:
        return f"{self.profile}-{self.values}-of{self.parties}-{self.engine}"

    @property
    def round(self) -> Round:
        """The round, kept as long as cases of the same size follow each other."""
        return _round(self.profile, self.values, self.parties)


@lru_cache(maxsize=1)
def _round(profile: str, values: int, parties: int) -> Round:
    return Round(profile, values, parties)


def cases(full: bool, *, by_parties: bool, by_engine: bool) -> list[Case]:
    """`by_parties` and `by_engine` say whether a step depends on them."""
    return [
        Case(profile, values, parties, engine)
        for profile in PROFILES
        for values in (FULL if full else SHORT)
        for parties in (MANY if full and by_parties else FEW)
        for engine in (ENGINES if by_engine else ("vectorised",))
    ]


T = TypeVar("T")


def timed(benchmark: BenchmarkFixture, step: str, case: Case, work: Callable[[], T]) -> T:
    """Times a step, and notes which it was and how many bytes it made."""
    done: T = benchmark.pedantic(work, warmup_rounds=1) if case.values >= LONG else benchmark(work)
    size = len(done) if isinstance(done, bytes) else None
    benchmark.extra_info |= {"step": step, "bytes": size, **asdict(case)}
    return done
