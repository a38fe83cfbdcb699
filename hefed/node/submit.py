"""`hefed submit`: an analyst asks the regions for a study, follows it, and opens the result that they seal to it.

What opens the result is in an owner-only file of the folder, sealed by the analyst's identity, from before the first
message until the end, so the same command goes on where it was, whenever it was stopped.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import zmq

from hefed.node.analyst import AnalystClient, Submission
from hefed.node.errors import NodeError, NotTakenError, StudyFailedError
from hefed.node.federation import replace_durably, shown
from hefed.node.files import (
    destroy,
    lock_folder,
    make_private_folder,
    read_private,
    replace_private,
    sweep,
    write_private,
)
from hefed.node.following import Watcher, document_of, finding_of
from hefed.node.identity import Identity
from hefed.node.limits import USUAL, Limits
from hefed.node.member_link import MemberLink
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.ending import day, warning
from hefed.protocol.errors import ProtocolError, RosterError
from hefed.protocol.roster import Roster
from hefed.report.progress import Progress
from hefed.report.result import Document, write_result
from hefed.study import Study

SUBMISSION, RESULT = "submission.key", "result.json"
SEALED = b"hefed submission under its analyst's identity, form 1\n"
"""Begins the file."""
MOST_READ = 1 << 24
"""Bytes that are read of a result that is there."""
SHORT = 3600
"""Seconds of a deadline that leave people little time to approve."""


@dataclass(frozen=True)
class Analyst:
    """Who submits: name and identity, the roster in force, and where the aggregator is dialled."""

    name: str
    identity: Identity
    roster: Roster
    addresses: tuple[str, ...]
    proxy: str | None = None
    limits: Limits = USUAL


class _Watch(Watcher):
    """Follows a study, and says why the aggregator is not to be reached when it is not, or that its roster is another
    one, and whose is the older.
    """

    def __init__(self, study: Study, progress: Progress, link: MemberLink, *, timed: bool) -> None:
        super().__init__(study, progress, timed=timed)
        self._link, self._said = link, ""

    def __call__(self, board: Board, message: m.Message | None) -> None:
        """Called at every message, and in between."""
        self.note_trouble()
        super().__call__(board, message)

    def note_trouble(self) -> None:
        """Says what stands between the analyst and the aggregator, when that has changed."""
        trouble = str(self._link.trouble() or self._link.differing_roster() or "")
        if trouble != self._said:
            self._said = trouble
            if trouble:
                self._progress.note(trouble)


def submit(study: Study, analyst: Analyst, out: Path, progress: Progress) -> Document:
    """Submits a study, or follows the one that was submitted from this folder, and writes the result there.

    Raises NodeError, ProtocolError for a study that the roster does not allow, StudyFailedError when it ends without a
    result.
    """
    if not out.exists():
        make_private_folder(out)
    lock = lock_folder(out)
    try:
        if (out / RESULT).exists():
            destroy(out / SUBMISSION)  # a kill may have come between the result and this
            raise NodeError(_is_there(study, out / RESULT))
        submission, resumed = _submission(study, analyst, out)
        near = warning(analyst.name, analyst.roster.member(analyst.name).ends, day(time.time()))
        if near:
            progress.note(near)
        progress.note(f"study {submission.study.hex()[:16]}" + (", submitted before" if resumed else ""))
        if not resumed and study.security.deadline < SHORT:
            progress.note(
                f"the study ends in {study.security.deadline} s at the latest, its approvals included; a longer "
                "[security] deadline gives people time"
            )
        followed = False
        try:
            board, watcher = _follow(study, analyst, submission, progress, timed=not resumed)
            followed = True
            document = document_of(study, board, watcher, finding_of(board, submission))
        except StudyFailedError as error:
            # Otherwise the study goes on, and the same command gets its result once what is wrong here is mended.
            if followed or isinstance(error, NotTakenError) or time.time() > submission.invitation.expires:
                destroy(out / SUBMISSION)
            raise
        _write(document, out)
        destroy(out / SUBMISSION)
    finally:
        os.close(lock)
    return document


def _is_there(study: Study, path: Path) -> str:
    """What to say of a result that lies where this study's is to be."""
    mine = False
    with suppress(OSError, ValueError, RecursionError, AttributeError):
        with path.open("rb") as file:
            found = json.loads(file.read(MOST_READ))
        models = {"kind": study.model.kind, "covariates": list(study.model.covariates)}
        mine = found.get("study") == study.id and models.items() <= found.get("model", {}).items()
    if mine:
        return (
            f"{study.id} has ended, and {shown(path)} is there already: its result; to ask for it once more, name "
            "another folder with --out"
        )
    return f"{shown(path)} is there already; name another folder with --out"


def _opened(path: Path, identity: Identity) -> bytes:
    """What the file holds. One that is not sealed yet, as older versions wrote it, is now. Raises ProtocolError."""
    data = read_private(path)
    if not data.startswith(SEALED):
        Submission.from_bytes(data)
        replace_private(path, identity.seal(SEALED, data))
        return data
    return identity.unseal(SEALED, data)


def _submission(study: Study, analyst: Analyst, out: Path) -> tuple[Submission, bool]:
    path = out / SUBMISSION
    sweep(path)
    if not path.exists():
        expires = int(time.time()) + study.security.deadline
        submission = Submission(study, analyst.roster, analyst.name, expires)
        try:
            submission.signed(analyst.identity.signer)  # whether the roster allows it, before anybody hears of it
            submission.require_lasting()
        except RosterError as error:
            raise NodeError(
                f"{study.id} cannot be submitted: {error}; change the study, or make the roster's next version"
            ) from error
        write_private(path, analyst.identity.seal(SEALED, submission.to_bytes()))
        return submission, False
    try:
        submission = Submission.from_bytes(_opened(path, analyst.identity))
    except ProtocolError as error:
        raise NodeError(f"{shown(path)}: {error}; remove it to submit the study anew") from error
    if submission.invitation.definition != study.public() or submission.analyst != analyst.name:
        raise NodeError(
            f"{shown(out)} holds another study that was submitted and has not ended; follow that one with its file as "
            "it was, or name another folder with --out"
        )
    return submission, True


def _follow(
    study: Study, analyst: Analyst, submission: Submission, progress: Progress, *, timed: bool
) -> tuple[Board, Watcher]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = MemberLink(
        context, analyst.identity, analyst.roster, analyst.addresses, proxy=analyst.proxy, limits=analyst.limits
    )
    watcher = _Watch(study, progress, link, timed=timed)
    try:
        client = AnalystClient(name=analyst.name, identity=analyst.identity, link=link, submission=submission)
        return client.follow(watcher, patience=None), watcher
    except NotTakenError:
        watcher.note_trouble()  # the refusal may have come together with the greeting that tells why
        raise
    finally:
        link.close()
        context.destroy(linger=0)


def _write(document: Document, out: Path) -> None:
    partial = out / (RESULT + ".new")
    with suppress(OSError):
        partial.unlink()
    try:
        write_result(document, partial)
        replace_durably(out / RESULT, partial.read_bytes())
        partial.unlink()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise NodeError(
            f"{shown(out / RESULT)} cannot be written: {reason}; mend that, and the same command goes on"
        ) from error
