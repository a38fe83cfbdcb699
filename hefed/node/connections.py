"""Who is connected to the aggregator: one connection a member for its node, and some for the studies it follows.

Relies on the link for the members' names. It knows nothing of studies but their hashes and how far each connection is.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hefed.node.aggregator_link import AggregatorLink
from hefed.node.limits import USUAL
from hefed.node.link import Received

GONE_AFTER = 2.0
"""Seconds without a connection after which a member counts as gone; a reconnection within them is not noticed."""
GREETING = 1.0
"""Seconds between answers to two greetings of one connection."""


@dataclass
class Connection:
    """A greeted connection: whose, since when (seconds since 1970), and for each study the entry that it wants next."""

    key: bytes
    name: str
    since: float
    package: str
    only: frozenset[bytes] | None = None
    """The studies that it is for; None for a node's, which is for all of its member's."""
    next: dict[bytes, int] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    """Whom it was last told to be present."""

    def follows(self, study: bytes) -> bool:
        """Whether a study of its member's goes over it."""
        return self.only is None or study in self.only


class Greetings:
    """One greeting of a connection is answered in GREETING seconds; of those that come sooner the last one then is."""

    def __init__(self) -> None:
        self._answered: dict[bytes, float] = {}
        self._waiting: dict[bytes, Received] = {}

    def add(self, received: Received) -> None:
        """One that has come, in the place of an earlier one that still waits."""
        self._waiting[received.connection] = received

    def waits(self, connection: bytes) -> bool:
        """Whether one of a connection is still to be answered."""
        return connection in self._waiting

    def due(self) -> list[Received]:
        """Those to be answered now."""
        now = time.monotonic()
        self._answered = {key: at for key, at in self._answered.items() if now - at < GREETING}
        found = [key for key in self._waiting if key not in self._answered]
        self._answered.update(dict.fromkeys(found, now))
        return [self._waiting.pop(key) for key in found]


class Connections:
    """All greeted connections of an aggregator."""

    def __init__(self, names: Iterable[str], followers: int = USUAL.connections_member // 2) -> None:
        """`names` are all members; beside its node a member has so many `followers`, of whom a further one takes the
        place of the oldest. Who was there before a restart has as long to come back as after a broken connection.
        """
        self._names, self._most_followers = tuple(sorted(names)), followers
        self._by_key: dict[bytes, Connection] = {}
        self._nodes: dict[str, bytes] = {}
        self._seen = dict.fromkeys(self._names, time.monotonic())

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._by_key.values()))

    def get(self, key: bytes, name: str) -> Connection | None:
        """The greeted connection of that key, if it is that member's."""
        found = self._by_key.get(key)
        return found if found is not None and found.name == name else None

    def admit(self, new: Connection) -> Connection | None:
        """A node's connection takes the place of the one before, which is returned where it stood until now; a
        follower's stands beside it.
        """
        displaced = self._by_key.get(self._nodes.get(new.name, b"")) if new.only is None else None
        if displaced is not None and displaced.key == new.key:
            displaced = None
        self._forget(self._by_key.get(new.key))
        if new.only is None:
            self._forget(self._by_key.get(self._nodes.get(new.name, b"")))
            self._nodes[new.name] = new.key
            self._seen[new.name] = time.monotonic()
        else:
            followers = [one for one in self._by_key.values() if one.name == new.name and one.only is not None]
            if len(followers) >= self._most_followers:
                self._forget(followers[0])
        self._by_key[new.key] = new
        return displaced

    def _forget(self, one: Connection | None) -> None:
        if one is not None:
            self._by_key.pop(one.key, None)
            if self._nodes.get(one.name) == one.key:
                del self._nodes[one.name]

    def beat(self, link: AggregatorLink) -> list[str]:
        """Sends each connection a sign of life, and says who is present where that has changed. Returns the members
        whose node is not connected any more.
        """
        gone = []
        for one in self:
            if link.send(one.key, {"type": "beat"}) is None:
                if self._nodes.get(one.name) == one.key:
                    gone.append(one.name)
                self._forget(one)
            elif one.only is None:
                self._seen[one.name] = time.monotonic()
        present = self.present()
        for one in self:
            told = one.only is not None or one.told == present
            if not told and link.send(one.key, {"type": "present", "members": list(present)}):
                one.told = present
        return gone

    def present(self) -> tuple[str, ...]:
        """The members that are connected, by a node or as an analyst."""
        return tuple(sorted({one.name for one in self._by_key.values()}))

    def has_node(self, name: str) -> bool:
        """Whether a node of that name is connected."""
        return name in self._nodes

    def at_hand(self) -> set[str]:
        """The members whose node was connected within the last seconds."""
        return {name for name, seen in self._seen.items() if time.monotonic() - seen <= GONE_AFTER}

    def standing(self) -> list[dict[str, Any]]:
        """Every member, in plain values: whether and since when it is connected, and with which hefed."""
        found: dict[str, Connection] = {}
        for one in self._by_key.values():
            if one.name not in found or one.only is None:
                found[one.name] = one
        return [
            {
                "name": name,
                "connected": name in found,
                "since": found[name].since if name in found else None,
                "package": found[name].package if name in found else None,
            }
            for name in self._names
        ]
