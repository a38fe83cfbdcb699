"""Who is who in a federation: names, keys and roles of its members, the aggregator's addresses, and what no study may
go below. Every signature and every connection is checked against it, and every member signs it.

Relies on Ed25519 of `cryptography` and on `codec`. What it takes may come from anybody: it is bounded and checked, and
what it says in an error is fit for a terminal. It must not read files; `text` has the form that people exchange.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any, Literal, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from hefed.crypto.hashing import encode_parts, tagged_hash
from hefed.protocol import codec, limits
from hefed.protocol.errors import RosterError
from hefed.study import MAX_KEYHOLDERS, MAX_REGIONS
from hefed.wording import NAME_RULE, quoted

Role = Literal["aggregator", "analyst", "contributor", "keyholder", "reader"]
ROLES: tuple[Role, ...] = get_args(Role)
MAX_MEMBERS, MAX_ADDRESSES = limits.MAX_MEMBERS, limits.MAX_ADDRESSES
MAX_VERSION, MAX_FEDERATION = limits.MAX_VERSION, limits.MAX_FEDERATION
LEAST_THRESHOLD = 2
"""Below it one keyholder alone would open a sum; no study can go there."""
NEWEST_FIRST = (
    "put the newest in force wherever an older one is (hefed federation join), restart what runs there, hefed "
    "aggregator before hefed node, and then submit again"
)
"""What to do, in this order, when two parties have different rosters."""
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
KEY_SIZE = 32

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_NOT_FOR_AGGREGATOR = {"contributor", "keyholder", "reader"}


@dataclass(frozen=True)
class Member:
    """One member: its name, Ed25519 verification key, CURVE public key (32 bytes each), what it may do, and until which
    day, in UTC; None for an identity without an end.
    """

    name: str
    identity: bytes
    transport: bytes
    roles: tuple[Role, ...]
    ends: date | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.identity) != KEY_SIZE or len(self.transport) != KEY_SIZE:
            raise RosterError(f"member {self.name}: its keys are not {KEY_SIZE} bytes each")
        if not self.roles or not set(self.roles) <= set(ROLES) or list(self.roles) != sorted(set(self.roles)):
            raise RosterError(f"member {self.name}: its roles are not a sorted list from {', '.join(ROLES)}")

    @cached_property
    def fingerprint(self) -> str:
        """What is compared over the telephone; see `fingerprint`."""
        return fingerprint(self.name, self.identity, self.transport)


class _MemberForm(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    identity: bytes
    transport: bytes
    roles: list[Role]
    ends: str = ""
    """Left out where there is none."""


class _RosterForm(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    federation: str
    version: int
    addresses: list[str]
    least_threshold: int
    least_min_contributors: int
    members: list[_MemberForm]


@dataclass(frozen=True)
class Roster:
    """All members of a federation, sorted by name, with exactly one aggregator.

    `addresses` are where the aggregator is dialled, host:port, in the order in which they are tried. No study of the
    federation has a threshold below `least_threshold` or a min_contributors below `least_min_contributors`.
    """

    federation: str
    version: int
    members: tuple[Member, ...]
    addresses: tuple[str, ...] = ()
    least_threshold: int = LEAST_THRESHOLD
    least_min_contributors: int = LEAST_THRESHOLD + 1

    def __post_init__(self) -> None:
        check_federation(self.federation)
        if not 1 <= self.version <= MAX_VERSION:
            raise RosterError(f"the version of a roster is a number from 1 to {MAX_VERSION}")
        self._check_members()
        self._check_limits()
        if len(self.addresses) > MAX_ADDRESSES or len(set(self.addresses)) != len(self.addresses):
            raise RosterError(f"a roster has at most {MAX_ADDRESSES} addresses of the aggregator, each once")
        for address in self.addresses:
            check_address(address)

    def _check_members(self) -> None:
        names = [member.name for member in self.members]
        if len(names) > MAX_MEMBERS or names != sorted(set(names)):
            raise RosterError(f"a roster lists at most {MAX_MEMBERS} members, sorted, each name once")
        for what in ("identity", "transport"):
            if len({getattr(member, what) for member in self.members}) != len(names):
                raise RosterError(f"two members of the roster have the same {what} key; each makes its own with init")
        if sum("aggregator" in member.roles for member in self.members) != 1:
            raise RosterError("a roster names exactly one aggregator")
        if set(self.aggregator.roles) & _NOT_FOR_AGGREGATOR:
            # It is counted as dishonest together with t - 1 regions; as a region itself it would be one more.
            raise RosterError(
                f"{self.aggregator.name} is the aggregator and can be neither contributor, keyholder nor reader; "
                "give these roles to another member"
            )

    def _check_limits(self) -> None:
        if not LEAST_THRESHOLD <= self.least_threshold <= MAX_KEYHOLDERS:
            raise RosterError(f"the least threshold is a number from {LEAST_THRESHOLD} to {MAX_KEYHOLDERS}")
        if not self.least_threshold < self.least_min_contributors <= MAX_REGIONS:
            raise RosterError(
                f"the least min_contributors is a number from {self.least_threshold + 1} (the least threshold and one) "
                f"to {MAX_REGIONS}"
            )

    @classmethod
    def of(cls, federation: str, version: int, members: Iterable[Member], **more: Any) -> "Roster":
        """A roster of these members in any order; `more` are the fields that have a default."""
        return cls(federation, version, tuple(sorted(members, key=lambda member: member.name)), **more)

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
            raise RosterError(
                f"{quoted(name)} is not on the roster of {self.federation} (version {self.version})"
            ) from None

    def require(self, name: str, role: Role) -> None:
        """Raises RosterError unless that member may act in that role."""
        if role not in self.member(name).roles:
            raise RosterError(f"{quoted(name)} is on the roster of {self.federation}, but not as a {role}")

    def having(self, role: Role) -> tuple[Member, ...]:
        """The members that may act in a role."""
        return tuple(member for member in self.members if role in member.roles)

    def to_bytes(self) -> bytes:
        """Deterministic CBOR."""
        members = [
            {"name": m.name, "identity": m.identity, "transport": m.transport, "roles": list(m.roles)}
            | ({"ends": m.ends.isoformat()} if m.ends else {})
            for m in self.members
        ]
        return codec.encode(
            {
                "federation": self.federation,
                "version": self.version,
                "addresses": list(self.addresses),
                "least_threshold": self.least_threshold,
                "least_min_contributors": self.least_min_contributors,
                "members": members,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Roster":
        """The roster whose encoding is `data`. Raises RosterError or EncodingError."""
        try:
            form = _RosterForm.model_validate(codec.decode(data))
        except ValidationError:
            raise RosterError(
                "the roster's file does not have the form of a roster; join with the signed file again"
            ) from None
        members = tuple(
            Member(m.name, m.identity, m.transport, tuple(m.roles), read_day(m.ends) if m.ends else None)
            for m in form.members
        )
        made = cls(
            form.federation,
            form.version,
            members,
            tuple(form.addresses),
            form.least_threshold,
            form.least_min_contributors,
        )
        if made.to_bytes() != data:
            raise RosterError("the roster's file is not as it would be written; join with the signed file again")
        return made

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that stand for this roster."""
        return tagged_hash("roster", self.to_bytes())

    @cached_property
    def fingerprint(self) -> str:
        """The digest as 12 groups of 5 digits: 199 bits, so that even whoever makes the roster needs about 2^99 tries
        for two rosters that sound alike. Members who read out the same have the same roster, and as each found its own
        keys in it, they have each other's true keys.
        """
        return _spoken(self.digest, 12)


@dataclass(frozen=True)
class SignedRoster:
    """A roster and the signatures of some or all of its members, by name, 64 bytes each; all of them hold."""

    roster: Roster
    signatures: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for name, signature in self.signatures.items():
            if not is_signed(self.roster.member(name).identity, signature, *roster_statement(self.roster)):
                raise RosterError(
                    f"the signature of {name} is not one for this roster of {self.roster.federation} "
                    f"(version {self.roster.version}); it was altered, or {name} signed another one: ask {name}"
                )

    @property
    def missing(self) -> tuple[str, ...]:
        """The members that have not signed."""
        return tuple(member.name for member in self.roster.members if member.name not in self.signatures)

    def united(self, other: "SignedRoster") -> "SignedRoster":
        """The same roster with the signatures of both, this one's where both have one. Raises RosterError when the
        rosters differ.
        """
        if other.roster != self.roster:
            mine, its = self.roster, other.roster
            raise RosterError(
                f"these are different rosters: {mine.federation} version {mine.version} ({mine.fingerprint}) and "
                f"{its.federation} version {its.version} ({its.fingerprint}); signatures of one do not hold for another"
            )
        return SignedRoster(self.roster, {**other.signatures, **self.signatures})


def roster_statement(roster: Roster) -> tuple[str, bytes]:
    """What every member signs: a label of its own, and the digest."""
    return "roster signature", roster.digest


def signed_bytes(label: str, *parts: bytes | str) -> bytes:
    """The bytes that an identity key signs: no statement of one label is one of another, or a message."""
    return encode_parts("hefed/1 " + label, *parts)


def is_signed(identity: bytes, signature: bytes, label: str, *parts: bytes | str) -> bool:
    """Whether the holder of an identity key (32 bytes) signed that statement."""
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, signed_bytes(label, *parts))
    except InvalidSignature:
        return False
    return True


def fingerprint(name: str, identity: bytes, transport: bytes) -> str:
    """Name and keys as 8 groups of 5 digits, to be read aloud: 132 bits, so nobody makes keys that sound like those
    of another member.
    """
    return _spoken(tagged_hash("fingerprint", name, identity, transport), 8)


def _spoken(digest: bytes, groups: int) -> str:
    digits = f"{int.from_bytes(digest) % 10 ** (5 * groups):0{5 * groups}d}"
    return " ".join(digits[start : start + 5] for start in range(0, 5 * groups, 5))


def read_day(text: str) -> date:
    """A day as it is written in cards and rosters, 2028-11-26. Raises RosterError."""
    try:
        if not _DAY.fullmatch(text):
            raise ValueError("another form")
        return date.fromisoformat(text)
    except ValueError:
        raise RosterError(f"the end of an identity is a day such as 2028-11-26, not {quoted(text)}") from None


def check_name(name: str) -> None:
    """Raises RosterError unless it is a name for a member."""
    if not NAME.fullmatch(name):
        raise RosterError(f"the name of a member {NAME_RULE}, not {quoted(name)}")


def check_federation(name: str) -> None:
    """Raises RosterError unless it is a name for a federation."""
    if not 1 <= len(name) <= MAX_FEDERATION or not name.isprintable() or name != name.strip():
        raise RosterError(
            f"the name of a federation is 1 to {MAX_FEDERATION} printable characters without spaces at its ends, "
            f"not {quoted(name)}"
        )


def check_address(address: str) -> None:
    """Raises RosterError unless it is host:port, the host a name, an IPv4 address, or an IPv6 address in brackets."""
    host, _, port = address.rpartition(":")
    if not (_PORT.fullmatch(port) and int(port) < 2**16 and _is_host(host)):
        raise RosterError(
            f"the address of the aggregator is HOST:PORT, such as aggregator.example.org:7100 or [2001:db8::1]:7100, "
            f"not {quoted(address)}"
        )


def _is_host(host: str) -> bool:
    try:
        if host.startswith("[") and host.endswith("]"):
            return "%" not in host and bool(IPv6Address(host[1:-1]))
        if host.replace(".", "").isdigit():
            return bool(IPv4Address(host))
    except AddressValueError:
        return False
    return _HOST.fullmatch(host) is not None
