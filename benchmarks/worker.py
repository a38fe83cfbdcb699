"""Processes that measure, one for hefed and one for each peer, so that none of them changes another.

A worker is a program that reads one word a line from standard input, does that job once, and writes a line of JSON:
{"seconds": ..., ...}. Its first line, `{"ready": ...}`, says what it is. Jobs of several workers are interleaved, so
that a noisy machine is noisy for all of them, and the least time of each counts.
"""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ONE_THREAD

ROOT = Path(__file__).parents[1]


class Absent(Exception):  # noqa: N818  not an error: the peer is left out
    """A peer that is not installed or does not start; the words say why."""


class Worker:
    """A program that does jobs on demand, with one thread. Raises Absent when it does not start."""

    def __init__(self, *command: str) -> None:
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the worker; a pipe would fill up
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own programs
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                text=True,
                cwd=ROOT,
                env={**os.environ, **ONE_THREAD},
            )
        except OSError as error:
            self._words.close()
            raise Absent(f"{command[0]}: {error.strerror}") from error
        try:
            self.ready = self._answer()
        except Absent:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        self._words.seek(0)
        words = self._words.read().strip().splitlines()[-1:] or ["it ended without a word"]
        raise Absent(words[0])

    def do(self, job: str) -> dict[str, Any]:
        """Does a job once. Raises Absent when the program ends instead."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(job + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the program."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()


def interleaved(workers: Mapping[str, Worker], jobs: Sequence[str], repetitions: int) -> dict[str, dict[str, Any]]:
    """Every job of every worker once a turn; for each worker and job the answer with the least time.

    A worker that ends is left out from then on.
    """
    best: dict[str, dict[str, Any]] = {name: {} for name in workers}
    for _ in range(repetitions):
        for name, worker in workers.items():
            for job in jobs:
                answer = worker.do(job)
                if job not in best[name] or answer["seconds"] < best[name][job]["seconds"]:
                    best[name][job] = answer
    return best
