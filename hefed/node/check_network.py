"""The way to the aggregator, tried before a start: name, port or proxy, handshake, answer, version, roster, clock.

Relies on `link` for the connection and on `trouble` for what is in its way. It asks by a probe, which changes nothing
at the aggregator, so it disturbs no running node of the same member.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

import zmq

from hefed.node import trouble as t
from hefed.node.consent import CLOCK_TOLERANCE
from hefed.node.dial import in_background, resolve, split_address
from hefed.node.finding import Finding, Tell, note, waiting_for, works, wrong
from hefed.node.handshake import LINK_VERSION, OURS, RosterState, Versions, differing_rosters, probe
from hefed.node.identity import Identity
from hefed.node.limits import USUAL, Limits
from hefed.node.member_link import MemberLink
from hefed.protocol.roster import Roster
from hefed.wording import counted

SECONDS = 20.0
"""For all addresses together, which are tried at the same time; more where the settings give a connection more."""
_ROW = {
    t.Cause.UNRESOLVED: "name",
    t.Cause.PROXY: "proxy",
    t.Cause.UNREACHABLE: "port",
    t.Cause.REFUSED: "port",
    t.Cause.SILENT: "port",
    t.Cause.STRANGER: "handshake",
    t.Cause.MUTE: "handshake",
    t.Cause.WRONG_KEY: "handshake",
    t.Cause.UNKNOWN_HERE: "handshake",
    t.Cause.LOST: "answer",
    t.Cause.NOT_GREETED: "answer",
    t.Cause.TURNED_AWAY: "answer",
}
DIRECT, BY_PROXY = ("name", "port", "handshake", "answer"), ("proxy", "handshake", "answer")
AFTER = ("version", "roster there", "clock", "one node")
"""What is known only from an answer."""


_UNASKED = {"type": "unknown", "version": LINK_VERSION}
"""What hefed 0.1 answers, which knows no probe; it states nothing else."""


@dataclass(frozen=True)
class Caller:
    """Who asks, and how: the member's name, identity, roster and proxy, whether its node runs here at this time, and
    the limits of its settings.
    """

    name: str
    identity: Identity
    roster: Roster
    proxy: str | None
    running: bool
    limits: Limits = USUAL

    @property
    def rows(self) -> tuple[str, ...]:
        """What is tried at each address, in its order."""
        return DIRECT if self.proxy is None else BY_PROXY

    @property
    def seconds(self) -> float:
        """For all addresses: no less than one connection may take by the settings, up to its greeting."""
        limits = self.limits
        return max(SECONDS, limits.connect_seconds + limits.handshake_seconds + limits.greeting_seconds)


@dataclass(frozen=True)
class Answer:
    """What the aggregator says to a probe; `ahead` is by how many seconds this machine's clock is before its own."""

    versions: Versions
    roster: RosterState | None
    ahead: float | None
    connected: bool

    @classmethod
    def read(cls, header: Mapping[str, Any], asked: float, now: float) -> Self:
        """From a header that came at `now` upon a question at `asked`."""
        clock = header.get("time")
        return cls(
            Versions.read(header),
            RosterState.read(header.get("roster")),
            (asked + now) / 2 - clock if type(clock) is float else None,
            header.get("connected") is True,
        )


class _Call:
    """One address, being asked."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", caller: Caller, address: str) -> None:
        self.address, self._caller = address, caller
        self._link = MemberLink(
            context, caller.identity, caller.roster, [address], proxy=caller.proxy, limits=caller.limits
        )
        host, port = split_address(address)
        self._named = not (":" in host or host.replace(".", "").isdigit())
        self._found: Future[list[str]] | None = in_background(lambda: resolve(host, port)) if self._named else None
        self._asked = 0.0
        self.answer: Answer | None = None
        self.trouble: t.Trouble | None = None

    def step(self) -> bool:
        """Does what is due; True when all is known."""
        if self._link.news():
            self._asked = time.time()
            self._link.send(probe(self._caller.roster))
        for received in self._link.receive():
            if received.header["type"] in ("probed", _UNASKED["type"]) and self._asked:
                header = received.header if received.header["type"] == "probed" else _UNASKED
                self.answer = Answer.read(header, self._asked, time.time())
        self.trouble = self._link.trouble()
        return self.answer is not None or (self.trouble is not None and self._link.tried_all)

    def close(self) -> None:
        self._link.close()

    def why(self) -> t.Trouble:
        """What is in the way. Without an answer there always is something, if only the time that went by."""
        places = t.Places(
            self._caller.name, self._caller.roster.aggregator.name, self._caller.roster.federation,
            self._caller.roster.version,
        )  # fmt: skip
        if self.trouble is not None:
            return self.trouble
        if self._found is not None and not self._found.done():
            return t.unresolved(self.address, f"no answer in {self._caller.seconds:.0f} s")
        return t.mute(places, self.address)

    def rows(self) -> list[Finding]:
        """One for each step on the way to this address."""
        trouble = None if self.answer is not None else self.why()
        failed = _ROW[trouble.cause] if trouble else None
        found = []
        for what in self._caller.rows:
            if trouble is not None and what == failed:
                found.append(wrong(what, trouble))
                break
            found.append(works(what, self._words(what)))
        return [*found, *waiting_for(str(failed), *self._caller.rows[len(found) :])]

    def _words(self, what: str) -> str:
        aggregator = self._caller.roster.aggregator.name
        match what:
            case "name":
                return self._resolution()
            case "port":
                return f"{self.address} takes the connection"
            case "proxy":
                return f"{self._caller.proxy} connects to {self.address}"
            case "handshake":
                return f"{self.address} holds the key of {aggregator}, and knows that of {self._caller.name}"
            case _:
                return f"{aggregator} answers"

    def _resolution(self) -> str:
        host = self.address.rpartition(":")[0]
        if not self._named:
            return f"{host} is an address, so there is no name to resolve"
        try:
            found = self._found.result(0) if self._found else []
        except (OSError, TimeoutError):
            found = []
        listed = ", ".join(one.removeprefix("tcp://").rpartition(":")[0] for one in found)
        return f"{host} is {listed}" if listed else f"{host} resolves"


def network_findings(caller: Caller, addresses: Sequence[str], tell: Tell) -> list[Finding]:
    """The rows of all addresses, and of what the aggregator answers. Takes `caller.seconds` at most."""
    tell(f"the aggregator at {', '.join(addresses)}, for at most {caller.seconds:.0f} s")
    calls = _asked(caller, addresses)
    reached = next((call for call in calls if call.answer is not None), None)
    if reached is None or reached.answer is None:
        rows = [row for call in calls for row in call.rows()]
        return [*rows, *waiting_for("answer", *AFTER)]
    others = [
        note("address", f"{call.why()} ({reached.address} works, and is used instead)")
        for call in calls
        if call.answer is None
    ]
    return [*reached.rows(), *others, *_of_answer(caller, reached.answer)]


def _asked(caller: Caller, addresses: Sequence[str]) -> list[_Call]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    calls: list[_Call] = []
    try:
        calls += [_Call(context, caller, address) for address in addresses]
        until = time.monotonic() + caller.seconds
        while time.monotonic() < until:
            steps = [call.step() for call in calls]
            if all(steps):
                break
            time.sleep(0.01)
    finally:
        for call in calls:
            call.close()
        context.destroy(linger=0)
    return calls


def _of_answer(caller: Caller, answer: Answer) -> list[Finding]:
    return [_version(caller, answer), _roster(caller, answer), _clock(caller, answer), _one_node(caller, answer)]


def _version(caller: Caller, answer: Answer) -> Finding:
    aggregator, theirs = caller.roster.aggregator.name, answer.versions
    protocol = OURS.common(theirs)
    if protocol is not None:
        words = f"protocol {protocol}, with hefed {theirs.package} at {aggregator} and {OURS.package} here"
        return works("version", words)
    older_here = theirs.link > OURS.link or max(theirs.protocols, default=0) > max(OURS.protocols)
    remedy = f"install hefed {theirs.package} here" if older_here else f"have hefed {OURS.package} installed there"
    return wrong(
        "version",
        f"{aggregator} runs {theirs.words()} and {caller.name} {OURS.words()}, which have none in common; {remedy}",
    )


def _roster(caller: Caller, answer: Answer) -> Finding:
    aggregator, ours = caller.roster.aggregator.name, RosterState.of(caller.roster)
    differing = differing_rosters(caller.name, ours, aggregator, answer.roster)
    if differing is not None:
        return wrong("roster there", differing)
    if answer.roster is None:
        return note("roster there", f"{aggregator} does not say which roster it has")
    return works("roster there", f"{aggregator} has the same, version {ours.version}")


def _clock(caller: Caller, answer: Answer) -> Finding:
    aggregator = caller.roster.aggregator.name
    if answer.ahead is None:
        return note("clock", f"{aggregator} does not say what time it has")
    seconds = round(abs(answer.ahead))
    if abs(answer.ahead) <= CLOCK_TOLERANCE:
        return works("clock", f"within {counted(max(seconds, 1), 'second')} of that of {aggregator}")
    way = "ahead of" if answer.ahead > 0 else "behind"
    return wrong(
        "clock",
        f"this machine's clock is {seconds} s {way} that of {aggregator}, and {CLOCK_TOLERANCE:.0f} s are the most "
        f"that a study allows; set it by NTP, or have {aggregator} set its own",
    )


def _one_node(caller: Caller, answer: Answer) -> Finding:
    aggregator = caller.roster.aggregator.name
    match answer.connected, caller.running:
        case True, False:
            return wrong(
                "one node",
                f"a node of {caller.name} is connected to {aggregator}, but none runs in this home; stop that one, or "
                "find out who has a copy of identity.key (if it was stopped just now, check again in ten seconds)",
            )
        case False, True:
            return note(
                "one node",
                f"the node that runs in this home is not connected to {aggregator} at the moment; see hefed status",
            )
        case True, True:
            return works("one node", f"the node that runs in this home is connected to {aggregator}")
    return works("one node", f"no other node of {caller.name} is connected to {aggregator}")
