"""Who is who in a federation: names, identity keys, transport keys, roles. Every signature and every connection is
checked against it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from hefed.crypto.hashing import tagged_hash
from hefed.protocol import codec
from hefed.protocol.errors import RosterError

Role = Literal["aggregator", "analyst", "contributor", "keyholder", "reader"]
ROLES: tuple[Role, ...] = get_args(Role)
MAX_MEMBERS = 1024
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


@dataclass(frozen=True)
class Member:
    """One member: its name, Ed25519 verification key, CURVE public key (32 bytes each), and what it may do."""

    name: str
    identity: bytes
    transport: bytes
    roles: tuple[Role, ...]

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise RosterError(f"'{self.name}' is no name for a member: small letters, digits and hyphens, at most 64")
        if len(self.identity) != 32 or len(self.transport) != 32:
            raise RosterError(f"member {self.name}: its keys are not 32 bytes each")
        if not self.roles or not set(self.roles) <= set(ROLES) or list(self.roles) != sorted(set(self.roles)):
            raise RosterError(f"member {self.name}: its roles are not a sorted list from {', '.join(ROLES)}")


@dataclass(frozen=True)
class Roster:
    """All members of a federation, sorted by name, with exactly one aggregator."""

    federation: str
    version: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if not self.federation or len(self.federation) > 128:
            raise RosterError("a federation's name has 1 to 128 characters")
        if len(names) > MAX_MEMBERS or names != sorted(set(names)):
            raise RosterError(f"a roster lists at most {MAX_MEMBERS} members, sorted, each name once")
        for what in ("identity", "transport"):
            if len({getattr(member, what) for member in self.members}) != len(names):
                raise RosterError(f"two members of the roster have the same {what} key")
        if sum("aggregator" in member.roles for member in self.members) != 1:
            raise RosterError("a roster names exactly one aggregator")

    @classmethod
    def of(cls, federation: str, version: int, members: Iterable[Member]) -> "Roster":
        """A roster of these members in any order."""
        return cls(federation, version, tuple(sorted(members, key=lambda member: member.name)))

    @cached_property
    def _by_name(self) -> dict[str, Member]:
        return {member.name: member for member in self.members}

    @property
    def aggregator(self) -> Member:
        """The one that relays and adds."""
        return next(member for member in self.members if "aggregator" in member.roles)

    def member(self, name: str) -> Member:
        """The member of that name. Raises RosterError when there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            raise RosterError(f"'{name}' is not on the roster of {self.federation} (version {self.version})") from None

    def require(self, name: str, role: Role) -> None:
        """Raises RosterError unless that member may act in that role."""
        if role not in self.member(name).roles:
            raise RosterError(f"'{name}' is on the roster of {self.federation}, but not as a {role}")

    def to_bytes(self) -> bytes:
        """Deterministic CBOR."""
        members = [
            {"name": m.name, "identity": m.identity, "transport": m.transport, "roles": list(m.roles)}
            for m in self.members
        ]
        return codec.encode({"federation": self.federation, "version": self.version, "members": members})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Roster":
        """The roster whose encoding is `data`. Raises RosterError or EncodingError."""
        value: Any = codec.decode(data)
        try:
            members = tuple(
                Member(str(m["name"]), bytes(m["identity"]), bytes(m["transport"]), tuple(m["roles"]))
                for m in value["members"]
            )
            roster = cls(str(value["federation"]), int(value["version"]), members)
        except (KeyError, TypeError, ValueError) as error:
            raise RosterError("the roster's file does not have the form of a roster") from error
        if roster.to_bytes() != data:
            raise RosterError("the roster's file says more than a roster does")
        return roster

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that stand for this roster."""
        return tagged_hash("roster", self.to_bytes())
