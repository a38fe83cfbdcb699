"""`hefed transcript` and `hefed audit`: what a member kept of a study, signed; and what transcripts show to anybody."""

from pathlib import Path
from typing import Annotated

import typer

from hefed.cli.app import EXIT_FAILED, Home, app, mendable


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
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Transcripts, or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Verify transcripts of one or several parties, and say what was released to whom. Needs no secret.

    Exit code 0 only when every rule that can be checked from outside was kept.
    """
    import json

    from hefed.node.transcripts import opened
    from hefed.protocol.audit import audit as audit_of
    from hefed.report.audit import document, print_audit
    from hefed.report.table import console

    with mendable(), opened(paths) as transcripts, console(stderr=True).status("reading transcripts ..."):
        audits = audit_of(transcripts)
    if as_json:
        print(json.dumps(document(audits)))
    else:
        print_audit(audits, console())
    if any(one.findings for one in audits):
        raise typer.Exit(EXIT_FAILED)
