"""Greetings between different versions: an older peer's takes part, one from the future is told in words what to do."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from hefed import __version__
from hefed.node import handshake
from hefed.node.aggregator import AggregatorNode
from hefed.node.aggregator_link import AggregatorLink
from hefed.node.analyst import Submission
from hefed.node.connections import Connection, Connections
from hefed.node.frames import parts_of
from hefed.node.handshake import OURS, PROTOCOLS, RosterState, Versions, Welcome, differing_rosters
from hefed.node.identity import Identity
from hefed.node.member_link import MemberLink
from hefed.node.store import Store
from hefed.node.trouble import Cause
from hefed.protocol import messages as m
from hefed.protocol.roster import Roster
from hefed.study import Study
from tests.node.runs import study_file, wait_for

HELLO_0_1 = bytes.fromhex("a364747970656568656c6c6f6773747564696573a06776657273696f6e01")
"""A greeting as hefed 0.1 sent it, recorded; without studies."""


class Central:
    """A real aggregator on a real port, driven turn by turn by the test, and connections of its members."""

    def __init__(self, folder: Path) -> None:
        self.study = Study.load(study_file(folder))
        names = ("aggregator", "analyst", *self.study.members)
        self.identities = {name: Identity.passing() for name in names}
        parts: dict[str, Any] = {"aggregator": ("aggregator",), "analyst": ("analyst",)}
        everything = ("contributor", "keyholder", "reader")
        self.roster = Roster.of(
            "test", 2, [one.member(name, parts.get(name, everything)) for name, one in self.identities.items()]
        )
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.link = AggregatorLink(self.context, self.identities["aggregator"], self.roster, "127.0.0.1:0")
        self._links: list[MemberLink] = []
        self.folder = folder / "central"
        self.start()

    def start(self) -> None:
        self.store = Store(self.folder)
        identity = self.identities["aggregator"]
        self.node = AggregatorNode(roster=self.roster, identity=identity, store=self.store, link=self.link)

    def close(self) -> None:
        for link in self._links:
            link.close()
        self.link.close()
        self.store.close()
        self.context.destroy(linger=0)

    def turn(self) -> None:
        """One turn of the aggregator's loop."""
        for received in self.link.receive():
            self.node._handle(received)
        self.node._beat()
        self.node._deliver()

    def standing(self, name: str) -> dict[str, Any]:
        """What the aggregator's status says of a member."""
        (one,) = [member for member in self.node.status()["members"] if member["name"] == name]
        return dict(one)

    def member(self, name: str) -> "Peer":
        link = MemberLink(self.context, self.identities[name], self.roster, [self.link.address])
        self._links.append(link)
        wait_for(link.news)
        return Peer(self, link)

    def submission(self) -> Submission:
        return Submission(self.study, self.roster, "analyst", int(time.time()) + 600)

    def invitation(self, submission: Submission) -> bytes:
        signed = self.identities["analyst"].signer.sign(
            submission.invitation,
            federation="test",
            study=submission.study,
            sender="analyst",
            previous=m.ZERO_HASH,
        )
        return signed.envelope

    def refusal(self, submission: Submission, name: str) -> bytes:
        return (
            self.identities[name]
            .signer.sign(
                m.Refusal(words="no"),
                federation="test",
                study=submission.study,
                sender=name,
                previous=m.ZERO_HASH,
            )
            .envelope
        )


class Peer:
    """A member's connection in the hands of the test."""

    def __init__(self, central: Central, link: MemberLink) -> None:
        self._central, self.link = central, link
        self._heard: list[tuple[dict[str, Any], tuple[bytes, ...]]] = []

    def say(self, header: bytes | dict[str, Any], *frames: bytes) -> None:
        if isinstance(header, bytes):
            self.link.socket.send_multipart([header, *frames])
        else:
            self.link.socket.send_multipart(parts_of((header, frames)), copy=False)

    def hear(self, kind: str) -> dict[str, Any]:
        """The next header of a kind; those before it are forgotten."""

        def look() -> dict[str, Any] | None:
            self._central.turn()
            self._heard += [(one.header, one.frames) for one in self.link.receive()]
            while self._heard:
                header, _ = self._heard.pop(0)
                if header["type"] == kind:
                    return header
            return None

        found: dict[str, Any] = wait_for(look)
        return found

    def entries(self, seconds: float = 0.4) -> list[tuple[bytes, int]]:
        """What of studies' records comes within that time."""
        until, found = time.monotonic() + seconds, []
        while time.monotonic() < until:
            self._central.turn()
            self._heard += [(one.header, one.frames) for one in self.link.receive()]
            time.sleep(0.01)
        for header, _ in self._heard:
            if header["type"] == "entry":
                found.append((header["study"], header["number"]))
        self._heard.clear()
        return found


@pytest.fixture
def central(tmp_path: Path) -> Iterator[Central]:
    with closing(Central(tmp_path)) as made:
        yield made


def test_a_member_of_a_version_with_another_protocol_is_told_so_in_words_that_it_reads(central: Central) -> None:
    peer = central.member("halland")
    peer.say(HELLO_0_1)
    assert peer.hear("turned away") == {
        "type": "turned away",
        "words": f"aggregator runs {OURS.words()} and halland hefed 0.1 (protocol 1, link 1), which have none in "
        f"common; install hefed {__version__} at halland",
    }


def test_a_member_of_an_older_version_with_a_protocol_in_common_takes_part(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hefed.node.aggregator.OURS", Versions("9.9", (1, 2, 3)))
    monkeypatch.setattr("hefed.node.member_link.PROTOCOLS", (1,))
    peer = central.member("halland")
    peer.say(HELLO_0_1)
    welcome = peer.hear("welcome")
    assert (welcome["accepted"], welcome["protocol"]) == ({}, 1)
    assert central.standing("halland") == {
        "name": "halland",
        "connected": True,
        "since": pytest.approx(time.time(), abs=30),
        "package": "0.1",
    }


def test_a_member_is_not_ready_at_an_aggregator_of_a_version_with_another_protocol(central: Central) -> None:
    link = central.member("halland").link
    link.greet({})
    hello = wait_for(lambda: list(central.link.receive()))[0]
    central.link.send(hello.connection, {"type": "welcome", "accepted": {}})  # as hefed 0.1 says it
    wait_for(lambda: list(link.receive()) == [] and link.trouble())
    assert not link.greeted
    trouble = link.trouble()
    assert trouble is not None
    assert trouble.cause is Cause.TURNED_AWAY
    assert trouble.sentence == (
        f"turned away: halland runs {OURS.words()} and aggregator hefed 0.1 (protocol 1, link 1), which have none in "
        f"common; install hefed {__version__} at aggregator"
    )


@pytest.mark.parametrize(
    ("hello", "stated"),
    [
        ({"version": 1, "protocols": [98, 99], "package": "9.0.0"}, "hefed 9.0.0 (protocol 98, 99, link 1)"),
        ({"version": 2, "protocols": [1], "package": "2.0.0"}, "hefed 2.0.0 (protocol 1, link 2)"),
        ({"version": 7}, "hefed 0.1 (protocol 1, link 7)"),
    ],
)
def test_a_member_of_the_future_is_told_what_to_do(central: Central, hello: dict[str, Any], stated: str) -> None:
    peer = central.member("halland")
    peer.say({"type": "hello", "studies": {}, **hello})
    assert peer.hear("turned away")["words"] == (
        f"aggregator runs {OURS.words()} and halland {stated}, which have none in common; "
        "install at aggregator the version that halland has, or the older one at halland again"
    )
    assert not central.standing("halland")["connected"]


def test_of_several_versions_the_newest_that_both_can_is_taken(central: Central) -> None:
    peer = central.member("halland")
    newest = max(PROTOCOLS)
    peer.say({"type": "hello", "version": 1, "protocols": [*PROTOCOLS, 99], "package": "1.7", "studies": {}})
    assert peer.hear("welcome")["protocol"] == newest
    theirs = Versions("1.7", (1, 2, 9))
    assert theirs.common(Versions("1.8", (1, 2, 3))) == 2
    assert theirs.common(Versions("1.8", (3, 4))) is None


def test_a_greeting_tells_versions_clock_and_roster(central: Central) -> None:
    peer = central.member("halland")
    peer.link.greet({})
    peer.hear("welcome")
    welcome = peer.link.welcome
    assert welcome is not None
    assert (welcome.protocol, welcome.package) == (max(PROTOCOLS), __version__)
    assert welcome.time == pytest.approx(time.time(), abs=30)
    assert welcome.roster == RosterState.of(central.roster)
    assert peer.link.differing_roster() is None
    assert peer.link.greeted


def test_who_has_the_older_roster_is_said_and_nobody_is_turned_away(central: Central) -> None:
    newer = Roster.of("test", 3, central.roster.members)
    with closing(MemberLink(central.context, central.identities["halland"], newer, [central.link.address])) as link:
        wait_for(link.news)
        link.greet({})
        Peer(central, link).hear("welcome")
        assert link.differing_roster() == (
            "halland has version 3 of the roster in force and aggregator version 2: that of aggregator is the older; "
            "put the newer one in force there (hefed federation join), and restart it"
        )
    ours, theirs = RosterState(2, bytes(32)), RosterState(2, bytes(31) + b"\1")
    words = differing_rosters("halland", ours, "aggregator", theirs)
    assert words is not None
    assert "different rosters of one version, 2" in words


def test_a_probe_answers_and_leaves_a_running_node_alone(central: Central) -> None:
    node, asking = central.member("halland"), central.member("halland")
    asking.say(handshake.probe(central.roster))
    assert not asking.hear("probed")["connected"]
    node.link.greet({})
    node.hear("welcome")
    asking.say(handshake.probe(central.roster))
    answer = asking.hear("probed")
    assert answer["connected"]
    assert answer["package"] == __version__
    assert RosterState.read(answer["roster"]) == RosterState.of(central.roster)
    node.say({"type": "beat"})
    asking.say({"type": "beat"})
    assert asking.hear("unknown")  # a probe is no greeting
    node.hear("beat")
    assert node._heard == [] or all(header["type"] != "unknown" for header, _ in node._heard)


def test_two_submissions_of_one_analyst_are_followed_at_once_each_over_its_own_connection(central: Central) -> None:
    one, other = central.submission(), central.submission()
    first, second = central.member("analyst"), central.member("analyst")
    region = central.member("halland")
    region.link.greet({})
    region.hear("welcome")
    for peer, submission in ((first, one), (second, other)):
        peer.link.greet({submission.study.hex(): 0}, only=True)
        peer.hear("welcome")
        header = {"type": "message", "study": submission.study, "number": 0}
        peer.say(header, central.invitation(submission))
    assert set(region.entries()) == {(one.study, 0), (other.study, 0)}
    assert first.entries() == [(one.study, 0)]
    assert second.entries() == [(other.study, 0)]
    newer = central.member("halland")
    newer.link.greet({one.study.hex(): 1, other.study.hex(): 1})  # the node, started again: it takes the older's place
    newer.hear("welcome")
    region.say({"type": "beat"})
    assert region.hear("unknown")


def test_members_are_told_who_is_present_once_for_each_change(central: Central) -> None:
    halland = central.member("halland")
    halland.link.greet({})
    halland.hear("present")
    assert halland.link.present == ("halland",)
    orebro = central.member("orebro")
    orebro.link.greet({})
    halland.hear("present")
    assert halland.link.present == ("halland", "orebro")
    for _ in range(5):
        central.turn()
    time.sleep(0.2)
    assert [one.header for one in halland.link.receive() if one.header["type"] == "present"] == []
    orebro.link.close()
    central._links.remove(orebro.link)
    halland.hear("present")
    assert halland.link.present == ("halland",)


def test_an_ended_study_leaves_memory_and_is_read_again_for_who_asks(central: Central) -> None:
    submission = central.submission()
    analyst = central.member("analyst")
    analyst.link.greet({submission.study.hex(): 0}, only=True)
    analyst.hear("welcome")
    analyst.say({"type": "message", "study": submission.study, "number": 0}, central.invitation(submission))
    (running,) = wait_for(lambda: (central.turn(), central.node.status()["studies"])[1])
    assert running["phase"] == "approval"
    assert running["waiting_for"] == sorted(central.study.members)
    halland = central.member("halland")
    halland.link.greet({})
    halland.hear("welcome")
    header = {"type": "message", "study": submission.study, "number": 0}
    halland.say(header, central.refusal(submission, "halland"))
    assert analyst.entries() == [(submission.study, 0), (submission.study, 1)]
    halland.entries()
    assert (central.node._studies, central.node._records) == ({}, {})
    (ended,) = central.node.status()["studies"]
    assert (ended["phase"], ended["outcome"]) == ("ended", "no")
    central.store.close()
    central.start()
    assert central.node._studies == {}
    again = central.member("analyst")
    again.link.greet({submission.study.hex(): 1}, only=True)
    assert again.hear("welcome")["accepted"] == {submission.study.hex(): 1}
    assert again.entries() == [(submission.study, 1)]
    central.turn()
    assert central.node._records == {}


def test_a_member_has_its_node_and_so_many_connections_beside_it() -> None:
    connections = Connections(["halland", "orebro"], followers=5)
    connections.admit(Connection(b"node", "halland", 0.0, "1"))
    connections.admit(Connection(b"other", "orebro", 0.0, "1", only=frozenset()))
    keys = [bytes([number]) for number in range(5 + 3)]
    for key in keys:
        connections.admit(Connection(key, "halland", 0.0, "1", only=frozenset()))
    assert [key for key in keys if connections.get(key, "halland") is None] == keys[:3]
    assert connections.get(b"node", "halland") is not None
    assert connections.get(b"node", "orebro") is None  # a key counts with its member only
    assert connections.get(b"other", "orebro") is not None
    assert connections.has_node("halland")
    assert not connections.has_node("orebro")  # who only follows a study opens no sum


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    header=st.dictionaries(st.sampled_from(["version", "protocols", "package", "roster", "time", "protocol"]), PLAIN)
)
def test_whatever_a_greeting_states_is_bounded(header: dict[str, Any]) -> None:
    versions, welcome = Versions.read(header), Welcome.read(header)
    assert len(versions.words()) < 600
    assert versions.words().isprintable()
    assert welcome.package.isprintable()
    assert welcome.time is None or isinstance(welcome.time, float)
