"""What left a home, on the screen: a table on a terminal, a line for each message in a pipe, or JSON.

Relies on rich. Times are local on the screen, with the zone in the heading, and UTC in JSON.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.report.times import local

_TIME = "%Y-%m-%d %H:%M:%S"
Certainty = Literal["left", "by", "not yet"]


@dataclass(frozen=True)
class LogLine:
    """A message that left, or the end of a study. `at` is seconds since 1970, None while a message has not left."""

    event: Literal["sent", "ended"]
    at: float | None
    certainty: Certainty
    """`left` at that time; `by` then at the latest; or `not yet`."""
    what: str
    kind: str = ""
    to: str = ""
    sealed_to: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True)
class LogSection:
    """One study with its lines. Times are seconds since 1970."""

    study: bytes
    name: str
    analyst: str
    began: float | None
    approval: str
    lines: tuple[LogLine, ...]
    way: str = ""
    """How all of it went."""
    note: str = ""
    """What a reader must know about the completeness of the lines."""


def print_log(sections: Sequence[LogSection], to: Console, since: float | None = None) -> None:
    """Prints a heading for each study and its lines; `since` is the time, if one was given, that they begin with."""
    if not sections:
        when = "" if since is None else f" since {local(since, seconds=True)}"
        to.print(Text(f"Nothing has left this home{when}."))
        return
    zone = datetime.now().astimezone().strftime("%z")
    to.print(Text(f"Times are local, UTC{zone[:3]}:{zone[3:5]}."))
    for section in sections:
        to.print()
        title, *about = _heading(section)
        to.print(Text(title, style="bold"))
        for words in about:
            to.print(Text(words), soft_wrap=True)
        to.print()
        if to.is_terminal:
            to.print(_table(section.lines))
        else:
            for line in section.lines:
                _print_plain(line, to)
        if section.note:
            to.print(Text(section.note))


def json_lines(sections: Iterable[LogSection]) -> Iterable[str]:
    """One JSON object a message or end."""
    for section in sections:
        for line in section.lines:
            yield json.dumps(
                {
                    "event": line.event,
                    "at": None if line.at is None else datetime.fromtimestamp(line.at, UTC).isoformat(),
                    "certainty": line.certainty,
                    "study": section.study.hex(),
                    "name": section.name,
                    "analyst": section.analyst,
                    "approval": section.approval,
                    "kind": line.kind,
                    "what": line.what,
                    "to": line.to,
                    "sealed_to": list(line.sealed_to),
                    "bytes": line.size,
                },
                ensure_ascii=False,
            )


def size_text(size: int) -> str:
    """`812 B`, `4.2 kB`, `35.1 MB`."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def _heading(section: LogSection) -> list[str]:
    began = f", began {_time(section.began)}" if section.began is not None else ""
    return [
        f"Study {section.name} ({section.study.hex()[:8]})",
        f"asked for by {section.analyst}{began}",
        f"approval: {section.approval}",
        *([section.way] if section.way else []),
    ]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime(_TIME)


def _when(line: LogLine) -> str:
    if line.at is None:
        return "not yet"
    return _time(line.at) if line.certainty == "left" else f"by {_time(line.at)}"


def _table(lines: Iterable[LogLine]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("left at", no_wrap=True)
    table.add_column("what", overflow="fold", ratio=3)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("to", overflow="fold", ratio=2)
    for line in lines:
        if line.event == "ended":
            table.add_row(_when(line), Text(line.what, style="bold"), "", "")
        else:
            table.add_row(_when(line), Text(line.what), size_text(line.size), Text(line.to))
    return table


def _to(line: LogLine) -> str:
    return line.to if line.sealed_to else f"to {line.to}"


def _print_plain(line: LogLine, to: Console) -> None:
    words = line.what if line.event == "ended" else f"{line.what}; {size_text(line.size)}; {_to(line)}"
    to.print(Text(f"{_when(line):<19}  {words}"), soft_wrap=True)
