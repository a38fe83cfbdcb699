"""A federation's roster on the screen: who does what, fingerprints to compare, who has signed, and what changed.

Relies on rich and on `protocol.roster`, which lets through nothing that a terminal would take for a command.
"""

import time
from collections.abc import Sequence
from datetime import date

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.protocol.ending import day, warning
from hefed.protocol.roster import Roster, SignedRoster
from hefed.report.table import folds, plain_rows
from hefed.wording import counted


def print_roster(signed: SignedRoster, to: Console) -> None:
    """Prints members, roles, fingerprints, signatures, and the fingerprint of the whole."""
    for line in _heading(signed.roster):
        to.print(Text(line), soft_wrap=True)
    to.print()
    if folds(to):
        to.print(_members(signed))
    else:
        for row in _plain_members(signed):
            to.print(row)
    to.print()
    for words in filter(None, (warning(one.name, one.ends, _today()) for one in signed.roster.members)):
        to.print(Text(f"{words}.", style="yellow"), soft_wrap=True)
    to.print(Text(f"{_signatures(signed)}."), soft_wrap=True)
    to.print(Text("Fingerprint of the whole roster, the same for all who have the same roster:"))
    for line in in_lines(signed.roster.fingerprint, 6):
        to.print(Text(f"  {line}", style="bold"))


def print_changes(before: Roster, changes: Sequence[str], to: Console) -> None:
    """Prints what differs from the version in force."""
    to.print()
    to.print(Text(f"What changes since version {before.version}, which is in force here:", style="bold"))
    for change in changes:
        to.print(Text(f"- {change}"), soft_wrap=True)


def in_lines(fingerprint: str, groups: int) -> list[str]:
    """A fingerprint in lines of so many groups of digits."""
    parts = fingerprint.split(" ")
    return [" ".join(parts[start : start + groups]) for start in range(0, len(parts), groups)]


def _heading(roster: Roster) -> list[str]:
    return [
        f"Federation {roster.federation}, version {roster.version}",
        f"Aggregator: {roster.aggregator.name}, dialled at {', '.join(roster.addresses) or 'no address yet'}",
        f"No study has a threshold below {roster.least_threshold} or a min_contributors below "
        f"{roster.least_min_contributors}",
    ]


def _members(signed: SignedRoster) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("member", overflow="fold")
    table.add_column("roles", overflow="fold")
    table.add_column("fingerprint", no_wrap=True)
    table.add_column("ends", no_wrap=True)
    table.add_column("signed", no_wrap=True)
    for member in signed.roster.members:
        has = member.name in signed.signatures
        table.add_row(
            Text(member.name),
            Text(", ".join(member.roles)),
            Text("\n".join(in_lines(member.fingerprint, 4))),
            Text(str(member.ends or "never")),
            Text("yes", style="green") if has else Text("not yet", style="yellow"),
        )
    return table


def _plain_members(signed: SignedRoster) -> list[Text]:
    rows = [
        (
            member.name,
            ", ".join(member.roles),
            str(member.ends or "never"),
            "yes" if member.name in signed.signatures else "not yet",
            member.fingerprint,
        )
        for member in signed.roster.members
    ]
    return plain_rows([("member", "roles", "ends", "signed", "fingerprint"), *rows])


def _today() -> date:
    return day(time.time())


def _signatures(signed: SignedRoster) -> str:
    members, missing = len(signed.roster.members), signed.missing
    if not missing:
        return "Every member has signed"
    return f"Signed by {len(signed.signatures)} of {counted(members, 'member')}; missing: {', '.join(missing)}"
