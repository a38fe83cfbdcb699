"""`hefed log` and `hefed backup`: what left a home, and what of it to keep safe."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hefed.cli.app import Home, app, mendable
from hefed.errors import InputError


@app.command()
def log(
    home: Home,
    study: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Only this study: its name, or the first digits of its hash.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only what left since then: 2026-11-26, or 2026-11-26T14:30.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, times in UTC.")] = False,
) -> None:
    """Say what left this home, when, to whom, under which study and approval."""
    from hefed.node.history import History, log_sections, names
    from hefed.report.log import json_lines, print_log
    from hefed.report.table import console

    start = _time(since) if since is not None else None
    with mendable():
        aggregator, own_name = names(home)
        with History(home) as history:
            sections = log_sections(history, aggregator=aggregator, own_name=own_name, study=study, since=start)
    if as_json:
        for line in json_lines(sections):
            sys.stdout.write(line + "\n")
    else:
        print_log(sections, console(), start)


def _time(words: str) -> float:
    from hefed.wording import quoted

    try:
        return datetime.fromisoformat(words).timestamp()  # local, unless it says another zone
    except (ValueError, OverflowError, OSError):
        raise InputError(f"--since {quoted(words)} is no date; write it as 2026-11-26 or 2026-11-26T14:30") from None


@app.command()
def backup(
    home: Home,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE.tar", help="Write a new file for its owner only, to keep safe.")
    ] = None,
) -> None:
    """Say what of this home to save, and what never to save or put back; with --to, save it."""
    from hefed.node.backup import describe, write
    from hefed.node.home import Home as MemberHome
    from hefed.report.backup import print_backup, print_written
    from hefed.report.table import console

    with mendable():
        items = describe(MemberHome(home))
        if to is not None:
            write(home, items, to)
    print_backup(items, home, console())
    if to is not None:
        print_written(to, home, console())
