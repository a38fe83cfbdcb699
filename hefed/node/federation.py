"""What a federation's people do with files: draft a roster from cards, say what changed, unite signatures.

Relies on `protocol.text` for the form of the files, which may come from anybody. Must not sign anything nor touch a
member's secrets; `home` does.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import cast

from hefed.node.errors import NodeError
from hefed.protocol.card import Card
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import LEAST_THRESHOLD, NAME, ROLES, Member, Role, Roster, SignedRoster
from hefed.protocol.text import MAX_BYTES, read_card, read_roster, roster_text
from hefed.wording import counted, quoted, suggestion

USUAL_ROLES: tuple[Role, ...] = ("contributor", "keyholder", "reader")
ROLES_BY_NAME: dict[str, tuple[Role, ...]] = {"aggregator": ("aggregator",), "analyst": ("analyst",)}
"""Members of these names are nothing else: no study takes a region that is called so."""


def load_card(path: Path) -> Card:
    """The card in a file. Raises RosterError, NodeError."""
    try:
        return read_card(read_bounded(path))
    except RosterError as error:
        raise RosterError(f"{shown(path)}: {error}") from None


def load_roster(path: Path) -> SignedRoster:
    """The roster in a file; every signature in it holds. Raises RosterError, NodeError."""
    try:
        return read_roster(read_bounded(path))
    except RosterError as error:
        raise RosterError(f"{shown(path)}: {error}") from None


def write_new_roster(path: Path, signed: SignedRoster) -> None:
    """Writes a roster into a file that is not there yet. Raises NodeError."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(roster_text(signed))
    except FileExistsError:
        raise NodeError(f"{shown(path)}: is there already; name another file with -o") from None
    except OSError as error:
        raise NodeError(f"{shown(path)}: cannot be written: {_reason(error)}; name another file with -o") from None


def read_bounded(path: Path) -> bytes:
    """The content of a file, or the first byte too many of it. Raises NodeError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NodeError(f"{shown(path)}: cannot be read: {_reason(error)}; check the name") from None


def replace_durably(path: Path, data: bytes) -> None:
    """Puts a public file in the place of another, whole or not at all, and flushes it to disk. Raises NodeError."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NodeError(f"{shown(path)}: cannot be written: {_reason(error)}; make room or give access") from None


def unite(paths: Sequence[Path]) -> SignedRoster:
    """The one roster of all these files with all their signatures. Raises RosterError, NodeError."""
    united = load_roster(paths[0])
    for path in paths[1:]:
        try:
            united = united.united(load_roster(path))
        except RosterError as error:
            raise RosterError(f"{shown(paths[0])} and {shown(path)}: {error}") from None
    return united


def draft(
    federation: str,
    members: Sequence[str],
    *,
    old: Roster | None = None,
    remove: Sequence[str] = (),
    addresses: Sequence[str] = (),
    least_threshold: int | None = None,
    least_min_contributors: int | None = None,
) -> Roster:
    """A roster that nobody has signed yet; with `old` the next version of that one.

    Each of `members` is CARD or CARD:ROLE,ROLE, a card's file and what the member may do; in a change also the NAME of
    a member that stays. What is not given is as it was, or usual. Raises RosterError, NodeError.
    """
    if old is not None and old.federation != federation:
        raise RosterError(
            f"{quoted(federation)} is not the federation of the old roster, {old.federation}; use its name"
        )
    listed = {member.name: member for member in old.members} if old else {}
    for name in remove:
        if listed.pop(name, None) is None:
            raise RosterError(f"{quoted(name)} cannot be removed, as it is not on the old roster")
    named: set[str] = set()
    for specification in members:
        member = _specified(specification, listed)
        if member.name in named:
            raise RosterError(f"{member.name} is given twice; give each member one card")
        named.add(member.name)
        listed[member.name] = member
    threshold = least_threshold or (old.least_threshold if old else LEAST_THRESHOLD)
    contributors = least_min_contributors or max(threshold + 1, old.least_min_contributors if old else 0)
    roster = Roster.of(
        federation,
        old.version + 1 if old else 1,
        listed.values(),
        addresses=tuple(addresses) or (old.addresses if old else ()),
        least_threshold=threshold,
        least_min_contributors=contributors,
    )
    _require_usable(roster)
    if old is not None:
        require_same_ends(old.members, roster)
    if old is not None and not changes(old, roster):
        raise RosterError(f"nothing differs from version {old.version}; say what changes, with --member or --remove")
    return roster


def _specified(specification: str, listed: dict[str, Member]) -> Member:
    source, colon, words = specification.rpartition(":")
    if not colon:
        source, words = specification, ""
    known = listed.get(source) if NAME.fullmatch(source) else None
    who: Card | Member = known or load_card(Path(source))
    usual = listed[who.name].roles if who.name in listed else ROLES_BY_NAME.get(who.name, USUAL_ROLES)
    roles = tuple(_role(word, specification) for word in words.split(",")) if colon else usual
    return Member(who.name, who.identity, who.transport, tuple(sorted(set(roles))), who.ends)


def _role(word: str, specification: str) -> Role:
    if word not in ROLES:
        raise RosterError(
            f"{quoted(word)} in {quoted(specification)} is no role{suggestion(word, ROLES)}; "
            f"write CARD:ROLE,ROLE with roles from {', '.join(ROLES)}"
        )
    return word


def _require_usable(roster: Roster) -> None:
    """A federation in which no study is possible is a slip in its making."""
    for role, least, limit in (
        ("contributor", roster.least_min_contributors, "the least min_contributors"),
        ("keyholder", roster.least_threshold, "the least threshold"),
    ):
        there = len(roster.having(cast(Role, role)))
        if there < least:
            raise RosterError(
                f"{counted(there, role)}, but {limit} is {least}, so no study would be possible; "
                "add members, or lower it if you may"
            )
    if not roster.having("analyst"):
        raise RosterError("nobody is an analyst, so nobody could submit a study; give a member the role analyst")
    if not roster.addresses:
        raise RosterError("there is no address of the aggregator, so nobody could dial it; add --address HOST:PORT")


def changes(old: Roster, new: Roster) -> list[str]:
    """What differs between two rosters of a federation, one sentence each, what matters most for safety first."""
    before = {member.name: member for member in old.members}
    after = {member.name: member for member in new.members}
    both = [(before[name], after[name]) for name in sorted(before.keys() & after.keys())]
    return [
        *(
            f"{now.name} has other keys than before: compare its new fingerprint with {now.name} over the telephone"
            for was, now in both
            if (was.identity, was.transport) != (now.identity, now.transport)
        ),
        *(
            f"the identity of {now.name} ends {day_of(now.ends)}, and not {day_of(was.ends)}"
            for was, now in both
            if was.ends != now.ends
        ),
        *(f"{name} is new: {', '.join(after[name].roles)}" for name in sorted(after.keys() - before.keys())),
        *(f"{name} is no longer a member" for name in sorted(before.keys() - after.keys())),
        *(
            f"{now.name} was {', '.join(was.roles)} and is {', '.join(now.roles)}"
            for was, now in both
            if was.roles != now.roles
        ),
        *_changed("least threshold of a study", old.least_threshold, new.least_threshold),
        *_changed("least min_contributors of a study", old.least_min_contributors, new.least_min_contributors),
        *_changed("aggregator's address", ", ".join(old.addresses), ", ".join(new.addresses)),
    ]


def day_of(ends: date | None) -> str:
    """When an identity ends, for a sentence."""
    return f"on {ends}" if ends else "never"


def require_same_ends(known: Iterable[Member], roster: Roster) -> None:
    """Raises RosterError when a roster gives an identity key another end than it has in `known`; of those that have one
    key the last counts.
    """
    ends = {member.identity: member.ends for member in known}
    for one in roster.members:
        if (was := ends.get(one.identity, one.ends)) != one.ends:
            raise RosterError(
                f"version {roster.version} of {roster.federation} lets the identity of {one.name} end "
                f"{day_of(one.ends)}, and it was to end {day_of(was)}; another end takes a new identity: {one.name} "
                "makes it with hefed keys rotate, and its new card goes into another version"
            )


def _changed(what: str, was: object, now: object) -> list[str]:
    return [f"the {what} was {was or 'not given'} and is {now or 'not given'}"] if was != now else []


def shown(path: Path) -> str:
    """A path fit for a terminal: files that came by mail are named by others."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(path))


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()
