"""Why no connection stands, in the sentence that a person reads: each cause with real sockets, and what ends it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import pytest
import zmq

from hefed.node.aggregator_link import AggregatorLink
from hefed.node.errors import NodeError
from hefed.node.handshake import PROTOCOLS, turned_away
from hefed.node.identity import Identity
from hefed.node.limits import USUAL, Limits
from hefed.node.link import Received
from hefed.node.member_link import MemberLink
from hefed.node.trouble import Cause, Trouble
from hefed.protocol.roster import Roster
from tests.node.proxies import Socks5
from tests.node.runs import free_port, wait_for

ALL_WELL = {"type": "welcome", "accepted": {}, "protocol": PROTOCOLS[-1]}


class Here:
    """The federation test, with its aggregator's link on this machine."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(self.context.destroy, linger=0)
        self.aggregator, self.orebro = Identity.passing(), Identity.passing()
        self.roster = self.roster_of(self.aggregator)
        self.link: AggregatorLink | None = None
        stack.callback(self.hang_up)

    def roster_of(self, aggregator: Identity, *more: Identity) -> Roster:
        """The federation with this aggregator, and orebro unless there are others."""
        members = [one.member(f"region-{n}", ("contributor",)) for n, one in enumerate(more)]
        members = members or [self.orebro.member("orebro", ("contributor",))]
        return Roster.of("test", 4, [aggregator.member("central", ("aggregator",)), *members])

    def listen(self, roster: Roster | None = None, address: str = "127.0.0.1:0") -> str:
        self._there: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.link = AggregatorLink(self._there, self.aggregator, roster or self.roster, address)
        return self.link.address

    def hang_up(self) -> None:
        """The aggregator stops, if it is there."""
        if self.link is not None:
            self.link.close()
            self._there.destroy(linger=0)
        self.link = None

    def heard(self) -> Received:
        """The next message that comes to the aggregator."""
        link = self.link
        assert link is not None
        found: list[Received] = wait_for(lambda: list(link.receive()))
        return found[0]

    def answer(self, header: dict[str, Any]) -> None:
        """The aggregator's answer to what comes next."""
        connection = self.heard().connection
        assert self.link is not None
        self.link.send(connection, header)

    def server(self, serve: Callable[[socket.socket], object]) -> str:
        """A TCP server that is no aggregator."""
        listener = self._stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))

        def serve_one(near: socket.socket) -> None:
            with suppress(OSError):  # whoever has read enough hangs up first
                serve(near)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    self._stack.callback(near.close)
                    threading.Thread(target=serve_one, args=(near,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    @contextmanager
    def member(
        self, *addresses: str, roster: Roster | None = None, proxy: str | None = None, limits: Limits = USUAL
    ) -> Iterator[MemberLink]:
        its = roster or self.roster
        with closing(MemberLink(self.context, self.orebro, its, addresses, proxy=proxy, limits=limits)) as link:
            yield link

    def trouble(
        self, *addresses: str, seconds: float = 20, proxy: str | None = None, roster: Roster | None = None
    ) -> Trouble:
        """What orebro is told once all addresses were tried."""
        with self.member(*addresses, proxy=proxy, roster=roster) as link:

            def known() -> Trouble | None:
                assert not link.news()
                return link.trouble() if link.tried_all else None

            found: Trouble = wait_for(known, seconds)
            assert not link.greeted
            return found


@pytest.fixture
def here() -> Iterator[Here]:
    with ExitStack() as stack:
        yield Here(stack)


def test_nothing_listens(here: Here) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert here.trouble(address) == Trouble(
        Cause.REFUSED,
        f"nothing listens at {address}; see to it that central runs `hefed aggregator`, and on that port",
    )


def test_nobody_answers(here: Here) -> None:
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # its queue is full after two, and further packets are dropped, as by a firewall
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"127.0.0.1:{full.getsockname()[1]}"
        assert here.trouble(address) == Trouble(
            Cause.SILENT,
            f"{address} does not answer; a firewall may be in the way: have outbound TCP to {address} allowed, or name "
            "a proxy in settings.toml",
        )


def test_a_name_that_does_not_resolve(here: Here) -> None:
    trouble = here.trouble("aggregator.invalid:7100")
    assert trouble.cause is Cause.UNRESOLVED
    assert trouble.sentence.startswith("the name aggregator.invalid does not resolve (")
    assert trouble.sentence.endswith("); check its spelling in the roster and in settings.toml, and this machine's DNS")


def test_an_aggregator_that_does_not_know_this_member(here: Here) -> None:
    address = here.listen(here.roster_of(here.aggregator, Identity.passing()))
    assert here.trouble(address) == Trouble(
        Cause.UNKNOWN_HERE,
        f"central at {address} does not know the key of orebro: its roster lists another or none; compare the roster's "
        "version (4 here) and fingerprint with central's by telephone, and have the newest put in force on both sides",
    )


def test_an_aggregator_with_another_key(here: Here) -> None:
    address = here.listen()
    assert here.trouble(address, roster=here.roster_of(Identity.passing())) == Trouble(
        Cause.WRONG_KEY,
        f"what answers at {address} does not hold the key that the roster of test (version 4) gives central, or does "
        "not speak hefed; compare the roster's fingerprint with central's by telephone, and check the address",
    )


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_another_kind_of_server(here: Here, words: bytes) -> None:
    address = here.server(lambda near: near.sendall(words))
    assert here.trouble(address) == Trouble(
        Cause.STRANGER,
        f"what listens at {address} is no hefed aggregator; check the port in the roster, and what central runs on it",
    )


def test_zeromq_without_keys(here: Here) -> None:
    with closing(here.context.socket(zmq.ROUTER)) as plain:
        address = f"127.0.0.1:{plain.bind_to_random_port('tcp://127.0.0.1')}"
        assert here.trouble(address).cause is Cause.STRANGER


def test_a_server_that_says_nothing(here: Here) -> None:
    address = here.server(lambda near: None)
    assert here.trouble(address) == Trouble(
        Cause.MUTE,
        f"{address} takes the connection and then says nothing; a firewall between may hold it, or central hangs: have "
        "the path opened for any TCP, or the aggregator looked after",
    )


def test_every_address_is_told_of(here: Here) -> None:
    nowhere, stranger = f"127.0.0.1:{free_port()}", here.server(lambda near: near.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"))
    trouble = here.trouble(nowhere, stranger)
    assert trouble.cause is Cause.STRANGER
    assert trouble.sentence == f"{here.trouble(nowhere)}; and {here.trouble(stranger)}"


def test_the_next_address_is_tried_and_kept(here: Here) -> None:
    nowhere, address = f"127.0.0.1:{free_port()}", here.listen()
    with here.member(nowhere, address) as link:
        wait_for(link.news)
        assert link.address == address
        assert link.trouble() is None  # it has not had time to greet


def test_a_name_is_resolved_anew_and_all_its_addresses_are_tried(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    address = here.listen()
    port = int(address.rpartition(":")[2])
    answers, theirs = [["127.0.0.9"], ["127.0.0.8", "127.0.0.1"]], socket.getaddrinfo

    def resolver(host: str, port: int, *more: int, **options: int) -> object:
        if host != "central.example.org":
            return theirs(host, port, *more, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)  # the machine's own, which a test cannot change otherwise
    with here.member(f"central.example.org:{port}") as link:
        wait_for(link.news)
    assert answers == []


def test_a_proxy_that_is_not_there(here: Here) -> None:
    proxy, address = f"127.0.0.1:{free_port()}", here.listen()
    assert here.trouble(address, proxy=proxy) == Trouble(
        Cause.PROXY,
        f"the proxy {proxy} does not connect to {address} (nothing listens there); check the proxy in settings.toml, "
        f"and ask those who run it to allow {address}",
    )


def test_a_proxy_whose_name_does_not_resolve(here: Here) -> None:
    trouble = here.trouble(here.listen(), proxy="proxy.invalid:1080")
    assert trouble.cause is Cause.PROXY
    assert trouble.sentence.startswith("the proxy proxy.invalid:1080 does not connect to 127.0.0.1:")
    assert "(its name does not resolve); check the proxy in settings.toml" in trouble.sentence


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "connection closed unexpectedly"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unexpected socks version number: 72"),
        (b"\x05\xff", "no acceptable authentication methods were offered"),
    ],
    ids=["closes", "is another kind of proxy", "wants a login"],
)
def test_a_proxy_that_does_not_speak_as_we_do(here: Here, answer: bytes, words: str) -> None:
    def serve(near: socket.socket) -> None:
        near.recv(100)
        near.sendall(answer)
        near.shutdown(socket.SHUT_RDWR)

    trouble = here.trouble("127.0.0.1:7100", proxy=here.server(serve))
    assert trouble.cause is Cause.PROXY
    assert f" does not connect to 127.0.0.1:7100 ({words}); " in trouble.sentence


@pytest.mark.parametrize(
    ("code", "words"),
    [(2, "connection not allowed by ruleset"), (4, "host unreachable"), (5, "connection refused by destination host")],
)
def test_a_proxy_that_refuses(here: Here, code: int, words: str) -> None:
    with closing(Socks5(refuse=code)) as proxy:
        address = proxy.address
        trouble = here.trouble("central.invalid:7100", proxy=address)
    assert trouble.cause is Cause.PROXY
    assert f"the proxy {address} does not connect to central.invalid:7100 ({words}); " in trouble.sentence


def test_a_connection_that_is_not_greeted_yet(here: Here) -> None:
    address = here.listen()
    with here.member(address, limits=Limits(greeting_seconds=0.3)) as link:
        wait_for(link.news)
        link.greet({})
        assert link.trouble() is None
        time.sleep(0.4)
        assert link.trouble() == Trouble(
            Cause.NOT_GREETED,
            f"central at {address} is connected but has not greeted orebro yet; it is busy or hangs: wait, then have "
            "its log looked at",
        )
        assert wait_for(link.news)  # it is time to greet again
        link.greet({})
        here.answer(ALL_WELL)
        wait_for(lambda: list(link.receive()))
        assert link.greeted
        assert link.trouble() is None


def test_a_member_that_is_turned_away(here: Here) -> None:
    address = here.listen()
    with here.member(address) as link:
        wait_for(link.news)
        link.greet({})
        words = "central runs hefed 7.0 and orebro hefed 0.2; install hefed 7.0 at orebro"
        here.answer({"type": "turned away", "words": words})
        wait_for(lambda: list(link.receive()))
        assert not link.greeted
        assert link.trouble() == Trouble(Cause.TURNED_AWAY, f"turned away: {words}")


def test_a_cut_connection_is_made_again_at_the_same_address(here: Here) -> None:
    address = here.listen()
    with here.member(f"127.0.0.1:{free_port()}", address) as link:
        wait_for(link.news)
        here.hang_up()
        wait_for(lambda: not link.news() and not link.connected)
        trouble = link.trouble()
        assert trouble == Trouble(
            Cause.LOST,
            f"the connection to central at {address} is cut and is being made again; if that does not help, see to it "
            "that the aggregator runs and the network is up",
        )
        here.listen(address=address)
        wait_for(link.news)
        assert link.address == address


def test_an_aggregator_that_has_learnt_of_a_member_lets_it_in(here: Here) -> None:
    address = here.listen(here.roster_of(here.aggregator, Identity.passing()))
    with here.member(address) as link:
        wait_for(lambda: not link.news() and link.trouble())
        here.hang_up()
        here.listen(address=address)
        wait_for(link.news, 30)  # ZeroMQ by itself never tries again after a refused key


def test_what_is_no_address_is_said_at_once(here: Here) -> None:
    for wrong in ((), ("central",), ("tcp://central:7100",), ("central:0",)):
        with pytest.raises(NodeError, match="address"), here.member(*wrong):
            pass
    with pytest.raises(NodeError, match="address"), here.member("central:7100", proxy="proxy"):
        pass


def test_words_of_two_versions_name_both_and_the_remedy() -> None:
    from hefed.node.handshake import Versions

    assert "install hefed" in turned_away("central", "orebro", Versions("0.0.9", ()))
    assert "install at central the version that orebro has" in turned_away("central", "orebro", Versions("9", (7,)))
