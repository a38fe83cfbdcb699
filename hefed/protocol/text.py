"""Cards and rosters as short text that people mail to each other and can read: a header, then `key: value` lines.

Every card and roster has one text; bytes that are not it are refused, save for the ends of lines, which mail programs
change. Must not open files. What it reads is from anybody: bounded, checked, and quoted fit for a terminal.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import TypeVar, cast

from hefed.protocol import limits
from hefed.protocol.card import Card
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Member, Role, Roster, SignedRoster, read_day
from hefed.wording import quoted

MAX_BYTES = limits.MAX_TEXT
CARD, ROSTER = "hefed card", "hefed roster"
_FORM = 1

T = TypeVar("T", Card, SignedRoster)


def card_text(card: Card) -> str:
    """The text of a card."""
    return _written(
        CARD,
        [
            ("name", card.name),
            ("identity", _encoded(card.identity)),
            ("transport", _encoded(card.transport)),
            *_end_pairs(card.ends),
            ("signature", _encoded(card.signature)),
        ],
    )


def read_card(data: bytes) -> Card:
    """The card whose text is `data`. Raises RosterError."""
    lines = _Lines(data, CARD)
    name, identity, transport = lines.take("name"), lines.octets("identity"), lines.octets("transport")
    ends = lines.end()
    card = Card(name, identity, transport, lines.octets("signature"), ends)
    return _only(card, card_text(card), lines)


def roster_text(signed: SignedRoster) -> str:
    """The text of a roster with its signatures, sorted by name."""
    roster = signed.roster
    return _written(
        ROSTER,
        [
            ("federation", roster.federation),
            ("version", str(roster.version)),
            *(("address", address) for address in roster.addresses),
            ("least threshold", str(roster.least_threshold)),
            ("least min_contributors", str(roster.least_min_contributors)),
            *(pair for member in roster.members for pair in _member_pairs(member)),
            *(("signature", f"{name} {_encoded(signature)}") for name, signature in sorted(signed.signatures.items())),
        ],
    )


def _member_pairs(member: Member) -> Iterator[tuple[str, str]]:
    yield "member", member.name
    yield "roles", " ".join(member.roles)
    yield "identity", _encoded(member.identity)
    yield "transport", _encoded(member.transport)
    yield from _end_pairs(member.ends)


def _end_pairs(ends: date | None) -> list[tuple[str, str]]:
    return [("ends", ends.isoformat())] if ends else []


def read_roster(data: bytes) -> SignedRoster:
    """The roster whose text is `data`; every signature in it holds. Raises RosterError."""
    lines = _Lines(data, ROSTER)
    federation, version = lines.take("federation"), lines.number("version")
    addresses = tuple(lines.every("address"))
    least_threshold, least_min_contributors = lines.number("least threshold"), lines.number("least min_contributors")
    members = tuple(_read_member(name, lines) for name in lines.every("member"))
    roster = Roster(federation, version, members, addresses, least_threshold, least_min_contributors)
    signed = SignedRoster(roster, dict(_read_signatures(lines)))
    return _only(signed, roster_text(signed), lines)


def _read_member(name: str, lines: "_Lines") -> Member:
    roles = cast(tuple[Role, ...], tuple(lines.take("roles").split(" ")))  # Member checks that they are
    return Member(name, lines.octets("identity"), lines.octets("transport"), roles, lines.end())


def _read_signatures(lines: "_Lines") -> Iterator[tuple[str, bytes]]:
    seen = set()
    for value in lines.every("signature"):
        name, _, encoded = value.partition(" ")
        if name in seen:
            raise RosterError(f"two signatures of {quoted(name)}; unite files with hefed federation merge, not by hand")
        seen.add(name)
        yield name, lines.decoded(encoded)


class _Lines:
    """The lines of a text, taken in order; whatever is not as expected is a RosterError with its number."""

    def __init__(self, data: bytes, header: str) -> None:
        if len(data) > MAX_BYTES:
            raise RosterError(f"has more than {MAX_BYTES >> 20} MiB; is it the right file?")
        try:
            self.text = data.decode().replace("\r\n", "\n").rstrip("\n") + "\n"
        except UnicodeDecodeError:
            raise RosterError("is not UTF-8 text; is it the right file?") from None
        self._lines = self.text.split("\n")[:-1]
        self._next = 1
        first = self._lines[0]
        if re.fullmatch(rf"{header} [0-9]{{1,4}}", first) is None:
            raise RosterError(f"does not begin with '{header} {_FORM}'; is it the right file?")
        if first != f"{header} {_FORM}":
            raise RosterError(f"is a {quoted(first)}, of another version of hefed; this one reads '{header} {_FORM}'")

    def take(self, key: str) -> str:
        """The value of the next line, whose key must be this one."""
        line = self._lines[self._next] if self._next < len(self._lines) else ""
        if not line.startswith(key + ": "):
            raise self._fault(f"{quoted(line)} stands where '{key}: ...' must" if line else f"'{key}: ...' is missing")
        self._next += 1
        return line[len(key) + 2 :]

    def every(self, key: str) -> Iterator[str]:
        """The values of the lines with this key from here on."""
        while self._next < len(self._lines) and self._lines[self._next].startswith(key + ": "):
            yield self.take(key)

    def number(self, key: str) -> int:
        """A whole number of at most 9 digits."""
        value = self.take(key)
        if re.fullmatch("[1-9][0-9]{0,8}", value) is None:
            raise self._fault(f"{quoted(value)} is no {key}", back=1)
        return int(value)

    def end(self) -> date | None:
        """The last day of an identity, where the next line says one."""
        value = next(self.every("ends"), None)
        return None if value is None else read_day(value)

    def octets(self, key: str) -> bytes:
        """Bytes in base64."""
        return self.decoded(self.take(key))

    def decoded(self, value: str) -> bytes:
        """Bytes in base64, from the line that was taken last."""
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except ValueError:  # also for letters that are not ASCII
            raise self._fault("there is no base64 where it must be", back=1) from None

    def _fault(self, words: str, back: int = 0) -> RosterError:
        return RosterError(f"line {self._next + 1 - back}: {words}; the file was altered or cut, ask for it again")

    def rest(self) -> str | None:
        """What must not be there: the first line that nobody took."""
        return self._lines[self._next] if self._next < len(self._lines) else None


def _only(value: T, text: str, lines: _Lines) -> T:
    rest = lines.rest()
    if rest is not None:
        raise RosterError(f"says {quoted(rest)} where nothing more may stand; ask for the file again")
    if text != lines.text:
        raise RosterError("is not in its one written form (order, spaces, or base64); ask for the file again")
    return value


def _written(header: str, pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{line}\n" for line in (f"{header} {_FORM}", *(f"{key}: {value}" for key, value in pairs)))


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
