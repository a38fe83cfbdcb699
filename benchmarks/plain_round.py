"""One process of the round without encryption: python -m benchmarks.plain_round FOLDER ROLE VALUES ROUNDS.

The same trips, processes and disk as a round of hefed, message by message: contributions; the aggregator's question;
checks, and answers with as many vectors as hefed's keyholders send; the sum. But float64 in the clear over ZeroMQ
without CURVE, no signatures, no hashes, nothing checked. Messages are kept by hefed's own store, so flushes fall where
hefed's fall: a region flushes before it sends, the aggregator flushes what came in one turn before it passes it on. The
analyst follows the record too, without attachments, as hefed's does.
ROLE is `aggregator`, `analyst`, or a region's number.
"""

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cbor2
import numpy as np
import zmq

from benchmarks.round231 import REGIONS
from hefed.node.store import Store

STUDY = bytes(32)
ANALYST = b"analyst"
BIND = "tcp://127.0.0.1:*"


def _stored(sender: str, kind: str, envelope: bytes) -> Any:
    """As much of a message as the store looks at."""
    return SimpleNamespace(sender=sender, body=SimpleNamespace(kind=kind), content=None, envelope=envelope)


class Aggregator:
    """Adds up, and passes every message on to every region."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self._store, self._rounds, self._done, self._length = Store(folder / "aggregator"), rounds, 0, 0
        self._store.add_study(STUDY)
        self._socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.bind(BIND)
        partial = folder / "endpoint.partial"
        partial.write_bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0"))
        partial.rename(folder / "endpoint")
        self._members: set[bytes] = set()
        self._contributions: list[np.ndarray] = []
        self._answers = 0
        self._due: list[tuple[bytes, bytes, tuple[bytes, ...]]] = []

    def run(self) -> None:
        """Until the last sum has been sent."""
        while self._done < self._rounds:
            self._socket.poll()
            while self._socket.poll(0):
                self._take(*self._socket.recv_multipart())
            self._store.commit()
            if len(self._members) == REGIONS + 1:
                for header, envelope, attachments in self._due:
                    for one in self._members:
                        self._socket.send_multipart([one, header, envelope, *(() if one == ANALYST else attachments)])
                self._due.clear()
        self._store.close()
        self._socket.close(linger=2000)
        zmq.Context.instance().term()

    def _take(self, region: bytes, envelope: bytes, *attachments: bytes) -> None:
        self._members.add(region)
        kind = cbor2.loads(envelope)["kind"]
        if kind == "hello":
            return
        self._append(region.decode(), kind, envelope, attachments, pass_on=attachments if kind == "answer" else ())
        if kind == "contribution":
            self._contributions.append(np.frombuffer(attachments[0]))
            if len(self._contributions) == REGIONS:
                self._append("aggregator", "open", cbor2.dumps({"kind": "open", "round": self._done}), (), ())
        elif kind == "answer":
            self._answers += 1
        if self._answers == REGIONS:
            total = np.sum(self._contributions, axis=0).tobytes()
            envelope = cbor2.dumps({"kind": "sum", "round": self._done})
            self._append("aggregator", "sum", envelope, (total,), pass_on=(total,))
            self._contributions.clear()
            self._answers, self._done = 0, self._done + 1

    def _append(
        self, sender: str, kind: str, envelope: bytes, attachments: tuple[bytes, ...], pass_on: tuple[bytes, ...]
    ) -> None:
        self._store.append(STUDY, self._length, _stored(sender, kind, envelope), time.time(), attachments)
        self._length += 1
        self._due.append((cbor2.dumps({"type": "entry", "number": self._length}), envelope, pass_on))


def _dialled(folder: Path, name: bytes) -> "zmq.Socket[bytes]":
    """A connection to the aggregator, which has heard of it."""
    while not (folder / "endpoint").exists():
        time.sleep(0.02)
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.IDENTITY, name)
    socket.connect((folder / "endpoint").read_text())
    socket.send(cbor2.dumps({"kind": "hello"}))
    return socket


class Region:
    """Contributes a vector in each round, and answers once it is asked to open. The first answers with two vectors, the
    second with one, the third with none, as keyholders of hefed do that hold two of three shares each.
    """

    def __init__(self, folder: Path, number: int, values: int, rounds: int) -> None:
        self._name, self._rounds, self._done = f"region-{number}", rounds, 0
        self._store = Store(folder / self._name)
        self._due: list[tuple[int, list[bytes]]] = []
        self._store.add_study(STUDY)
        self._vector = np.cos(np.arange(values, dtype=np.float64)) * (1 + number)
        self._socket = _dialled(folder, self._name.encode())
        self._answers = tuple(self._vector.tobytes() for _ in range(REGIONS - 1 - number))
        self._length = 0

    def run(self) -> None:
        """Until the last sum has come, which must be the right one."""
        self._say("contribution", self._vector.tobytes())
        while self._done < self._rounds:
            self._socket.poll()
            while self._socket.poll(0):
                _, envelope, *attachments = self._socket.recv_multipart()
                self._take(envelope, tuple(attachments))
        self._store.close()

    def _take(self, envelope: bytes, attachments: tuple[bytes, ...]) -> None:
        kind = cbor2.loads(envelope)["kind"]
        self._store.append(STUDY, self._length, _stored("", kind, envelope), time.time(), attachments)
        self._length += 1
        if kind == "open":
            self._keep("check")
            self._say("answer", *self._answers)
        elif kind == "sum":
            scale = sum(1 + i for i in range(REGIONS))
            np.testing.assert_allclose(
                np.frombuffer(attachments[0]), np.cos(np.arange(len(self._vector))) * scale, atol=1e-9
            )
            self._done += 1
            if self._done < self._rounds:
                self._say("contribution", self._vector.tobytes())

    def _keep(self, kind: str, *attachments: bytes) -> None:
        envelope = cbor2.dumps({"kind": kind, "round": self._done})
        number = self._store.remember(STUDY, f"{kind} {self._done}", envelope, attachments)
        self._due.append((number, [envelope, *attachments]))

    def _say(self, kind: str, *attachments: bytes) -> None:
        """Sends this message, and those kept before it, once all of them are flushed, and that they are to leave."""
        self._keep(kind, *attachments)
        self._store.mark_leaving(STUDY, self._due[0][0], "aggregator")
        self._store.commit()
        for number, frames in self._due:
            self._socket.send_multipart(frames)
            self._store.mark_left(STUDY, number, time.time(), "aggregator")
        self._due.clear()


def follow(folder: Path, rounds: int) -> None:
    """The analyst: reads what is passed on until the last sum."""
    socket = _dialled(folder, ANALYST)
    while rounds:
        _, envelope = socket.recv_multipart()
        rounds -= cbor2.loads(envelope)["kind"] == "sum"


def main(folder: Path, role: str, values: int, rounds: int) -> None:
    """Runs one of them."""
    if role == "aggregator":
        Aggregator(folder, rounds).run()
    elif role == "analyst":
        follow(folder, rounds)
    else:
        Region(folder, int(role), values, rounds).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
