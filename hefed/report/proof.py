"""What a result's file proves, in words and for programs. Relies on `node.proof` for what is so."""

from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from hefed.protocol.board import Board
from hefed.protocol.messages import printable
from hefed.protocol.result_file import ResultReader
from hefed.report.table import describe_model


class Proof(Protocol):
    """See `hefed.node.proof.Proof`."""

    @property
    def reader(self) -> ResultReader: ...
    @property
    def board(self) -> Board: ...
    @property
    def proved(self) -> list[str]: ...
    @property
    def taken(self) -> list[str]: ...


def print_proof(proof: Proof, to: Console) -> None:
    """The study, its coefficients, what is proved and what is not."""
    study, reader = proof.board.study, proof.reader
    form = "with its sums" if reader.is_full else "published"
    to.print(Text(f"{study.id} ({proof.board.study_digest.hex()[:8]})", style="bold"))
    to.print(Text(f"{study.purpose} ({describe_model(study)})"))
    for line in _found(reader):
        to.print(Text(line))
    to.print()
    to.print(Text(f"Proved by this file ({form}, signed by {reader.head.party}):", style="bold"))
    for words in proof.proved:
        to.print(Text(f"- {words}"))
    to.print(Text("Not proved by it:", style="bold"))
    for words in proof.taken:
        to.print(Text(f"- {words}"))
    roster = reader.head.roster
    to.print(Text(f"Roster of {roster.federation}, version {roster.version}: {roster.fingerprint}"))
    to.print(
        Text(
            "Written with "
            + printable(", ".join(f"{name} {number}" for name, number in sorted(reader.versions.items())))
        )
    )


def _found(reader: ResultReader) -> list[str]:
    document = reader.document
    if reader.outcome == "error":
        return [printable(f"error: {document.get('words')}")]
    columns = zip(document["names"], document["estimate"], document["std_error"], strict=True)
    width = max(map(len, document["names"]))
    return [
        f"n = {document['n']}, events = {document['events']}",
        *(printable(f"{name:{width}}  {estimate: .6g}  (SE {error:.3g})") for name, estimate, error in columns),
    ]


def document(proof: Proof) -> dict[str, Any]:
    """The same for programs."""
    board, reader = proof.board, proof.reader
    return {
        "ok": True,
        "study": board.study_digest.hex(),
        "name": board.study.id,
        "form": "full" if reader.is_full else "published",
        "signed_by": reader.head.party,
        "roster": reader.head.roster.fingerprint,
        "regions": list(board.study.contributors),
        "readers": sorted(board.closings),
        "outcome": reader.outcome,
        "finding": reader.document,
        "proved": proof.proved,
        "not_proved": proof.taken,
        "versions": reader.versions,
    }
