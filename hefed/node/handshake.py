"""How two ends of a link greet each other: which versions each can, which roster it has in force, what the time is.

A member says `hello`, the aggregator `welcome` or `turned away`; `probe` asks the same without taking part. What is
read here comes from the other end: every field is bounded, and one that is missing is as an older hefed would send it.
It must not open sockets.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hefed import __version__
from hefed.protocol.messages import PROTOCOL_VERSION
from hefed.protocol.roster import MAX_VERSION, Roster

LINK_VERSION = 1
"""Of the headers on the wire. A change that an older peer can leave unread does not raise it."""
PROTOCOLS: tuple[int, ...] = (PROTOCOL_VERSION,)
"""The versions of the studies' messages that this hefed can take part in; independent of the package's version."""
MAX_ASKED = 1100
"""Studies of a greeting that are looked at: those that may run at once, and some that have ended."""
UNSTATED = "0.1"
"""The package of a peer that does not state one: hefed 0.1 did not."""
_MAX_PROTOCOLS = 64
_MAX_NUMBER = 2**16
_MAX_PACKAGE = 64


@dataclass(frozen=True)
class RosterState:
    """Which roster one end has in force: its version, and the digest that tells two of one version apart."""

    version: int
    digest: bytes

    @classmethod
    def of(cls, roster: Roster) -> "RosterState":
        """Of this end's own."""
        return cls(roster.version, roster.digest)

    @classmethod
    def read(cls, value: object) -> "RosterState | None":
        """What the other end states; None when it states none."""
        match value:
            case {"version": int(version), "digest": bytes(digest)} if 1 <= version <= MAX_VERSION:
                return cls(version, digest) if len(digest) == 32 else None
        return None

    def plain(self) -> dict[str, Any]:
        """As it stands in a header."""
        return {"version": self.version, "digest": self.digest}


@dataclass(frozen=True)
class Versions:
    """What one end can: its package, and the versions of the link and of the studies' messages."""

    package: str
    protocols: tuple[int, ...]
    link: int = LINK_VERSION

    @classmethod
    def read(cls, header: Mapping[str, Any]) -> "Versions":
        """From a hello, a probe or an answer to one."""
        package, protocols, link = header.get("package"), header.get("protocols"), header.get("version")
        if not isinstance(package, str) or not package.isprintable() or not 1 <= len(package) <= _MAX_PACKAGE:
            package = UNSTATED
        known: tuple[int, ...] = (1,) if protocols is None else ()
        if isinstance(protocols, list) and len(protocols) <= _MAX_PROTOCOLS:
            known = tuple(sorted({one for one in protocols if type(one) is int and 1 <= one <= _MAX_NUMBER}))
        return cls(package, known, link if type(link) is int and 0 <= link <= _MAX_NUMBER else 0)

    def common(self, other: "Versions") -> int | None:
        """The newest version of the messages that both can; None when there is none."""
        if self.link != other.link:
            return None
        return max(set(self.protocols) & set(other.protocols), default=None)

    def words(self) -> str:
        """For a sentence: hefed 0.1.0 (protocol 1)."""
        numbers = ", ".join(map(str, self.protocols)) or "unknown"
        return f"hefed {self.package} (protocol {numbers}, link {self.link})"


OURS = Versions(__version__, PROTOCOLS)


@dataclass(frozen=True)
class Welcome:
    """What the aggregator says in a welcome, beside how many messages it has: its versions, clock and roster."""

    protocol: int
    package: str
    time: float | None
    roster: RosterState | None

    @classmethod
    def read(cls, header: Mapping[str, Any]) -> "Welcome":
        """From a welcome."""
        protocol, clock = header.get("protocol"), header.get("time")
        return cls(
            protocol if type(protocol) is int and 1 <= protocol <= _MAX_NUMBER else 1,
            Versions.read(header).package,
            clock if type(clock) is float else None,
            RosterState.read(header.get("roster")),
        )


def hello(studies: Mapping[str, int], roster: Roster, *, only: bool = False) -> dict[str, Any]:
    """A member's greeting: for each study (hex) the entry that it wants next. `only`: the connection is for these and
    no other, and takes the place of none.
    """
    more = {"only": True} if only else {}
    return {**_stated("hello", roster), "studies": dict(studies), **more}


def asked_for(header: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a hello lists under its studies, the first MAX_ASKED of them; None when that is no map."""
    studies = header.get("studies")
    return dict(islice(studies.items(), MAX_ASKED)) if isinstance(studies, dict) else None


def probe(roster: Roster) -> dict[str, Any]:
    """A question for the aggregator's versions, clock and roster, which changes nothing there."""
    return _stated("probe", roster)


def welcome(protocol: int, accepted: Mapping[str, int], roster: Roster, now: float) -> dict[str, Any]:
    """The aggregator's greeting: for each study (hex) how many messages of this member it has."""
    return {
        "type": "welcome",
        "accepted": dict(accepted),
        "protocol": protocol,
        "package": OURS.package,
        "time": now,
        "roster": RosterState.of(roster).plain(),
    }


def _stated(kind: str, roster: Roster) -> dict[str, Any]:
    return {
        "type": kind,
        "version": LINK_VERSION,
        "protocols": list(PROTOCOLS),
        "package": OURS.package,
        "roster": RosterState.of(roster).plain(),
    }


def turned_away(us: str, other: str, theirs: Versions) -> str:
    """Why two ends cannot take part in studies together, with both sides' versions and what to install."""
    newest = max(OURS.protocols)
    if theirs.link > LINK_VERSION or (theirs.link == LINK_VERSION and min(theirs.protocols, default=0) > newest):
        remedy = f"install at {us} the version that {other} has, or the older one at {other} again"
    else:
        remedy = f"install hefed {OURS.package} at {other}"
    return f"{us} runs {OURS.words()} and {other} {theirs.words()}, which have none in common; {remedy}"


def differing_rosters(us: str, ours: RosterState, other: str, theirs: RosterState | None) -> str | None:
    """In words, which of two ends has the older roster; None when both have the same, or one states none."""
    if theirs is None or theirs == ours:
        return None
    if ours.version == theirs.version:
        return (
            f"{us} and {other} have different rosters of one version, {ours.version}; compare their fingerprints, "
            "and see to it that both have the one that all signed"
        )
    older = f"{us}'s own" if ours.version < theirs.version else f"that of {other}"
    return (
        f"{us} has version {ours.version} of the roster in force and {other} version {theirs.version}: {older} is the "
        "older; put the newer one in force there (hefed federation join), and restart it"
    )


def names(value: object, most: int) -> tuple[str, ...]:
    """A list of names that the other end sent, as far as it is one."""
    listed: Iterable[object] = value[:most] if isinstance(value, list) else ()
    return tuple(one for one in listed if isinstance(one, str) and len(one) <= 64 and one.isprintable())
