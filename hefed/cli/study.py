"""`hefed new-study` and `hefed simulate`: a study on this machine."""

import resource
import signal
import sys
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from hefed.cli.app import EXIT_FAILED, EXIT_INPUT, EXIT_STOPPED, Home, app, mendable, program
from hefed.errors import InputError

if TYPE_CHECKING:
    from hefed.study import Study


@app.command("new-study")
def new_study(
    tables: Annotated[list[Path], typer.Argument(metavar="A.csv B.csv C.csv", help="One table for each region.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The study file to write.")] = Path("study.toml"),
) -> None:
    """Write a commented study file from the columns of the regions' tables, ready to simulate."""
    from hefed.data.draft_file import draft_study
    from hefed.study import Study

    text = draft_study(tables, output)
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{output}: is there already; name another file with -o") from None
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {(error.strerror or 'unknown reason').lower()}") from None
    study = Study.load(output)
    response = ", ".join(study.model.responses)
    print(f"{output}: {study.model.kind} model of {response} on {', '.join(study.model.covariates)}")
    print(f"Look at it, then: hefed simulate {output} --out run")


@app.command()
def simulate(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the result and the processes' state.")] = None,
    compare: Annotated[Path | None, typer.Option("--compare", help="Pooled answers to set beside the result.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port of the aggregator; 0 takes a free one.")] = 0,
    check: Annotated[bool, typer.Option("--check", help="Only say what is right and wrong with the study.")] = False,
) -> None:
    """Run a study on this machine: an aggregator, and a process for each region with its own table."""
    from hefed.data.check import check_tables
    from hefed.node.work import fault
    from hefed.study import Study

    study = Study.load(study_file)
    elsewhere = [name for name in study.contributors if name not in study.tables]
    if elsewhere:
        raise InputError(
            f"{study_file}: simulate needs the tables of all regions on this machine; "
            f'add data = "FILE.csv" to [regions.{elsewhere[0]}], or submit the study: hefed submit'
        )
    findings = check_tables(study, fault)
    if check:
        from hefed.report.checked import print_check
        from hefed.report.table import console

        print_check(study, findings, console())
    faults = [finding.fault for finding in findings if finding.fault]
    if faults:
        raise InputError("\nhefed: ".join(faults))
    if check:
        return
    if out is None:
        raise InputError("simulate needs a folder for the result; add --out FOLDER")
    _run(study, out, port, compare)


def _run(study: "Study", out: Path, port: int, compare: Path | None) -> None:
    from hefed.node.errors import NodeError, StudyFailedError
    from hefed.node.simulate import run
    from hefed.report.comparison import compare as beside
    from hefed.report.comparison import load_pooled, print_comparison
    from hefed.report.progress import Progress
    from hefed.report.table import console, print_result

    pooled = load_pooled(compare, study) if compare else None  # before the run: a wrong file costs nothing
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        with Progress(console(stderr=True)) as progress:
            document = run(study, out, progress, port=port)
    except NodeError as error:
        raise InputError(str(error)) from error
    except StudyFailedError as error:
        print(f"hefed: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_INPUT if error.refused else EXIT_FAILED) from error
    print_result(document, study, console())
    if pooled is not None:
        print_comparison(beside(document, pooled), console())
    print("\n" + "\n".join(next_commands(out, program())))


def next_commands(out: Path, typed: str) -> list[str]:
    """What a person can do with what a simulation left in `out`, as lines for a shell; `typed` is the program."""
    from hefed.node.federation import shown
    from hefed.node.simulate import PROOF

    commands = [(f"{typed} audit {quote(shown(out))}", "whether all kept to the rules, and what was released to whom")]
    if (out / PROOF).exists():
        proves = "that the result follows from the sums that were opened"
        commands.append((f"{typed} verify {quote(shown(out / PROOF))}", proves))
    width = max(len(command) for command, _ in commands)
    lines = [f"{command:{width}}  # {what}" for command, what in commands]
    return ["What anybody can see of it now, without a secret:", *lines]


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # as an exception, so that all parties are stopped on the way out


@app.command()
def submit(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    home: Home,
    out: Annotated[Path, typer.Option("--out", help="Folder for the result; the same command there goes on.")],
) -> None:
    """Ask the regions for a study, follow it, and get its result; started again, it goes on where it was."""
    from hefed.node.errors import StudyFailedError
    from hefed.node.operate import standing
    from hefed.node.submit import Analyst, submit
    from hefed.report.progress import Progress
    from hefed.report.table import console, print_result
    from hefed.study import Study

    study = Study.load(study_file)
    if study.only_here:
        where = ", ".join(f"[regions.{name}]" for name in study.only_here)
        raise InputError(
            f"{study_file}: data in {where} is for hefed simulate, and a region that is asked gives the table that its "
            "own settings name; write contributes = true in its place, or beside it to simulate with the same file"
        )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the key that opens the result
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        with mendable():
            member = standing(home, "analyst")
            proxy, limits = member.settings.network.proxy, member.settings.limits
            analyst = Analyst(member.me.name, member.home.identity, member.roster, member.addresses, proxy, limits)
            with Progress(console(stderr=True)) as progress:
                document = submit(study, analyst, out, progress)
    except StudyFailedError as error:
        print(f"hefed: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_INPUT if error.refused else EXIT_FAILED) from error
    except KeyboardInterrupt:
        print("hefed: the study goes on without you; the same command follows it again", file=sys.stderr)
        raise typer.Exit(EXIT_STOPPED) from None
    print_result(document, study, console())
