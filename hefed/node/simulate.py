"""`hefed simulate`: a whole federation on one machine, each party a process of its own, from the study file to the
result.
"""

import time
from collections.abc import Callable
from pathlib import Path

import zmq

from hefed.node.analyst import AnalystClient, Submission
from hefed.node.errors import NodeError, StudyFailedError
from hefed.node.files import LOCK
from hefed.node.following import Watcher, document_of, finding_of
from hefed.node.member_link import MemberLink
from hefed.node.parties import ANALYST, Parties
from hefed.node.proof import NotKeptError
from hefed.node.transcripts import FOLDER
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.rules import Phase
from hefed.report.progress import Progress
from hefed.report.result import Document, write_result
from hefed.study import Study

PROOF = "result.hefed"
"""The result with what it follows from."""
START_SECONDS = 60.0
"""How long the aggregator may take to listen."""


class _Parties(Watcher):
    """Follows a study, and the processes of its parties beside it."""

    def __init__(self, study: Study, parties: Parties, progress: Progress) -> None:
        super().__init__(study, progress)
        self._parties = parties
        self._lost: dict[str, str] = {}

    def __call__(self, board: Board, message: m.Message | None) -> None:
        """Called at every message, and in between."""
        try:
            self._parties.require_aggregator()
        except NodeError as error:
            raise StudyFailedError(str(error), refused=False) from error
        for name, code in self._parties.ended().items():
            if name not in self._lost:
                self._lost[name] = f"the process of {name} has ended ({_cause(code)}); see {self._parties.log(name)}"
                self._progress.note(self._lost[name])
            if code > 0 and board.phase in (Phase.INVITATION, Phase.APPROVAL):
                words = self._parties.last_words(name).partition("CRITICAL ")[2]
                raise StudyFailedError(f"{name} cannot take part: {words or self._lost[name]}", refused=bool(words))
        super().__call__(board, message)

    @property
    def lost(self) -> str:
        """What is to be said of parties whose processes ended in the middle, behind another sentence."""
        return "".join(f"; {words}" for words in self._lost.values())


def run(
    study: Study, out: Path, progress: Progress, *, port: int = 0, ready: Callable[[Parties], None] | None = None
) -> Document:
    """Runs a study on this machine and returns the document that it wrote to `out`/result.json.

    `ready` is called once all processes have been started. Raises NodeError, or StudyFailedError when the study ends
    without a result.
    """
    result, proof = out / "result.json", out / PROOF
    if result.exists() and not (out / "parties" / LOCK).exists():
        raise NodeError(f"{result} is there and hefed did not put it there; name another folder")
    with Parties(out / "parties", study) as parties:
        expires = int(time.time()) + study.security.deadline
        submission = Submission(study, parties.roster, ANALYST, expires)
        parties.configure(submission.study, port)
        parties.start_all()
        if ready:
            ready(parties)
        watcher = _Parties(study, parties, progress)
        watcher(Board(parties.roster, submission.study), None)
        _endpoint(parties)
        if result.exists():  # an earlier answer must not pass for this study's
            result.replace(out / "result.previous.json")
        proof.unlink(missing_ok=True)
        try:
            board = follow(parties, submission, watcher)
            parties.wait_until_ended(submission.study)
        finally:
            parties.stop()
            parties.write_transcripts(out / FOLDER, submission.study)
        finding = finding_of(board, submission, watcher.lost)
        document = document_of(study, board, watcher, finding)
        try:
            parties.write_result_file(proof, submission.study)
        except NotKeptError as error:
            progress.note(f"no {PROOF}: {error}")
    try:
        write_result(document, result)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise NodeError(f"{out / 'result.json'} cannot be written: {reason}; mend that and run again") from error
    return document


def follow(parties: Parties, submission: Submission, watch: Callable[[Board, m.Message | None], None]) -> Board:
    """Submits a study to running parties and follows it to its end."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = MemberLink(context, parties.analyst, parties.roster, [_endpoint(parties)])
    try:
        client = AnalystClient(name=ANALYST, identity=parties.analyst, link=link, submission=submission)
        return client.follow(watch)
    finally:
        link.close()
        context.destroy(linger=0)


def _endpoint(parties: Parties) -> str:
    until = time.monotonic() + START_SECONDS
    while (endpoint := parties.endpoint()) is None:
        parties.require_aggregator()
        if time.monotonic() > until:
            raise NodeError(
                f"the aggregator does not listen after {START_SECONDS:.0f} s; see its log in {parties.folder}"
            )
        time.sleep(0.02)
    return endpoint


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"
