"""A result that shows what it follows from: written by a reader, verified by anybody, published without the sums.

It stands above protocol and statistics, which do not know each other: to verify is to follow the record by the rules of
the protocol, and to take every step of the model again from the opened sums. Needs no secret and no patient's data.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import numpy as np

import hefed
from hefed.crypto.errors import CryptoError
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.opening import Opening
from hefed.node.errors import NodeError
from hefed.node.federation import shown
from hefed.node.files import new_file
from hefed.node.following import coefficients
from hefed.node.history import History
from hefed.node.home import Home
from hefed.node.transcripts import RESULT as SUFFIX
from hefed.node.transcripts import Opened, Sign, head_of
from hefed.node.work import ModelWork, fit_of, result_line
from hefed.protocol import audit as protocol_audit
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import ProtocolError
from hefed.protocol.opened import (
    OpenedRounds,
    decision_salt,
    joined_decisions,
    round_digest,
    verified_checks,
)
from hefed.protocol.ports import DeclinedError, Finding
from hefed.protocol.record import RoundRecord
from hefed.protocol.result_file import ResultReader, ResultWriter
from hefed.protocol.transcript import Head
from hefed.statistics.columns import Means

PACKAGES = ("cryptography", "numba", "numpy", "tenseal")


class NotKeptError(NodeError):
    """A home that does not have the sums of a study."""


class NotProvedError(Exception):
    """A result that does not follow from what is in its file; the words name whose message or file is at fault."""


@dataclass(frozen=True)
class Counts:
    """Of all regions together."""

    patients: int
    events: int


@dataclass
class Proof:
    """What a result's file shows. `taken` is what it leaves to the word of regions; `counts` is None where the file
    does not tell.
    """

    reader: ResultReader
    board: Board
    counts: Counts | None
    proved: list[str]
    taken: list[str]


def verify(file: BinaryIO) -> Proof:
    """What the result in a file proves. Raises NotProvedError."""
    try:
        reader = ResultReader(file)
        board, sums = _followed(reader)
        counts = (_verify_full if reader.is_full else _verify_published)(reader, board, sums)
    except (ProtocolError, CryptoError, DeclinedError) as error:
        raise NotProvedError(str(error)) from error
    return Proof(reader, board, counts, _proved(reader, board), _taken(reader, board))


@dataclass(frozen=True)
class Audited:
    """An audit, and by study what a result's file among the audited ones proves."""

    studies: list[protocol_audit.StudyAudit]
    proofs: dict[bytes, tuple[str, Proof]]
    """With the file's name; of several files one that tells how many patients there are, if any does."""


def audit(files: Sequence[Opened]) -> Audited:
    """The audit of transcripts, with the results' files among them verified; one that is not proved is a finding."""
    files = _told_apart(files)
    found = Audited(protocol_audit.audit((one.name, one.reader) for one in files), {})
    by_study = {one.study: one for one in found.studies}
    for one in files:
        if not isinstance(one.reader, ResultReader):
            continue
        study = by_study[one.reader.head.study]
        one.file.seek(0)
        try:
            proof = verify(one.file)
        except NotProvedError as error:
            if not any(replayed.findings for replayed in study.replayed if replayed.reader is one.reader):
                words = f"this result is not proved: {error}"
                study.findings.append(protocol_audit.Finding("result", one.reader.head.party, one.name, words))
            continue
        known = found.proofs.get(study.study)
        if known is None or known[1].counts is None:
            found.proofs[study.study] = one.name, proof
    return found


def _told_apart(files: Sequence[Opened]) -> list[Opened]:
    """The files, those of one name with their paths."""
    times = Counter(one.name for one in files)
    return [one if times[one.name] == 1 else replace(one, name=shown(Path(one.file.name))) for one in files]


Sums = Mapping[int, Sequence[bytes]]
"""By round the attachments of its sum: the sum, and the contributions of those who signed no check value."""


def _followed(reader: ResultReader) -> tuple[Board, Sums]:
    """The record, by the rules of the protocol, to an end that all readers signed; and its sums."""
    board, sums = Board(reader.head.roster, reader.head.study), {}
    for recorded in reader:
        board.post(recorded.message)
        if isinstance(recorded.message.content, m.Sum):
            attachments = [reader.attachment(recorded, i) for i in range(len(recorded.places))]
            kept = [data for data in attachments if data is not None]
            sums[recorded.message.content.round] = kept if len(kept) == len(attachments) else []
    _require_closed(board)
    if not sums or (reader.is_full and len(reader.opened) != len(sums)) or not all(sums.values()):
        raise NotProvedError(f"{len(sums)} sums were given to readers, and the file does not have all of them")
    if board.outcome is None or reader.outcome != board.outcome.how:
        raise NotProvedError("the file says that it has a result where the readers signed an error, or the reverse")
    return board, sums


def _require_closed(board: Board) -> None:
    if board.outcome is None or board.outcome.how not in ("result", "error"):
        raise NotProvedError("the readers have not closed this study, so there is no result that all of them signed")


@dataclass(frozen=True)
class _Again:
    """What comes of a study's opened sums."""

    finding: Finding
    counts: Counts | None
    decided: bytes
    last: bytes
    decisions: bytes


def _taken_again(board: Board, sums: Sums, opened: Sequence[bytes]) -> _Again:
    """Every step once more, from the opened sums: labels, V, decisions and result. Raises NotProvedError."""
    work = ModelWork("whoever verifies", board, None)
    rounds, counts = OpenedRounds("whoever verifies", board, work), None
    for record, packed in zip(board.rounds, opened, strict=False):
        label = rounds.label()
        if label.digest != record.first.label:
            raise NotProvedError(
                f"round {record.number} was made for another label than follows from the sums before it: these are not "
                "the sums that were opened"
            )
        opening = Opening(board.precision, label)
        values = rounds.decoded(opening.open_again(packed), label)
        if label.purpose == Means.purpose:
            counts = Counts(*np.rint(values[:2]).astype(int).tolist())
        rounds.go_on(record, label, values, opening.digest, _checks(board, record, sums))
    if work.vector() is not None:
        raise NotProvedError("with these sums the model is not finished")
    return _Again(work.finding(), counts, rounds.decided, rounds.previous, rounds.decisions_digest())


def _checks(board: Board, record: RoundRecord, sums: Sums) -> list[bytes]:
    total, *gone = sums[record.number]
    return verified_checks(board.profile, record, total, gone)


def _verify_full(reader: ResultReader, board: Board, sums: Sums) -> Counts | None:
    again = _taken_again(board, sums, reader.opened)
    _compare(board, again.last, again.decisions)
    if codec.encode(again.finding.document) != codec.encode(reader.document):
        raise NotProvedError("the sums lead to another result than the file's")
    if again.decided != reader.decided:
        raise NotProvedError("the file's hash of the earlier decisions is not theirs")
    return again.counts


def _verify_published(reader: ResultReader, board: Board, sums: Sums) -> Counts | None:
    """The last V and the hash of the decisions, from the hash of the last sum; every sum by its check values."""
    opened = reader.hashed or b""
    checks = [_checks(board, record, sums) for record in board.rounds[: len(sums)]]
    last = round_digest(board.rounds[len(sums) - 1], checks[-1], opened)
    _compare(board, last, joined_decisions(reader.decided, decision_salt(opened), _last_decision(reader, board)))
    return Counts(reader.document["n"], reader.document["events"]) if reader.outcome == "result" else None


def _last_decision(reader: ResultReader, board: Board) -> str:
    """The last decision that a document stands for, if that says just what a study can find."""
    document = reader.document
    if reader.outcome == "error" and set(document) == {"words"}:
        return f"error: {document['words']}"
    try:
        fit = fit_of(document)
    except TypeError as error:
        raise NotProvedError("the file's result does not have the form of one") from error
    if fit.names != coefficients(board.study) or not fit.converged:
        raise NotProvedError("the file's result has coefficients of another model, or did not converge")
    return result_line(fit)


def _compare(board: Board, last: bytes, decisions: bytes) -> None:
    closing = next(iter(board.closings.values()))  # all are alike, or the board would have refused
    if last != closing.last:
        raise NotProvedError("the readers signed other sums than the file's")
    if decisions != closing.decisions:
        raise NotProvedError("the readers signed another result than the file's, or another way to it")


def _proved(reader: ResultReader, board: Board) -> list[str]:
    approved = board.dealing.approvals if board.dealing else board.approvals
    proved = [
        f"{_names(approved)} approved the study and took part in it: their signatures are in the file",
        f"each sum is that of the contributions which {_names(board.study.contributors)} signed, by check values that "
        "they signed too",
        f"{_names(board.closings)} signed this {reader.outcome}, to the last bit",
    ]
    if reader.is_full:
        proved.append(f"the {reader.outcome} follows from the sums: every step was taken again here")
    return proved


def _taken(reader: ResultReader, board: Board) -> list[str]:
    taken = [
        f"no contributor helped {reader.head.roster.aggregator.name} to hide an altered sum: an audit of its "
        "transcript shows that",
        "each region's numbers are those of its patients: on that region's word",
        "the keys are these members': compare the roster's fingerprint with them",
        f"what was opened is what the encrypted sums hold: on the word of {_names(board.closings)}, who opened them",
    ]
    alone = [record.number for record in board.rounds if record.sum is not None and not _confirmed(board, record)]
    if alone:
        taken.append(
            f"in rounds {', '.join(map(str, alone))} a single keyholder could have shifted the sum: too few answered "
            "to confirm each other"
        )
    if not reader.is_full:
        taken.insert(
            0,
            f"the {reader.outcome} follows from the sums: on the word of each of {_names(board.closings)}, since the "
            "file does not have the sums",
        )
    return taken


def _confirmed(board: Board, record: RoundRecord) -> bool:
    """Whether `threshold` holders of every share answered."""
    answered = {board.dealt_keyholders.index(name) for name in record.answers}
    return all(len(answered - set(subset)) >= board.threshold for subset in board.subsets)


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


# --- Writing --------------------------------------------------------------------------------------


def write_result_file(state: Path, head: Head, sign: Sign, to: Path) -> None:
    """Writes the full form of a study's result, from the state of one of its readers, which takes every step again.

    Raises NodeError when there is no result, when the sums are not kept there, or for the disk.
    """
    board, entries, sums = Board(head.roster, head.study), [], {}
    with History(state) as history:
        opened = history.opened(head.study)
        try:
            for entry in history.record(head.study):
                message = m.read_message(entry.envelope, head.roster)
                board.post(message)
                is_sum = isinstance(message.content, m.Sum)
                entries.append((entry.number, entry.at, message, entry.attachments if is_sum else ()))
                if isinstance(message.content, m.Sum):
                    sums[message.content.round] = entry.attachments
            _require_closed(board)
            if len(opened) != len(sums) or not all(sums.values()):
                raise NotKeptError(
                    f"{shown(state)} does not keep the sums of that study: it was no reader, they were longer than "
                    "16 MB, or their time is over"
                )
            again = _taken_again(board, sums, opened)
        except (ProtocolError, CryptoError, NotProvedError) as error:
            raise NodeError(f"there is no result of that study in {shown(state)}: {error}") from error
    with new_file(to, private=True) as file:
        writer = ResultWriter(file, head)
        for one in entries:
            writer.add(*one)
        for number, packed in enumerate(opened):
            writer.add_opened(number, packed)
        writer.add_found(again.finding.outcome, again.finding.document, again.decided, versions())
        writer.finish(sign)


def export_result(folder: Path, wanted: str, to: Path | None) -> Path:
    """Writes the result of a home's study, which is named by its name or the beginning of its hash; returns the file,
    in the folder of now unless given. Raises NodeError.
    """
    home = Home(folder)
    head = head_of(home, wanted)
    path = to or Path(f"{head.party}-{head.study.hex()[:8]}{SUFFIX}")
    write_result_file(folder, head, home.identity.sign_statement, path)
    return path


def publish(file: BinaryIO, folder: Path, to: Path) -> None:
    """Writes the published form of a full one, once that is verified, signed by the member at home there.

    Raises NotProvedError, or NodeError.
    """
    proof, home = verify(file), Home(folder)
    reader, name = proof.reader, home.card().name
    if not reader.is_full:
        raise NodeError("this is the published form already; publish from the full one")
    if reader.head.roster.member(name).identity != home.identity.signer.public:
        raise NodeError(f"{shown(folder)} is not the home of {name} in the roster that the study was made under")
    file.seek(0)
    again = ResultReader(file)
    with new_file(to) as out:
        writer = ResultWriter(out, Head(name, reader.head.study, reader.head.roster))
        for recorded in again:
            attachments = [again.attachment(recorded, i) for i in range(len(recorded.places))]
            writer.add(
                recorded.number, recorded.at, recorded.message, [data for data in attachments if data is not None]
            )
        writer.add_hashed(tagged_hash("opened", reader.opened[-1]))
        writer.add_found(reader.outcome or "", reader.document, reader.decided, reader.versions)
        writer.finish(home.identity.sign_statement)


def versions() -> dict[str, str]:
    """What took the steps."""
    return {"hefed": hefed.__version__, **{name: version(name) for name in PACKAGES}}
