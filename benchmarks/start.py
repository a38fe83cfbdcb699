"""What compiling costs at the first start, and what it costs at every other: python -m benchmarks.start.

A process loads the encryption and lets it test itself, as every node does before it takes part: first with an empty
cache of compiled kernels, then with the cache that the first has left. One more loads Python and NumPy alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from benchmarks.machine import ONE_THREAD
from benchmarks.worker import ROOT

SELF_TEST = (
    "from hefed.crypto import parameters, selftest\nfor p in parameters.PROFILES.values(): selftest.self_test(p)"
)

ONE_KERNEL = (
    "from hefed.crypto import parameters, sampling\nsampling.uniform_polynomials(parameters.COMPACT, bytes(32), 0, 1)"
)
"""Far less, to see that this measures."""


def _seconds(code: str, cache: str) -> float:
    environment = {**os.environ, **ONE_THREAD, "NUMBA_CACHE_DIR": cache}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)  # noqa: S603  our own program
    return time.perf_counter() - begun


def measure(repetitions: int, code: str = SELF_TEST) -> dict[str, float]:
    """Seconds of a process from its start to its end: the first, and the least of those that follow."""
    with tempfile.TemporaryDirectory() as cache:
        first = _seconds(code, cache)
        second = min(_seconds(code, cache) for _ in range(repetitions))
        empty = min(_seconds("import numpy", cache) for _ in range(repetitions))
    return {"first": first, "second": second, "numpy alone": empty}


if __name__ == "__main__":
    print(json.dumps(measure(3), indent=1))
