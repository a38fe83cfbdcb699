"""The link: who is let in, and what a member can and cannot do with its connection."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

from hefed.node.aggregator_link import AggregatorLink
from hefed.node.frames import MAX_FRAMES, MAX_PARTS, PIECE, parts_of
from hefed.node.handshake import LINK_VERSION, PROTOCOLS
from hefed.node.identity import Identity
from hefed.node.link import Received
from hefed.node.member_link import MemberLink
from hefed.node.parties import AGGREGATOR
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.board import Board, Phase
from hefed.protocol.ports import Outgoing
from hefed.protocol.roster import Roster
from hefed.study import Study
from tests.node.runs import Run, cox_reference, is_sum, study_file, wait_for
from tests.protocol.federation import Federation as InOneProcess

OUTSIDER = Identity.passing()
"""On the roster, without a part in any study."""

# --- Who is let in ---------------------------------------------------------------------------------


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


class Federation:
    """An aggregator's link, and identities for and against it."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self._context = context
        self.aggregator, self.orebro, self.stranger = (Identity.passing() for _ in range(3))
        self.roster = self.with_aggregator(self.aggregator)
        self.link = AggregatorLink(context, self.aggregator, self.roster, "127.0.0.1:0")

    def with_aggregator(self, aggregator: Identity) -> Roster:
        members = [aggregator.member("aggregator", ("aggregator",)), self.orebro.member("orebro", ("contributor",))]
        return Roster.of("test", 1, members)

    @contextmanager
    def member(self, identity: Identity, roster: Roster | None = None) -> Iterator[MemberLink]:
        link = MemberLink(self._context, identity, roster or self.roster, [self.link.address])
        try:
            yield link
        finally:
            link.close()

    def is_let_in(self, link: MemberLink, seconds: float) -> bool:
        """Whether a handshake succeeds in that time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if link.news():
                return True
            time.sleep(0.01)
        return False

    def hears(self) -> list[Received]:
        self.link.socket.poll(500)
        return list(self.link.receive())


@pytest.fixture
def federation(context: "zmq.Context[zmq.Socket[bytes]]") -> Iterator[Federation]:
    made = Federation(context)
    yield made
    made.link.close()


def test_a_member_is_let_in_and_known_by_its_key(federation: Federation) -> None:
    with federation.member(federation.orebro) as link:
        assert federation.is_let_in(link, 5)
        assert link.send({"type": "hello", "sender": "halland"})
        (received,) = federation.hears()
        assert received.sender == "orebro"


def test_a_stranger_is_not_let_in(federation: Federation) -> None:
    with federation.member(federation.stranger) as link:
        assert not federation.is_let_in(link, 1.5)
        assert not link.send({"type": "hello"})
        with suppress(zmq.Again):
            link.socket.send_multipart([codec.encode({"type": "hello"})], zmq.NOBLOCK)  # around the link's own care
        assert federation.hears() == []


def test_a_member_does_not_talk_to_an_aggregator_with_another_key(federation: Federation) -> None:
    elsewhere = federation.with_aggregator(Identity.passing())
    with federation.member(federation.orebro, elsewhere) as link:
        assert not federation.is_let_in(link, 1.5)
        assert federation.hears() == []


def test_nobody_is_let_in_without_curve(federation: Federation, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    plain = context.socket(zmq.DEALER)
    plain.linger = 0
    plain.connect(f"tcp://{federation.link.address}")
    plain.send_multipart([codec.encode({"type": "hello"})])
    assert federation.hears() == []
    plain.close()


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Parties without orebro, which a test can start, and with an outsider; the last test uses them up."""
    folder = tmp_path_factory.mktemp("waiting")
    with Run(study_file(folder), folder / "parties", absent=("orebro",), outsiders={"outsider": OUTSIDER}) as run:
        yield run


def test_a_region_with_another_aggregators_key_is_never_ready(waiting: Run) -> None:
    right = waiting.parties.roster
    members = [member for member in right.members if member.name != AGGREGATOR]
    wrong = Roster.of(right.federation, 1, [*members, Identity.passing().member(AGGREGATOR, ("aggregator",))])
    roster = waiting.folder / "orebro/roster.cbor"
    roster.write_bytes(wrong.to_bytes())
    waiting.parties.start("orebro")
    wait_for(lambda: (waiting.folder / "orebro/state.sqlite").exists(), 30)  # made just before it connects
    time.sleep(1.5)
    assert "ready" in waiting.log("halland")
    assert "ready" not in waiting.log("orebro")
    assert "orebro" not in waiting.log(AGGREGATOR)
    assert waiting.parties.ended() == {}
    waiting.parties.kill("orebro")
    roster.write_bytes(right.to_bytes())


# --- What a member can send ------------------------------------------------------------------------


class Hostile:
    """A member's own keys in the wrong hands: a connection that sends whatever one likes."""

    def __init__(self, run: Run, identity: Identity) -> None:
        self._run, self.identity = run, identity

    def __enter__(self) -> "Hostile":
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        endpoint = wait_for(self._run.parties.endpoint)
        self.link = MemberLink(self._context, self.identity, self._run.parties.roster, [endpoint])
        wait_for(self.link.news)
        return self

    def __exit__(self, *exception: object) -> None:
        self.link.close()
        self._context.destroy(linger=0)

    def send(self, *frames: bytes) -> None:
        """Any frames at all."""
        self.link.socket.send_multipart(frames)

    def header(self, header: dict[str, Any], *frames: bytes) -> None:
        """A header of our form, whatever it says."""
        self.send(*(part.bytes for part in parts_of((header, frames))))

    def hello(self, studies: object = None) -> dict[str, Any]:
        """Greets, and waits for the answer."""
        stated = {"version": LINK_VERSION, "protocols": list(PROTOCOLS)}
        self.header({"type": "hello", **stated, "studies": {} if studies is None else studies})
        return self.hear("welcome")

    def hear(self, kind: str) -> dict[str, Any]:
        """The next message of a kind, within 30 seconds."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            self.link.socket.poll(100)
            for received in self.link.receive():
                if received.header["type"] == kind:
                    return received.header
        raise AssertionError(f"the aggregator does not say '{kind}'")


def nonsense(study: bytes) -> Iterator[tuple[bytes, ...]]:
    """Frames that mean nothing, in every place where something is read."""
    rng = random.Random(7)  # noqa: S311  the same nonsense every time
    yield from ((b"",), (b"\x00",) * 3, (b"\xff" * 100,), (codec.encode("hello"),), (codec.encode([1, 2]),))
    for size in (1, 10, 1000, 100_000):
        yield (rng.randbytes(size), rng.randbytes(size))
    yield (codec.encode({"type": "hello"}), *[b""] * (MAX_PARTS - 1))
    for sizes in (None, "1", [-1], [2**70], [True], [1.0], [1] * (MAX_FRAMES + 1), [], [0], [1, 1], [PIECE + 1], [3]):
        yield (codec.encode({"type": "message", "study": study, "number": 0, "sizes": sizes}), b"ab")
    yield (b"\x9f" * 1000,)  # arrays in arrays without end
    yield (b"\x9b" + b"\xff" * 8,)  # an array of 2^64 - 1 items, of which there is none
    yield (b"\x5b" + b"\x00" * 3 + b"\xff" * 5,)  # bytes of 2^40, of which there are none
    yield (b"\x00" * (2**20 + 1),)
    headers: list[dict[str, Any]] = [
        {"type": "no such type"},
        {"type": "hello", "version": 2**70, "studies": {}},
        {"type": "hello", "version": LINK_VERSION, "protocols": list(PROTOCOLS), "studies": [1]},
        {"type": "hello", "version": LINK_VERSION, "protocols": [2**70, "1", -1] * 50, "package": "x" * 100},
        {
            "type": "hello",
            "version": LINK_VERSION,
            "protocols": list(PROTOCOLS),
            "studies": {study.hex(): -5, "": 2**80, "zz" * 1000: "x"},
        },
        {"type": "message"},
        {"type": "message", "study": study},
    ]
    for number in (-1, 1, 2**31, 2**63, 2**64, 2**200, 1.0, "0", None, True, b"0", [0]):
        headers.append({"type": "message", "study": study, "number": number})
    for other in (b"", study[:31], study + b"\0", study.hex(), 5, None, {"a": study}):
        headers.append({"type": "message", "study": other, "number": 0})
    for header in headers:
        yield (codec.encode(header),)
        yield tuple(part.bytes for part in parts_of((header, (rng.randbytes(50), rng.randbytes(3)))))


def _peak_megabytes(number: int) -> float:
    lines = Path(f"/proc/{number}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def test_nonsense_of_a_member_neither_ends_nor_stalls_the_aggregator(waiting: Run) -> None:
    with Hostile(waiting, Identity.load(waiting.folder / "orebro")) as member:
        member.hello()
        for frames in nonsense(waiting.submission.study):
            member.send(*frames)
        for _ in range(5000):
            member.header({"type": "message", "study": os.urandom(32), "number": 0}, b"no message")
        member.header({"type": "message", "study": os.urandom(32), "number": 0}, bytes(50_000_000))
        start = time.monotonic()
        member.hello()
        assert time.monotonic() - start < 30
    assert waiting.parties.ended() == {}
    assert "Traceback" not in waiting.log(AGGREGATOR)
    assert _peak_megabytes(waiting.pid(AGGREGATOR)) < 400


def test_who_has_no_part_in_a_study_cannot_end_or_join_it(waiting: Run) -> None:
    said: list[str] = []

    def interfere(run: Run, board: Board, message: "m.Message | None") -> None:
        if is_sum(message, 1) or (message is not None and message.body.kind == "invitation"):
            study = run.submission.study
            with Hostile(run, OUTSIDER) as member:
                assert study.hex() not in member.hello({study.hex(): 0})["accepted"]
                refusal = _signed(run, OUTSIDER, "outsider", m.Refusal(words="I will not have it"), board)
                posed = _signed(run, OUTSIDER, "halland", m.Refusal(words="I am halland"), board)
                for envelope in (b"nonsense", refusal.envelope, posed.envelope):
                    member.header({"type": "message", "study": study, "number": 0}, envelope)
                    said.append(member.hear("refused")["words"])

    waiting.parties.start("orebro")
    wait_for(lambda: "ready" in waiting.log("orebro"), 30)
    waiting.assert_answer(waiting.follow(interfere), cox_reference())
    assert said == ["refused a message of outsider: outsider has no part in this study"] * 6
    assert "Traceback" not in waiting.log(AGGREGATOR)


def _signed(run: Run, identity: Identity, sender: str, content: m.Content, board: Board) -> m.Message:
    return identity.signer.sign(
        content,
        federation=run.parties.roster.federation,
        study=run.submission.study,
        sender=sender,
        previous=board.last_digest.get(sender, m.ZERO_HASH),
    )


def test_a_signed_contribution_without_its_bytes_ends_the_study_with_its_senders_name(tmp_path: Path) -> None:
    attacked: list[bool] = []

    def attack(run: Run, board: Board, message: "m.Message | None") -> None:
        if is_sum(message, 0) and "orebro" in run.parties.processes:
            run.parties.kill("orebro")
        waiting = board.phase is Phase.CONTRIBUTION and set(board.round.contributions) == {"halland", "kronoberg"}
        if waiting and not attacked and "orebro" not in run.parties.processes:
            attacked.append(True)
            identity = Identity.load(run.folder / "orebro")
            with Hostile(run, identity) as member:
                forged = _signed(run, identity, "orebro", board.round.first, board)
                number = member.hello({run.submission.study.hex(): 0})["accepted"][run.submission.study.hex()]
                header = {"type": "message", "study": run.submission.study, "number": number}
                member.header(header, forged.envelope)
                member.hear("refused")

    with Run(study_file(tmp_path), tmp_path / "parties") as run:
        board = run.follow(attack)
        assert attacked == [True]
        assert run.parties.ended() == {}
        assert _peak_megabytes(run.pid(AGGREGATOR)) < 400
        assert "Traceback" not in run.log(AGGREGATOR)
    assert board.outcome is not None
    assert board.outcome.how == "end"
    assert board.outcome.words.startswith("refused a message of orebro: ")


def test_nothing_is_made_of_a_size_that_a_message_states_and_does_not_bring(tmp_path: Path) -> None:
    federation = InOneProcess(Study.load(study_file(tmp_path)))  # here the forger can be the first of its round

    def forge(name: str, outgoing: Outgoing) -> Outgoing:
        content = outgoing.message.content
        if name != "halland" or not isinstance(content, m.Contribution) or content.round != 2:
            return outgoing
        message = federation.signers[name].sign(
            content.model_copy(update={"values": 10**8}),
            federation=federation.roster.federation,
            study=federation.submission.study,
            sender=name,
            previous=outgoing.message.body.previous,
        )
        return Outgoing(outgoing.key, message)

    federation.before_accept = forge
    start = time.process_time()
    federation.run()
    assert time.process_time() - start < 20
    assert [name for name, _ in federation.refused] == ["halland"]
