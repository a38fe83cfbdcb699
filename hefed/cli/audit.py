"""`hefed transcript`, `audit`, `result`, `publish`, `verify`: what a member kept of a study, signed, and what that
shows to anybody.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Annotated, BinaryIO

import typer

from hefed.cli.app import EXIT_FAILED, Home, app, mendable, program
from hefed.errors import InputError


@app.command()
def transcript(
    home: Home,
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Its name, or the first digits of its hash.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file; otherwise one named after both.")
    ] = None,
) -> None:
    """Write this home's record of a study into one file that it signs, for an audit. It holds no secret."""
    from hefed.node.transcripts import export

    with mendable():
        print(export(home, study, out))


@app.command()
def audit(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Transcripts and results, or folders of them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Verify transcripts of one or several parties, and say what was released to whom. Needs no secret.

    How many patients stand behind it is told where a result's file is among them.

    Exit code 0 only when every rule that can be checked from outside was kept.
    """
    import json

    from hefed.node.proof import audit as audit_of
    from hefed.node.transcripts import opened
    from hefed.report.audit import document, print_audit
    from hefed.report.table import console

    with mendable(), opened(paths) as files, console(stderr=True).status("reading transcripts ..."):
        audited = audit_of(files)
    if as_json:
        print(json.dumps(document(audited)))
    else:
        print_audit(audited, console())
    if any(one.findings for one in audited.studies):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def result(
    home: Home,
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Its name, or the first digits of its hash.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.hefed", help="A new file; otherwise one named after both.")
    ] = None,
) -> None:
    """Write a study's result into one file with the sums that it follows from. For a home that read them."""
    from hefed.node.federation import shown
    from hefed.node.proof import export_result

    with mendable():
        file = export_result(home, study, out)
    print(file)
    print(
        f"{shown(file)} holds the sums that were opened, which are for their readers only; to make one for others: "
        f"{program()} publish {quote(shown(file))} --home {quote(shown(home))} --out PUBLISHED.hefed",
        file=sys.stderr,
    )


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE.hefed", help="A result with its sums.")],
    home: Home,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.hefed", help="A new file.")],
) -> None:
    """Write a form of a result for everybody: hashes and signatures in the place of the sums."""
    from hefed.node.proof import NotProvedError
    from hefed.node.proof import publish as publish_to

    with mendable(), _result_file(file) as opened:
        try:
            publish_to(opened, home, out)
        except NotProvedError as error:
            raise InputError(f"{file} is not proved, so nothing is published: {error}") from error
    print(out)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE.hefed", help="A result, with its sums or published.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Say what a result's file proves, and what it leaves to the word of regions. Needs no data and no network.

    Exit code 0 only when the result is what its readers signed and follows as the file says.
    """
    import json

    from hefed.node.proof import NotProvedError
    from hefed.node.proof import verify as proof_of
    from hefed.report.proof import document, print_proof
    from hefed.report.table import console

    try:
        with _result_file(file) as opened, console(stderr=True).status("taking every step again ..."):
            proof = proof_of(opened)
    except NotProvedError as error:
        if as_json:
            print(json.dumps({"ok": False, "words": str(error)}))
        else:
            print(f"NOT PROVED: {error}")
        raise typer.Exit(EXIT_FAILED) from error
    if as_json:
        print(json.dumps(document(proof)))
    else:
        print_proof(proof, console())


@contextmanager
def _result_file(path: Path) -> Iterator[BinaryIO]:
    from hefed.node.federation import shown
    from hefed.node.transcripts import kind_of

    try:
        if path.suffix == ".json":
            raise InputError(f"{path} proves nothing; name the result's file beside it, which ends in .hefed")
        with path.open("rb") as file:
            match kind_of(file):
                case "transcript":
                    raise InputError(f"{shown(path)} is a transcript: hefed audit {quote(shown(path))}")
                case None:
                    raise InputError(
                        f"{shown(path)} is no result of hefed; name a file that hefed result or hefed publish wrote, "
                        "which ends in .hefed"
                    )
            yield file
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder; name the result's file in it, result.hefed") from error
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise InputError(f"{path} cannot be read: {reason}; check the name") from error
