"""What all commands share: the application, the options that many have, and how an error reaches a person.

An error that a person can mend becomes one sentence on standard error and exit code 2. It imports only what `--help`
needs.
"""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hefed import __version__
from hefed.errors import InputError

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_STOPPED = 130

app = typer.Typer(
    name="hefed",
    help="Regions fit one statistical model together, encrypted, on data that stays with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Home = Annotated[Path, typer.Option("--home", help="Folder of this member: its identity, its card, its rosters.")]


def main() -> None:
    """Runs the command line; an InputError becomes one sentence on standard error and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"hefed: {error}", file=sys.stderr)
        sys.exit(EXIT_INPUT)


def program() -> str:
    """What a person types for this program: its name, or where it lies if the shell does not find it by that."""
    typed = Path(sys.argv[0])
    if typed.name != app.info.name:
        return str(app.info.name)
    found = shutil.which(typed.name)
    return typed.name if found and Path(found).resolve() == typed.resolve() else shlex.quote(str(typed))


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


@contextmanager
def mendable() -> Iterator[None]:
    """What is wrong with a file, a roster or this machine becomes an InputError."""
    from hefed.node.errors import NodeError
    from hefed.protocol.errors import ProtocolError

    try:
        yield
    except (NodeError, ProtocolError) as error:
        raise InputError(str(error)) from error


def confirm(question: str, undone: str) -> None:
    """Asks a person; raises InputError, saying what was not done, unless the answer is yes."""
    print(f"\n{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        print()
        raise InputError(f"not confirmed, so {undone}; answer y, or add --yes in a script")
