"""`hefed aggregator`, `hefed node`, `hefed status`: the processes of a federation, and how they stand."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hefed.cli.app import EXIT_FAILED, EXIT_INPUT, Home, app, mendable
from hefed.errors import InputError

if TYPE_CHECKING:
    from hefed.node.operate import Standing


@contextmanager
def _serving(member: "Standing") -> Iterator[None]:
    """A process that serves. What stops it then (a disk, a port) may pass: it ends with EXIT_FAILED, so that whoever
    watches over it starts it again; a home or settings that cannot be used end with EXIT_INPUT before.
    """
    from hefed.node import logs
    from hefed.node.errors import NodeError

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys
    logs.configure(json=member.settings.operation.log == "json")
    try:
        yield
    except NodeError as error:
        logging.getLogger("hefed").critical("%s", error)
        raise typer.Exit(EXIT_FAILED) from error


@app.command()
def aggregator(home: Home) -> None:
    """Run the federation's aggregator until it is stopped."""
    from hefed.node.lifeline import Lifeline
    from hefed.node.operate import run_aggregator, standing

    with mendable():
        member = standing(home, "aggregator")
    with _serving(member):
        run_aggregator(member, Lifeline(follow_stdin=False))
    logging.getLogger("hefed").info("stopped")


@app.command()
def node(
    home: Home,
    check: Annotated[bool, typer.Option("--check", help="Only say what works and what does not, and why.")] = False,
    study: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY.toml", help="With --check: try the table against this one.")
    ] = None,
) -> None:
    """Run a region's node until it is stopped; "ready" means that the aggregator has greeted it."""
    from hefed.node.lifeline import Lifeline
    from hefed.node.operate import run_node, standing

    if check:
        _check(home, study)
        return
    if study is not None:
        raise InputError("--study goes with --check: hefed node --check --study STUDY.toml; add that, or leave it out")
    with mendable():
        member = standing(home, "contributor", "keyholder", "reader")
    with _serving(member):
        run_node(member, Lifeline(follow_stdin=False))
    logging.getLogger("hefed").info("stopped")


def _check(home: Path, study: Path | None) -> None:
    from hefed.node.check import ask_first, check_home
    from hefed.report.checked import print_findings
    from hefed.report.table import console

    with mendable():
        ask_first(home)
    with console(stderr=True).status("") as waiting:
        checked = check_home(home, study, lambda what: waiting.update(f"trying {what} ..."))
    print_findings(checked.findings, None if checked.running else checked.start, console())
    if not checked.ok:
        raise typer.Exit(EXIT_INPUT)


@app.command()
def status(
    home: Home,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Say who is connected, which studies are in which phase, and what each waits for."""
    import json

    from hefed.node.status import read_status
    from hefed.report.status import print_status
    from hefed.report.table import console

    with mendable():
        found = read_status(home)
    if as_json:
        print(json.dumps({"running": found.running, **found.standing}))
    else:
        print_status(found.running, found.standing, console())
