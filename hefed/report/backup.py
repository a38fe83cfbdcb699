"""What to save of a home and what never to, on the screen, and how to restore it. Relies on rich."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.report.table import folds, plain_rows
from hefed.wording import counted


class Item(Protocol):
    """A part of a home."""

    @property
    def name(self) -> str: ...
    @property
    def keep(self) -> bool: ...
    @property
    def files(self) -> Sequence[Path]: ...
    @property
    def why(self) -> str: ...


def print_backup(items: Iterable[Item], home: Path, to: Console) -> None:
    """Prints what to save and what never to save or put back."""
    both = list(items)
    for keep, heading in ((True, "Save:"), (False, "Never save, and never put back:")):
        to.print(Text(heading, style="bold"))
        _print_items([item for item in both if item.keep is keep], to)
        to.print()
    to.print(
        Text(
            "The same goes for copies of the whole machine: leave out what must not be saved, or never go back to a "
            "copy that is older than a study that runs."
        )
    )


def print_written(file: Path, home: Path, to: Console) -> None:
    """Says what the file is, and how to restore from it."""
    to.print()
    to.print(
        Text(
            f"{_shown(file)} is written. It holds the identity: whoever has it can pose as this member. Keep it "
            "encrypted, off this machine, with as few people as possible."
        ),
        soft_wrap=True,
    )
    to.print()
    to.print(Text("To restore, on a machine on which nothing of this member runs:", style="bold"))
    new = shlex.quote(_shown(home))
    for number, step in enumerate(
        (
            "See to it that the old machine is off for good: one identity, one node.",
            f"mkdir -m 700 {new} && tar -xpf {shlex.quote(_shown(file.resolve()))} -C {new}",
            f"hefed federation join NEWEST.roster --home {new}   (if there is a newer roster by now)",
            f"hefed node --check --home {new}, then start the node.",
        ),
        1,
    ):
        to.print(Text(f"  {number}. {step}"), soft_wrap=True)
    to.print(
        Text(
            "Studies that ran when the state was lost cannot go on with this region: their keys are gone. Its node "
            "refuses them as soon as it is greeted; ask their analysts to submit them anew."
        )
    )


def _print_items(items: Sequence[Item], to: Console) -> None:
    rows = [(item.name, counted(len(item.files), "file") if item.files else "none", item.why) for item in items]
    if not folds(to):
        for line in plain_rows(rows):
            to.print(line)
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    to.print(table)


def _shown(path: Path) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in str(path))
