"""What the peers in Python share: jobs from standard input, answers to standard output. Needs nothing but Python."""

import json
import sys
import time
from collections.abc import Callable, Mapping


def serve(ready: str, jobs: Mapping[str, Callable[[], dict]]) -> None:
    """Does jobs until standard input ends. A job's answer may bring its own `seconds`, else its whole time counts."""
    print(json.dumps({"ready": ready}), flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        answer = jobs[line.strip()]()
        print(json.dumps({"seconds": time.perf_counter() - begun} | answer), flush=True)
