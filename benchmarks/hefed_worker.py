"""hefed's own jobs, in a process like that of every peer: python -m benchmarks.hefed_worker PROFILE VALUES."""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.serve import serve
from benchmarks.rounds import Round


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main(profile: str, values: int) -> None:
    """Serves until standard input ends."""
    one = Round(profile, values)
    opened = one.read()  # everything is compiled, and what is timed is right
    one.require_right(opened)
    error = float(np.abs(opened - np.sum([one.vector(i) for i in range(one.parties)], axis=0)).max())

    def encrypt() -> dict[str, Any]:
        return {"bytes": len(one.encrypt())}

    def encrypt_by_seal() -> dict[str, Any]:
        return {"bytes": len(one.encrypt("tenseal"))}

    def opening() -> dict[str, Any]:
        answering, reading = _timed(one.answer), _timed(one.read)
        parts = {"answer": answering, "read": reading}
        return {"seconds": answering + reading, **parts, "bytes": len(one.sealed[0]), "error": error}

    def whole() -> dict[str, Any]:
        """One of each part: a contributor, the aggregator, a keyholder, a reader."""
        parts = {
            "encrypt": _timed(one.encrypt),
            "check": _timed(one.own_check),
            "aggregate": _timed(one.aggregate),
            "answer": _timed(one.answer),
            "read": _timed(one.read),
        }
        return {"seconds": sum(parts.values()), "parts": parts}

    jobs = {"encrypt": encrypt, "encrypt-tenseal": encrypt_by_seal, "open": opening, "round": whole}
    serve(f"hefed, profile {profile}", jobs)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
