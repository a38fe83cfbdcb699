"""What a check before a start says of the way to the aggregator: each fault with the sentence that a person reads."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hefed.node.check_network import SECONDS, network_findings
from hefed.node.finding import Finding
from hefed.node.handshake import OURS, RosterState
from hefed.node.home import Home
from hefed.node.limits import USUAL, Limits
from hefed.node.link import Received
from hefed.protocol.roster import Roster
from tests.node.findings import caller, quiet, row, sentences, states
from tests.node.homes import FEDERATION, answering
from tests.node.runs import REGIONS, environment, free_port
from tests.node.test_disk import namespace


@contextmanager
def listening(greeting: bytes | None) -> Iterator[str]:
    """A server that says this to whoever connects, or lets connections wait."""
    server = socket.create_server(("127.0.0.4", 0), backlog=64)
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                kept.append(server.accept()[0])
                if greeting is not None:
                    kept[-1].sendall(greeting)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.4:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for one in kept:
            one.close()


@contextmanager
def silent() -> Iterator[str]:
    """An address whose queue of new connections is full, so that the kernel answers nobody."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.5", 0))
        server.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield f"127.0.0.5:{server.getsockname()[1]}"


def other_roster(homes: dict[str, Path], address: str) -> Roster:
    """A version 2 with the same aggregator, without orebro."""
    opened = {name: Home(folder) for name, folder in homes.items()}
    members = [home.identity.member(name, ("keyholder",)) for name, home in opened.items() if name in REGIONS[:2]]
    aggregator = opened["aggregator"].identity.member("aggregator", ("aggregator",))
    return Roster.of(FEDERATION, 2, [aggregator, *members], addresses=(address,))


def test_each_way_in_which_an_address_does_not_work(homes: dict[str, Path], tmp_path: Path) -> None:
    me = caller(homes)
    nothing = f"127.0.0.6:{free_port()}"
    impostor = Home.init(tmp_path / "impostor", "aggregator").folder
    fake = Roster.of(FEDERATION, 1, [Home(impostor).identity.member("aggregator", ("aggregator",))])
    with (
        silent() as no_answer,
        listening(b"SSH-2.0-OpenSSH_9.2\r\n") as ssh,
        listening(None) as mute,
        answering(impostor, fake, "127.0.0.7:0", lambda received: None) as other_key,
        answering(homes["aggregator"], other_roster(homes, nothing), "127.0.0.7:0", lambda received: None) as unknown,
        answering(homes["aggregator"], me.roster, "127.0.0.7:0", lambda received: None) as hanging,
    ):
        began = time.monotonic()
        findings = network_findings(me, (nothing, no_answer, ssh, mute, other_key, unknown, hanging), quiet)
        took = time.monotonic() - began
    assert took < SECONDS + 5
    assert sentences(findings) == [
        f"nothing listens at {nothing}; see to it that aggregator runs `hefed aggregator`, and on that port",
        f"{no_answer} does not answer; a firewall may be in the way: have outbound TCP to {no_answer} allowed, or name "
        "a proxy in settings.toml",
        f"what listens at {ssh} is no hefed aggregator; check the port in the roster, and what aggregator runs on it",
        f"{mute} takes the connection and then says nothing; a firewall between may hold it, or aggregator hangs: have "
        "the path opened for any TCP, or the aggregator looked after",
        f"what answers at {other_key} does not hold the key that the roster of {FEDERATION} (version 1) gives "
        "aggregator, or does not speak hefed; compare the roster's fingerprint with aggregator's by telephone, and "
        "check the address",
        f"aggregator at {unknown} does not know the key of orebro: its roster lists another or none; compare the "
        "roster's version (1 here) and fingerprint with aggregator's by telephone, and have the newest put in force on "
        "both sides",
        f"aggregator at {hanging} is connected but has not greeted orebro yet; it is busy or hangs: wait, then have "
        "its log looked at",
    ]
    assert states(findings, "wrong") == ["port", "port", "handshake", "handshake", "handshake", "handshake", "answer"]
    assert [finding.words for finding in findings if finding.what == "clock"] == ["needs: answer"]


def test_it_dials_with_the_limits_of_the_settings(homes: dict[str, Path]) -> None:
    with listening(None) as mute:
        began = time.monotonic()
        findings = network_findings(caller(homes, limits=Limits(handshake_seconds=0.3)), (mute,), quiet)
        took = time.monotonic() - began
    assert [finding.what for finding in findings if finding.state == "wrong"] == ["handshake"]
    assert took < 5 < USUAL.handshake_seconds


def test_it_waits_for_as_long_as_the_settings_give_a_connection(homes: dict[str, Path]) -> None:
    assert caller(homes).seconds == caller(homes, limits=Limits(handshake_seconds=0.3)).seconds == SECONDS
    assert caller(homes, limits=Limits(connect_seconds=30, handshake_seconds=20)).seconds == 55


def test_one_address_of_several_is_enough(homes: dict[str, Path], address: str) -> None:
    nothing = f"127.0.0.6:{free_port()}"
    findings = network_findings(caller(homes), (nothing, address), quiet)
    assert all(finding.ok for finding in findings)
    assert row(findings, "address") == Finding(
        "address",
        "note",
        f"nothing listens at {nothing}; see to it that aggregator runs `hefed aggregator`, and on that port "
        f"({address} works, and is used instead)",
    )


def test_a_name_works(homes: dict[str, Path]) -> None:
    me = caller(homes)
    with answering(homes["aggregator"], me.roster, "127.0.0.1:0", lambda received: answer(me.roster)) as there:
        findings = network_findings(me, ("localhost:" + there.rpartition(":")[2],), quiet)
    assert all(finding.ok for finding in findings), findings
    assert "127.0.0.1" in row(findings, "name").words


ASKED_BY_NAME = """
import sys
from pathlib import Path
from hefed.node.check_network import Caller, network_findings
from hefed.node.home import Home

home = Home(Path(sys.argv[1]))
caller = Caller("orebro", home.identity, home.in_force(), None, False)
for finding in network_findings(caller, (sys.argv[2],), print):
    print(finding.what, finding.state, finding.words, sep="|")
"""


def test_a_name_of_two_addresses_works_when_only_the_second_does(homes: dict[str, Path], tmp_path: Path) -> None:
    if not namespace():  # only there can names be given
        return
    me, hosts = caller(homes), tmp_path / "hosts"
    hosts.write_text("127.0.0.7 both.example\n127.0.0.8 both.example\n")
    mounts = 'mount --bind "$0" /etc/hosts && exec "$@"'
    with answering(homes["aggregator"], me.roster, "127.0.0.8:0", lambda received: answer(me.roster)) as there:
        where = "both.example:" + there.rpartition(":")[2]
        done = subprocess.run(
            [*namespace(), "sh", "-c", mounts, str(hosts), sys.executable, "-c", ASKED_BY_NAME, homes["orebro"], where],
            env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, name, port, *others = done.stdout.splitlines()
    assert name == "name|works|both.example is 127.0.0.7, 127.0.0.8"
    assert port == f"port|works|{where} takes the connection"
    assert all("|works|" in other for other in others)


def test_a_proxy_that_is_not_there(homes: dict[str, Path], address: str) -> None:
    proxy = f"127.0.0.6:{free_port()}"
    findings = network_findings(caller(homes, proxy=proxy), (address,), quiet)
    (sentence,) = sentences(findings)
    assert re.fullmatch(
        rf"the proxy {proxy} does not connect to {address} \(.*\); check the proxy in settings\.toml, and ask those "
        rf"who run it to allow {address}",
        sentence,
    )
    assert states(findings, "not tried")[:2] == ["handshake", "answer"]


def answer(known: Roster, /, **other: object) -> dict[str, object]:
    """What a right aggregator says to a probe, but for some fields."""
    right = {
        "type": "probed",
        "version": OURS.link,
        "protocols": list(OURS.protocols),
        "package": OURS.package,
        "time": time.time(),
        "roster": RosterState.of(known).plain(),
        "connected": False,
    }
    return {**right, **other}


def answered(homes: dict[str, Path], *, running: bool = False, **other: object) -> list[Finding]:
    """The rows when the aggregator's answer has other fields."""
    me = caller(homes, running=running)

    def reply(received: Received) -> object:
        return answer(me.roster, **other) if received.header["type"] == "probe" else None

    with answering(homes["aggregator"], me.roster, "127.0.0.7:0", reply) as where:
        return network_findings(me, (where,), quiet)


def test_other_versions(homes: dict[str, Path]) -> None:
    assert sentences(answered(homes, protocols=[7], package="3.0.0")) == [
        f"aggregator runs hefed 3.0.0 (protocol 7, link 1) and orebro {OURS.words()}, which have none in common; "
        "install hefed 3.0.0 here"
    ]
    older = f"(protocol 1, link 1) and orebro {OURS.words()}, which have none in common; have hefed {OURS.package} "
    assert sentences(answered(homes, protocols=[1], package="0.1.7")) == [
        f"aggregator runs hefed 0.1.7 {older}installed there"
    ]
    of_0_1 = answered(homes, type="unknown")  # what it says to everything but a hello
    assert sentences(of_0_1) == [f"aggregator runs hefed 0.1 {older}installed there"]
    assert row(of_0_1, "clock").words == "aggregator does not say what time it has"


def test_turned_away(homes: dict[str, Path]) -> None:
    findings = answered(homes, type="turned away", words="come back with another version")
    assert sentences(findings) == ["turned away: come back with another version"]
    assert states(findings, "wrong") == ["answer"]


def test_other_rosters(homes: dict[str, Path], address: str) -> None:
    newer = RosterState.of(other_roster(homes, address)).plain()
    assert sentences(answered(homes, roster=newer)) == [
        "orebro has version 1 of the roster in force and aggregator version 2: orebro's own is the older; put the "
        "newer one in force there (hefed federation join), and restart it"
    ]
    assert sentences(answered(homes, roster={"version": 1, "digest": bytes(32)})) == [
        "orebro and aggregator have different rosters of one version, 1; compare their fingerprints, and see to it "
        "that both have the one that all signed"
    ]


@pytest.mark.parametrize(("shift", "way"), [(-400.0, "ahead of"), (400.0, "behind")])
def test_clocks_that_differ(homes: dict[str, Path], shift: float, way: str) -> None:
    (sentence,) = sentences(answered(homes, time=time.time() + shift))
    assert re.fullmatch(
        rf"this machine's clock is (399|400|401) s {way} that of aggregator, and 300 s are the most that a study "
        r"allows; set it by NTP, or have aggregator set its own",
        sentence,
    )


def test_clocks_that_differ_a_little_do_not_matter(homes: dict[str, Path]) -> None:
    findings = answered(homes, time=time.time() - 120.0)
    assert re.fullmatch(r"within 1[12]\d seconds of that of aggregator", row(findings, "clock").words)


def test_a_second_node_of_one_identity(homes: dict[str, Path]) -> None:
    assert sentences(answered(homes, connected=True)) == [
        "a node of orebro is connected to aggregator, but none runs in this home; stop that one, or find out who has a "
        "copy of identity.key (if it was stopped just now, check again in ten seconds)"
    ]
    assert row(answered(homes, connected=False, running=True), "one node").words == (
        "the node that runs in this home is not connected to aggregator at the moment; see hefed status"
    )
