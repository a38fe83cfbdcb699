"""A made-up federation whose identities follow from their names, so that a changed message can be signed again."""

import atexit
import hashlib
import re
import tempfile
from functools import cache
from pathlib import Path

from hefed.node.identity import Identity
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import EncodingError, ProtocolError
from hefed.protocol.roster import Member, Role, Roster

CORPUS = Path(__file__).parent / "corpus"
REGIONS = ("halland", "kronoberg", "orebro")
USUAL: tuple[Role, ...] = ("contributor", "keyholder", "reader")


def made(name: str, size: int = 32) -> bytes:
    """Bytes that follow from a name."""
    return hashlib.shake_256(name.encode()).digest(size)


IDENTITIES = {
    name: Identity(made(f"{name} signs"), made(f"{name} dials")) for name in ("aggregator", "analyst", *REGIONS)
}
ROSTER = Roster.of(
    "fuzz",
    1,
    [
        Member(name, one.signer.public, one.transport_public, USUAL if name in REGIONS else (name,))  # type: ignore[arg-type]
        for name, one in IDENTITIES.items()
    ],
    addresses=("aggregator.example.org:7100",),
)


def examples(target: str, kind: str = "") -> dict[str, bytes]:
    """The files of a target's corpus, by name; `kind` "good" or "bad"."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).glob(f"{kind}*"))}


def signed(body: bytes) -> bytes:
    """The envelope of a body, signed by whom it names, by a region if it names nobody."""
    signature = IDENTITIES["halland"]
    try:
        match codec.decode(body):
            case {"sender": str(name)}:
                signature = IDENTITIES.get(name, signature)
    except EncodingError:
        pass  # read_message says so too
    return codec.encode([body, signature.sign_statement("message", body)])


@cache
def record() -> tuple[m.Message, ...]:
    """The messages of a whole study so far, in order."""
    numbered = [data for name, data in examples("message", "good").items() if re.match(r"good-\d\d-", name)]
    return tuple(m.read_message(signed(data[1:]), ROSTER) for data in numbered)


_boards: dict[int, Board] = {}


def post(place: int, body: bytes) -> m.Message:
    """The body, signed, as the next message behind the first `place` of the record. What is refused changes nothing."""
    place %= len(record()) + 1
    board = _boards.pop(place, None) or board_at(place)
    before = _standing(board)
    try:
        message = m.read_message(signed(body), ROSTER)
        board.post(message)
    except ProtocolError:
        assert _standing(board) == before, "a refused message changed the record"
        _boards[place] = board
        raise
    return message


def board_at(place: int) -> Board:
    """A board with that many messages of the record."""
    board = Board(ROSTER, record()[0].body.study)
    for message in record()[:place]:
        board.post(message)
    return board


def _standing(board: Board) -> tuple[object, ...]:
    rounds = [
        (sorted(one.contributions), len(one.opens), sorted(one.checks), {k: sorted(v) for k, v in one.answers.items()})
        for one in board.rounds
    ]
    so_far = [sorted(part) for part in (board.approvals, board.deals, board.acknowledgements, board.closings)]
    return board.phase, dict(board.last_digest), so_far, sorted(board.cohort_signatures), rounds, board.outcome


@cache
def folder() -> Path:
    """A private folder for files that are parsed, which goes with this process."""
    made_up = tempfile.TemporaryDirectory(prefix="fuzz")
    atexit.register(made_up.cleanup)
    return Path(made_up.name)


def file(name: str, data: bytes) -> Path:
    """An owner-only file there with these bytes."""
    path = folder() / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
    path.write_bytes(data)
    return path
