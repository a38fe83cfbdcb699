"""A party's process that kills itself at chosen moments: python -m tests.node.killing FOLDER PLAN.

The party is hefed's own, unchanged; in this process alone its store and its link tell when they are used. PLAN is a
folder: `plan.json` says when to die, in `struck.jsonl` every death is written down, flushed, right before it, and
`passed.jsonl` holds a hash of every message that was handed to the network or came from it.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hefed.node import process, submit
from hefed.node.aggregator_link import AggregatorLink
from hefed.node.errors import NodeError, StudyFailedError
from hefed.node.frames import Link
from hefed.node.identity import Identity
from hefed.node.link import Received
from hefed.node.member_link import MemberLink
from hefed.node.store import Store
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.contributor import ContributorPart
from hefed.protocol.roster import Roster
from hefed.report.progress import Progress
from hefed.report.table import console
from hefed.study import Study

REGION_MOMENTS = ("made", "stored", "sent")
"""Of a message of a region's own: before it is written, after it is written and before it is sent, after it is sent."""
AGGREGATOR_MOMENTS = ("taken", "stored", "told one", "told all")
"""Of an entry of the record: before it is written, after, after one member has it, after all who are there have it."""
RESULT = "result"
"""Stands for a kind: the file that the analyst writes."""
RESULT_MOMENTS = ("made", "stored")
"""Of the result: before it is written, and after, while what opens it is still there."""
FLUSH = 0.2
"""Seconds in which ZeroMQ's own thread has written to the network what it was handed."""


@dataclass(frozen=True)
class Case:
    """When to die: at this moment of a message of this kind, in this round (None: of whatever round)."""

    kind: str
    round: int | None
    moment: str


@dataclass(frozen=True)
class Strike:
    """A death as it was written down: the case, the process, and the message by its envelope's hash."""

    case: Case
    pid: int
    digest: str


@dataclass(frozen=True)
class Passed:
    """A message at the network: who sent it, its place among its sender's, what it is, and a hash of all its bytes."""

    sender: str
    number: int
    kind: str
    round: int | None
    digest: str


@dataclass(frozen=True)
class Plan:
    """A folder with the cases of one party. `everybody` are the members that must be there before all are told;
    `spoils` is what the party, a dishonest one then, sends so that it cannot be used: SEEDS or a kind of message.
    """

    folder: Path

    def write(self, cases: list[Case], everybody: tuple[str, ...], spoils: str = "", study: str = "") -> None:
        """Lays the plan down; for an analyst with the file of its study."""
        self.folder.mkdir(parents=True)
        content = {"cases": [asdict(case) for case in cases], "everybody": everybody, "spoils": spoils, "study": study}
        (self.folder / "plan.json").write_text(json.dumps(content))

    def read(self) -> dict[str, Any]:
        """The plan as it was laid down."""
        return dict(json.loads((self.folder / "plan.json").read_text()))

    @property
    def pending(self) -> list[Case]:
        """The cases that have not happened yet, in order."""
        done = [strike.case for strike in self.strikes]
        return [case for case in (Case(**plain) for plain in self.read()["cases"]) if case not in done]

    @property
    def strikes(self) -> list[Strike]:
        """The deaths so far."""
        return [Strike(Case(**plain.pop("case")), **plain) for plain in self._lines("struck.jsonl")]

    @property
    def passed(self) -> list[Passed]:
        """What was at the network so far."""
        return [Passed(**plain) for plain in self._lines("passed.jsonl")]

    def note(self, name: str, line: Strike | Passed) -> None:
        """Writes a line, and returns when it is on the disk."""
        with (self.folder / name).open("a") as file:
            file.write(json.dumps(asdict(line)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def envelope_hash(envelope: bytes) -> str:
    """What a message is known by here."""
    return hashlib.sha256(envelope).hexdigest()


def kind_and_round(envelope: bytes) -> tuple[str, int | None]:
    """What an envelope says that it is."""
    body = codec.decode(codec.decode(envelope)[0])
    return body["kind"], body["content"].get("round")


class Killer:
    """Looks at every moment whether it is the one to die at."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._pending = plan.pending
        self._everybody = set(plan.read()["everybody"])
        self._fresh: list[bytes] = []
        self._told: list[bytes] = []
        self._greeted: set[str] = set()

    def at(self, moment: str, envelope: bytes, pause: float = 0.0) -> None:
        """Dies if this is the next case of that kind of message."""
        self.strike(moment, *kind_and_round(envelope), envelope_hash(envelope), pause)

    def strike(self, moment: str, kind: str, number: int | None, digest: str = "", pause: float = 0.0) -> None:
        """Dies if this is the next case of that kind."""
        case = next((case for case in self._pending if case.kind == kind and case.round in (None, number)), None)
        if case is not None and case.moment == moment:
            time.sleep(pause)
            self.plan.note("struck.jsonl", Strike(case, os.getpid(), digest))
            os.kill(os.getpid(), signal.SIGKILL)

    def wrote(self, envelope: bytes) -> None:
        """Something is written, and not durable before the next commit."""
        self._fresh.append(envelope)

    def committed(self) -> None:
        """All that was written is durable."""
        fresh, self._fresh = self._fresh, []
        for envelope in fresh:
            self.at("stored", envelope)

    def told(self, envelope: bytes) -> None:
        """A member was told an entry."""
        self.at("told one", envelope, FLUSH)
        self._told.append(envelope)

    def greets(self, name: str) -> None:
        """A member is there."""
        self._greeted.add(name)

    @property
    def all_are_there(self) -> bool:
        """Whether every member has greeted this process."""
        return self._greeted >= self._everybody

    def waits_for(self, envelope: bytes) -> bool:
        """Whether there are deaths to come at messages of this kind."""
        kind, number = kind_and_round(envelope)
        return any(case.kind == kind and case.round in (None, number) for case in self._pending)

    def begins_anew(self) -> None:
        """The aggregator has told all who are there all that there was, and looks for more."""
        if self.all_are_there:
            told, self._told = self._told, []
            for envelope in told:
                self.at("told all", envelope, FLUSH)

    def pass_on(self, sender: str, header: dict[str, Any], frames: tuple[bytes, ...]) -> None:
        """A member's message is at the network."""
        digest = hashlib.sha256(b"".join(hashlib.sha256(frame).digest() for frame in frames)).hexdigest()
        self.plan.note("passed.jsonl", Passed(sender, header["number"], *kind_and_round(frames[0]), digest))


def watch_sending(killer: Killer, name: str) -> None:
    """Has a member's link tell the killer of each message that leaves."""
    send_all = MemberLink.send_all

    def watched_send_all(self: MemberLink, *messages: Link) -> bool:
        ours = [one for one in messages if one[0]["type"] == "message"]
        for header, frames in ours:
            killer.pass_on(name, header, frames)
        handed = send_all(self, *messages)
        if handed:
            for _, frames in ours:
                killer.at("sent", frames[0], FLUSH)
        return handed

    MemberLink.send_all = watched_send_all  # type: ignore[method-assign]


def watch_region(killer: Killer, name: str) -> None:
    """Has a region's store and link tell the killer."""
    remember, commit = Store.remember, Store.commit

    def watched_remember(self: Store, study: bytes, key: str, envelope: bytes, *rest: Any, **more: Any) -> int:
        killer.at("made", envelope)
        number = remember(self, study, key, envelope, *rest, **more)
        killer.wrote(envelope)
        return number

    def watched_commit(self: Store) -> None:
        commit(self)
        killer.committed()

    Store.remember, Store.commit = watched_remember, watched_commit  # type: ignore[method-assign]
    watch_sending(killer, name)


def watch_aggregator(killer: Killer) -> None:
    """Has the aggregator's store and link tell the killer."""
    append, commit, send_all, receive = Store.append, Store.commit, AggregatorLink.send_all, AggregatorLink.receive

    def watched_append(self: Store, study: bytes, number: int, message: m.Message, *rest: Any, **more: Any) -> None:
        killer.at("taken", message.envelope)
        append(self, study, number, message, *rest, **more)
        killer.wrote(message.envelope)

    def watched_commit(self: Store) -> None:
        commit(self)
        killer.committed()

    def watched_send_all(self: AggregatorLink, connections: Sequence[bytes], *messages: Link) -> list[bool | None]:
        handed: list[bool | None] = []
        for connection in connections:
            handed += send_all(self, [connection], *messages)
            for header, frames in messages:
                if handed[-1] and header["type"] == "entry":
                    killer.told(frames[0])
        return handed

    held: list[Received] = []

    def watched_receive(self: AggregatorLink) -> Iterator[Received]:
        killer.begins_anew()
        goes_on = killer.all_are_there
        for received in receive(self):
            if received.header["type"] == "message":
                held.append(received)
            else:
                if received.header["type"] == "hello":
                    killer.greets(received.sender)
                yield received
        # The study goes on once everybody was there in the last turn: what there is has been told to all by now.
        while held and goes_on:
            received = held.pop(0)
            killer.pass_on(received.sender, received.header, received.frames)
            yield received
            if killer.waits_for(received.frames[0]):
                break  # one in a turn: what is written together is durable together, and only one of it is looked at

    Store.append, Store.commit = watched_append, watched_commit  # type: ignore[method-assign]
    AggregatorLink.send_all, AggregatorLink.receive = watched_send_all, watched_receive  # type: ignore[method-assign]


def watch_analyst(killer: Killer, name: str) -> None:
    """Has what the analyst's command writes and sends tell the killer."""
    write, replace = submit.write_private, submit.replace_durably

    def watched_write(path: Path, data: bytes) -> None:
        killer.strike("made", "invitation", None)
        write(path, data)
        killer.strike("stored", "invitation", None)

    def watched_replace(path: Path, data: bytes) -> None:
        killer.strike("made", RESULT, None)
        replace(path, data)
        killer.strike("stored", RESULT, None)

    submit.write_private, submit.replace_durably = watched_write, watched_replace
    watch_sending(killer, name)


SEEDS = "sealed seeds"


def be_dishonest(what: str) -> None:
    """Spoils what this region sends: the seeds of its deal for the first keyholder, or the signature of a kind."""
    if what == SEEDS:
        deal = ContributorPart.deal

        def spoilt_deal(self: ContributorPart) -> m.Deal:
            honest = deal(self)
            first = min(honest.sealed)
            return honest.model_copy(update={"sealed": honest.sealed | {first: bytes(len(honest.sealed[first]))}})

        ContributorPart.deal = spoilt_deal  # type: ignore[method-assign]
    else:
        send_all = MemberLink.send_all

        def spoilt(header: dict[str, Any], frames: tuple[Any, ...]) -> Link:
            if header["type"] == "message" and kind_and_round(frames[0])[0] == what:
                frames = (frames[0][:-1] + bytes([frames[0][-1] ^ 1]), *frames[1:])
            return header, frames

        def spoilt_send_all(self: MemberLink, *messages: Link) -> bool:
            return send_all(self, *(spoilt(*message) for message in messages))

        MemberLink.send_all = spoilt_send_all  # type: ignore[method-assign]


def run_analyst(folder: Path, study: Study) -> int:
    """What `hefed submit` does, from a folder with an identity and a roster, beside the aggregator's address."""
    threading.Thread(target=_end_with_the_test, daemon=True).start()
    roster = Roster.from_bytes((folder / process.ROSTER).read_bytes())
    address = (folder.parent / "endpoint").read_text()
    analyst = submit.Analyst(folder.name, Identity.load(folder), roster, (address,))
    try:
        with Progress(console(stderr=True)) as progress:
            submit.submit(study, analyst, folder / "out", progress)
    except StudyFailedError as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
    except NodeError as error:
        sys.stderr.write(f"hefed: {error}\n")
        return 2
    return 0


def _end_with_the_test() -> None:
    """The command has no line to its parent, as parties have; a test that is killed must leave nothing behind."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main(folder: Path, plan: Plan) -> int:
    """Runs the party of that folder until it dies as planned, or to its end."""
    study = plan.read()["study"]
    if study:
        watch_analyst(Killer(plan), folder.name)
        return run_analyst(folder, Study.load(Path(study)))
    config = process.ProcessConfig.read(folder)
    if config.role == "aggregator":
        watch_aggregator(Killer(plan))
    else:
        watch_region(Killer(plan), config.name)
    spoils = plan.read()["spoils"]
    if spoils:
        be_dishonest(spoils)
    return process.main(folder)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Plan(Path(sys.argv[2]))))
