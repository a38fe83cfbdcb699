"""The commands of hefed. Thin: they read options, call what does the work, and turn an error that a person can mend
into one sentence and exit code 2. At the top it imports only what `--help` needs; the rest comes with its command.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from hefed import __version__
from hefed.errors import InputError

if TYPE_CHECKING:
    from hefed.study import Study

EXIT_FAILED = 1
EXIT_INPUT = 2

app = typer.Typer(
    name="hefed",
    help="Regions fit one statistical model together, encrypted, on data that stays with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
federation_app = typer.Typer(
    help="Make, sign and change the roster of a federation, in files that the members send each other.",
    no_args_is_help=True,
)
app.add_typer(federation_app, name="federation")

Home = Annotated[Path, typer.Option("--home", help="Folder of this member: its identity, its card, its rosters.")]
RosterFile = Annotated[Path, typer.Argument(metavar="FILE.roster", help="The roster's file.")]


def main() -> None:
    """Runs the command line; an InputError becomes one sentence on standard error and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"hefed: {error}", file=sys.stderr)
        sys.exit(EXIT_INPUT)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hefed {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


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


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # as an exception, so that all parties are stopped on the way out


@contextmanager
def _mendable() -> Iterator[None]:
    """What is wrong with a file, a roster or this machine becomes an InputError."""
    from hefed.node.errors import NodeError
    from hefed.protocol.errors import ProtocolError

    try:
        yield
    except (NodeError, ProtocolError) as error:
        raise InputError(str(error)) from error


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What this member is called in the federation.")],
    home: Home,
) -> None:
    """Make the identity of a member, and its card to give to others."""
    from hefed.node.federation import shown
    from hefed.node.home import Home as MemberHome

    with _mendable():
        made = MemberHome.init(home, name)
        card = made.card()
    print(f"{shown(made.card_file(name))}: the card of {name}; give it to whoever makes the roster")
    print(f"Fingerprint of {name}, to be read aloud to the others over the telephone:")
    print(f"  {card.fingerprint}")


@federation_app.command("create")
def create(
    federation: Annotated[str, typer.Argument(metavar="FEDERATION", help="The federation's name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The roster's file to write.")],
    member: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CARD[:ROLE,ROLE]",
            help="A member's card and its roles: contributor,keyholder,reader unless said otherwise; a card called "
            "aggregator or analyst is that. With --from also the name of a member. Give it once for each.",
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Where the aggregator is dialled; once for each address."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=2, help="Least threshold of a study; 2 unless said otherwise.")
    ] = None,
    min_contributors: Annotated[
        int | None, typer.Option(min=3, help="Least min_contributors of a study; the threshold and one if not given.")
    ] = None,
    old: Annotated[
        Path | None, typer.Option("--from", metavar="OLD.roster", help="Make the next version of this roster.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --from: who is no longer a member.")
    ] = None,
) -> None:
    """Make a roster from the members' cards, for every member to sign with `join`."""
    from hefed.node.federation import changes, draft, load_roster, shown, write_new_roster
    from hefed.protocol.roster import SignedRoster
    from hefed.report.roster import print_changes, print_roster
    from hefed.report.table import console

    with _mendable():
        before = load_roster(old).roster if old else None
        roster = draft(
            federation,
            member or (),
            old=before,
            remove=remove or (),
            addresses=address or (),
            least_threshold=threshold,
            least_min_contributors=min_contributors,
        )
        signed = SignedRoster(roster, {})
        write_new_roster(output, signed)
    print_roster(signed, console())
    if before:
        print_changes(before, changes(before, roster), console())
    print(f"\nSend {shown(output)} to every member, to sign: hefed federation join {shown(output)} --home HOME")


@federation_app.command("join")
def join(
    file: RosterFile,
    home: Home,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking, for scripts.")] = False,
) -> None:
    """Look at a roster, sign it, and put it in force once every member has signed."""
    from hefed.node.federation import changes, load_roster, replace_durably, shown
    from hefed.node.home import Home as MemberHome
    from hefed.protocol.text import roster_text
    from hefed.report.roster import print_changes, print_roster
    from hefed.report.table import console

    with _mendable():
        member, signed = MemberHome(home), load_roster(file)
        roster = signed.roster
        member.check(roster)
        print_roster(signed, console())
        force = member.in_force()
        if force and force != roster:
            print_changes(force, changes(force, roster), console())
        me = member.me(roster).name
        if not (yes or member.has_signed(roster)):
            _confirm(f"Have you compared the fingerprint of the whole roster with the others? Sign as {me}?")
        if not (member.has_signed(roster) and me in signed.signatures):
            signed = member.sign(signed)
            replace_durably(file, roster_text(signed).encode())
            print(f"\n{shown(file)}: now with the signature of {me}")
        if signed.missing:
            print(f"Send it back, to be united with those of {', '.join(signed.missing)}: hefed federation merge")
            return
        member.install(signed)
    print(f"Every member has signed: version {roster.version} of {roster.federation} is in force in {shown(home)}")


def _confirm(question: str) -> None:
    print(f"\n{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        print()
        raise InputError("not confirmed, so nothing was signed; answer y, or add --yes in a script")


@federation_app.command("merge")
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="A.roster B.roster ...", help="Copies that members signed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
) -> None:
    """Unite the signatures of copies of one roster."""
    from hefed.node.federation import shown, unite, write_new_roster

    with _mendable():
        signed = unite(files)
        write_new_roster(output, signed)
    if signed.missing:
        print(f"{shown(output)}: still without {', '.join(signed.missing)}")
    else:
        print(f"{shown(output)}: every member has signed; each puts it in force with hefed federation join")


@federation_app.command("show")
def show(file: RosterFile) -> None:
    """Say what a roster says, and who signed it."""
    from hefed.node.federation import load_roster
    from hefed.report.roster import print_roster
    from hefed.report.table import console

    with _mendable():
        signed = load_roster(file)
    print_roster(signed, console())
