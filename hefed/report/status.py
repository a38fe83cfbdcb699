"""How a node or the aggregator stands, on the screen. Relies on rich, on the plain values that
the process wrote, and on `protocol.ending` for what is said of the end of an identity.

Names and words in them may come from other parties: they are printed as text, never as markup or as a command to the
terminal.
"""

import time
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.protocol.ending import day, warning
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import read_day
from hefed.report.table import folds, plain_rows
from hefed.report.times import local

LONG_NAME = 32
"""Letters of a study's name beyond which it is folded."""
_STATES = {
    "pending": "waits for hefed approve or hefed refuse",
    "running": "running",
    "ended": "ended",
}


def print_status(running: bool, standing: Mapping[str, Any], to: Console) -> None:
    """Prints the process, its connections, and a table of studies."""
    for line in (*_process(running, standing), *_end(standing)):
        to.print(line, soft_wrap=True)
    if members := standing.get("members"):
        to.print()
        _print(_members(members) if folds(to) else _plain_members(members), to)
    to.print()
    studies = [one for one in standing.get("studies", ()) if one.get("phase") != "ended"]
    if studies:
        _print(_studies(studies) if folds(to) else _plain_studies(studies), to)
    else:
        to.print(Text("No study is running or waiting."))


def _print(table: Table | list[Text], to: Console) -> None:
    for part in table if isinstance(table, list) else (table,):
        to.print(part)


def _process(running: bool, standing: Mapping[str, Any]) -> list[Text]:
    name, role = _plain(standing.get("name")), _plain(standing.get("role"))
    written = _ago(standing.get("written"))
    if not running:
        return [
            Text.assemble((f"{name} ({role}): not running", "bold red"), f"; this is how it stood {written}"),
        ]
    lines = [Text(f"{name} ({role}): running", style="bold green")]
    if role == "region":
        if standing.get("connected"):
            lines.append(Text(f"Connected to the aggregator, ready since {_when(standing.get('ready_since'))}"))
        else:
            lines.append(Text("Not connected to the aggregator", style="yellow"))
        if standing.get("trouble"):
            lines.append(Text(_plain(standing["trouble"]), style="yellow"))
        if standing.get("present"):
            lines.append(Text(f"Connected members: {', '.join(map(_plain, standing['present']))}"))
    if standing.get("notice"):
        lines.append(Text(_plain(standing["notice"]), style="yellow"))
    return lines


def _end(standing: Mapping[str, Any]) -> list[Text]:
    ends = standing.get("identity_ends")
    try:
        last = read_day(ends) if isinstance(ends, str) else None
    except RosterError:
        last = None
    words = warning(_plain(standing.get("name")), last, day(time.time()))
    return [Text(words, style="yellow")] if words else []


def _members(members: list[Mapping[str, Any]]) -> Table:
    table = _table("member", "connected", "since", "version")
    for member in members:
        connected = bool(member.get("connected"))
        table.add_row(
            Text(_plain(member["name"])),
            Text("yes", style="green") if connected else Text("no", style="yellow"),
            Text(_when(member.get("since")) if member.get("since") else ""),
            Text(_plain(member.get("package"))),
        )
    return table


def _plain_members(members: list[Mapping[str, Any]]) -> list[Text]:
    rows = [
        (
            _plain(member["name"]),
            "yes" if member.get("connected") else "no",
            _when(member.get("since")) if member.get("since") else "",
            _plain(member.get("package")),
        )
        for member in members
    ]
    return plain_rows([("member", "connected", "since", "version"), *rows])


def _studies(studies: list[Mapping[str, Any]]) -> Table:
    table = _table("study", "of", "phase", "waits for", "until")
    names = [_plain(study.get("name")) for study in studies]
    table.columns[0].no_wrap, table.columns[-1].no_wrap = max(map(len, names)) <= LONG_NAME, True
    for study, name in zip(studies, names, strict=True):
        table.add_row(
            Text(f"{name}\n{_plain(study['study'])[:16]}"),
            Text(_plain(study.get("analyst"))),
            Text(_phase(study)),
            Text(_waits_for(study), style="bold yellow" if study.get("state") == "pending" else ""),
            Text(_when(study.get("expires")).replace(" UTC", "\nUTC")),  # two lines, as the study has
        )
    return table


def _plain_studies(studies: list[Mapping[str, Any]]) -> list[Text]:
    rows = [
        (
            _plain(study.get("name")),
            _plain(study["study"])[:16],
            _plain(study.get("analyst")),
            _phase(study),
            _when(study.get("expires")),
            _waits_for(study),
        )
        for study in studies
    ]
    return plain_rows([("study", "hash", "of", "phase", "until", "waits for"), *rows])


def _phase(study: Mapping[str, Any]) -> str:
    number = study.get("round")
    return _plain(study.get("phase")) + (f", round {_plain(number)}" if number is not None else "")


def _waits_for(study: Mapping[str, Any]) -> str:
    if study.get("state") == "pending":
        return _STATES["pending"]
    return ", ".join(map(_plain, study.get("waiting_for", ())))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _plain(value: object) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in str(value or ""))


def _when(at: object) -> str:
    return local(at) if isinstance(at, int | float) else "?"


def _ago(at: object) -> str:
    if not isinstance(at, int | float):
        return "before"
    return f"at {local(at, seconds=True)}"
