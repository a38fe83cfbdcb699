"""Transcripts: what a member kept of a study, written into a file that it signs; and the files of an audit.

Relies on `history` for reading a home's state while its process runs, and on `protocol.transcript` for the form.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hefed.node.errors import NodeError
from hefed.node.federation import shown
from hefed.node.files import new_file
from hefed.node.history import History
from hefed.node.home import Home
from hefed.protocol import messages as m
from hefed.protocol.errors import ProtocolError
from hefed.protocol.result_file import ResultReader
from hefed.protocol.roster import Roster
from hefed.protocol.transcript import Head, TranscriptReader, TranscriptWriter

SUFFIX = ".transcript"
RESULT = ".hefed"
FOLDER = "transcripts"
"""Where `hefed simulate` leaves one file a party."""

_BEGINNING = 512
_FORMAT = re.compile(rb"fformat.hefed/[0-9]{1,4} (transcript|result)")
"""The file's format in its first frame, as CBOR has it."""

Sign = Callable[[str, bytes], bytes]


def write_transcript(state: Path, head: Head, sign: Sign, to: Path) -> None:
    """Writes a new file with the record that the state in a folder has of a study.

    Raises NodeError when there is such a file, when nothing is kept of the study, or when the disk refuses.
    """
    try:
        with new_file(to) as file, History(state) as history, history.at_one_moment():
            writer, entries = TranscriptWriter(file, head), 0
            for entry in history.record(head.study):
                writer.add(entry.number, entry.at, m.read_message(entry.envelope, head.roster), entry.attachments)
                entries += 1
            for envelope in history.unrecorded(head.study):
                writer.add_unrecorded(envelope)
            writer.finish(sign)
            if not entries:
                raise NodeError(f"{shown(state)} keeps no message of that study any more, so there is no transcript")
    except ProtocolError as error:
        raise NodeError(f"{shown(state)} holds what is no record of that study: {error}") from error


def export(folder: Path, wanted: str, to: Path | None) -> Path:
    """Writes the transcript of a home's study, which is named by its name or the beginning of its hash; returns the
    file, in the folder of now unless given. Raises NodeError.
    """
    home = Home(folder)
    head = head_of(home, wanted)
    path = to or Path(f"{head.party}-{head.study.hex()[:8]}{SUFFIX}")
    write_transcript(folder, head, home.identity.sign_statement, path)
    return path


def head_of(home: Home, wanted: str) -> Head:
    """A home's study, named by its name or the beginning of its hash, and its roster. Raises NodeError."""
    in_force = home.in_force()
    with History(home.folder) as history:
        study = history.find(wanted).study
        invitation = next((entry.envelope for entry in history.record(study)), None)
    if in_force is None or invitation is None:
        raise NodeError(f"{shown(home.folder)} keeps no message of that study any more")
    roster = _roster_of(invitation, [in_force, *(signed.roster for signed in home.signed().values())])
    name = home.card().name
    listed = next((member.identity for member in roster.members if member.name == name), None)
    if listed != home.identity.signer.public:
        raise NodeError(
            f"{name} has other keys than in version {roster.version} of the roster, which the study was made under, so "
            "it can sign no file about it any more; such files are to be written before the roster with new keys is "
            "in force, and other members of the study can still write theirs"
        )
    return Head(name, study, roster)


def _roster_of(invitation: bytes, rosters: Sequence[Roster]) -> Roster:
    """The roster that an invitation was made under."""
    for roster in rosters:
        with suppress(ProtocolError):
            content = m.read_message(invitation, roster).content
            if isinstance(content, m.Invitation) and content.roster == roster.digest:
                return roster
    raise NodeError("the roster that the study was made under is not in this home; it was made before this home was")


def write_all(folder: Path, homes: Mapping[str, tuple[Path, Sign]], study: bytes, roster: Roster) -> None:
    """Writes the transcript of each party that knows of a study into a folder; those of an earlier study go.

    `homes` has the folder of each party's state, and what signs for it. Raises NodeError.
    """
    try:
        folder.mkdir(exist_ok=True)
        for old in folder.glob(f"*{SUFFIX}"):
            old.unlink()
    except OSError as error:
        raise NodeError(f"{shown(folder)} cannot be used: {_reason(error)}; mend that and run again") from error
    for name, (state, sign) in homes.items():
        with History(state) as history:
            known = any(True for _ in history.record(study))
        if known:
            write_transcript(state, Head(name, study, roster), sign, folder / f"{name}{SUFFIX}")


@dataclass(frozen=True)
class Opened:
    """A file to be audited, with its name for people: a transcript, or a result's file, which has a record too."""

    name: str
    file: BinaryIO
    reader: TranscriptReader


def kind_of(file: BinaryIO) -> str | None:
    """What a file begins as: a transcript, a result, or neither; whether it is a good one is not looked at."""
    found = _FORMAT.search(file.read(_BEGINNING))
    file.seek(0)
    return found[1].decode() if found else None


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[list[Opened]]:
    """The transcripts and results in these files and folders. Raises NodeError when there is none, or one that does not
    begin as it must.
    """
    with ExitStack() as stack:
        files = []
        for path in _files(paths):
            try:
                file = stack.enter_context(open(path, "rb"))
            except OSError as error:
                raise NodeError(f"{shown(path)} cannot be read: {_reason(error)}; check the name") from error
            what = kind_of(file)
            if what is None:
                raise NodeError(
                    f"{shown(path)} is no transcript and no result of hefed; name files that hefed transcript, "
                    f"result or publish wrote, which end in {SUFFIX} or {RESULT}"
                )
            try:
                reader = ResultReader(file) if what == "result" else TranscriptReader(file)
            except ProtocolError as error:
                raise NodeError(f"{shown(path)} is no {what}: {error}; ask for the file again") from error
            files.append(Opened(path.name, file, reader))
        yield files


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        patterns = f"*{SUFFIX}", f"{FOLDER}/*{SUFFIX}", f"*{RESULT}"
        there = [found for pattern in patterns for found in sorted(path.glob(pattern))]
        if not there:
            raise NodeError(
                f"no file in {shown(path)} ends in {SUFFIX} or {RESULT}; name transcripts, or a folder of them"
            )
        files += there
    return files


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()
