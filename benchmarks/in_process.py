"""A round of all parties' state machines in one process: what it takes without ZeroMQ, disk and other processes.

    python -m benchmarks.in_process

The machines are the real ones, with real signatures and encryption; messages are passed on by hand, and what the link
and the store would do is left out. So no arrangement of processes takes less of a processor.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.load.host import MadeUpWork
from benchmarks.load.run import Case
from benchmarks.machine import ONE_THREAD
from benchmarks.worker import ROOT
from hefed.node.analyst import Submission
from hefed.node.identity import Identity
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.coordinator import Coordinator, Entry, delivers_attachments
from hefed.protocol.member import Member
from hefed.protocol.ports import Outgoing
from hefed.protocol.roster import Roster

WARM_UP = 3
"""Rounds at the beginning that are not counted, the known answer among them."""
KEPT = 4
"""Messages of its own that a region knows by their bytes, as `hefed.node.participation` has it."""


class _Vault:
    """Secrets in memory."""

    def __init__(self) -> None:
        self._secrets: dict[str, bytes] = {}

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        if name not in self._secrets:
            self._secrets[name] = make()
        return self._secrets[name]


def _member(case: Case, name: str, identity: Identity, roster: Roster, study: bytes) -> tuple[Member, dict[str, Any]]:
    sent: dict[str, Outgoing] = {}
    machine = Member(
        name=name,
        signer=identity.signer,
        roster=roster,
        study=study,
        vault=_Vault(),
        recall=sent.get,
        prepare=lambda board: MadeUpWork(name, board, case.values, case.rounds),
        keep=lambda number, packed: None,
    )
    return machine, sent


def rounds(case: Case) -> list[float]:
    """Seconds of a processor of each round, after the first few."""
    study, now = case.study(), time.time()
    roles = {"aggregator": ("aggregator",), "analyst": ("analyst",)}
    identities = {name: Identity.passing() for name in (*roles, *case.names)}
    parts = ("contributor", "keyholder", "reader")
    listed = [one.member(name, roles.get(name, parts)) for name, one in identities.items()]
    roster = Roster.of("in-process", 1, listed)
    submission = Submission(study, roster, "analyst", int(now) + 3600)
    record: list[Entry] = []
    signer = identities["aggregator"].signer
    coordinator = Coordinator(roster, signer, submission.study, lambda number: record[number].attachments)
    members = {name: _member(case, name, identities[name], roster, submission.study) for name in case.names}
    queue = coordinator.receive(submission.signed(identities["analyst"].signer).envelope, (), now, case.names)
    ends: list[float] = []
    while queue:
        entry = queue.pop(0)
        record.append(entry)
        if isinstance(entry.message.content, m.Sum):
            ends.append(time.process_time())
        for name, (machine, sent) in members.items():
            wanted = delivers_attachments(coordinator.board, entry.message.body.kind, name)
            attachments = entry.attachments if wanted else ()
            known = any(one.message.envelope == entry.message.envelope for one in list(sent.values())[-KEPT:])
            said = (  # a region knows its own messages by their bytes
                machine.follow(entry.message, attachments)
                if known
                else machine.receive(entry.message.envelope, attachments)
            )
            for outgoing in said:
                sent[outgoing.key] = outgoing
                queue += coordinator.receive(outgoing.message.envelope, outgoing.attachments, now, case.names)
    _require_result(coordinator.board)
    return [end - begin for begin, end in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False)]


def _require_result(board: Board) -> None:
    if board.outcome is None or board.outcome.how != "result":
        raise RuntimeError(f"the study did not end with a result: {board.outcome}")


def seconds(values: int, count: int) -> float:
    """Of a processor, for a round of three regions in `precise` with SEAL: the median."""
    return statistics.median(rounds(Case(3, values, count + WARM_UP, "precise", "tenseal")))


def alone(values: int, count: int) -> float:
    """The same in a process of its own, with one thread."""
    command = [sys.executable, "-m", "benchmarks.in_process", "--values", str(values), "--rounds", str(count)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, check=True, capture_output=True)  # noqa: S603  our own program
    return float(json.loads(done.stdout)["seconds"])


def main() -> None:
    """Prints the seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=231)
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args()
    print(json.dumps({"values": chosen.values, "seconds": seconds(chosen.values, chosen.rounds)}))


if __name__ == "__main__":
    main()
