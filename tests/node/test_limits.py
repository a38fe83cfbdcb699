"""Every limit of a home's settings holds where it is set lower than usual; what is out of its range is refused."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hefed.data.settings import SettingsError
from hefed.node.aggregator import AggregatorNode
from hefed.node.home import Home
from hefed.node.limits import USUAL, Limits
from hefed.node.link import Received
from hefed.node.member_link import MemberLink
from hefed.node.settings import FILE, Settings
from hefed.node.trouble import Cause
from hefed.protocol import messages as m
from tests.node.homes import answering
from tests.node.proxies import Forwarder
from tests.node.runs import free_port, read_until, started, wait_for
from tests.node.test_bounds import Pair, parts
from tests.node.test_floods import ended, silent
from tests.node.test_hostile_aggregator import Setting, _aggregator, _greet, _words, pass_on, reads, setting
from tests.node.test_trouble import Here, here

__all__ = ["here", "setting"]

MIB = 2**20
BOUNDS = {
    key: [getattr(bound, kind) for bound in field.metadata for kind in ("ge", "le") if hasattr(bound, kind)]
    for key, field in Limits.model_fields.items()
}


@pytest.fixture
def pairs() -> Iterator[Callable[[Limits], Pair]]:
    made: list[Pair] = []

    def make(limits: Limits) -> Pair:
        made.append(Pair(limits=limits))
        return made[-1]

    yield make
    for pair in made:
        pair.close()


# --- The section ------------------------------------------------------------------------------------


def load(folder: Path, **values: float) -> Limits:
    text = "".join(f"{key} = {value}\n" for key, value in values.items())
    (folder / FILE).write_text(f"[limits]\n{text}", encoding="utf-8")
    return Settings.load(folder).limits


@pytest.mark.parametrize("key", BOUNDS)
def test_each_key_is_taken_within_its_range_and_refused_beyond_in_words(key: str, tmp_path: Path) -> None:
    (least, most), others = BOUNDS[key], {}
    if key == "unread_bytes":
        others = {"message_bytes": least}
    if key == "connections":
        others = {"connections_silent": 4}
    for value in (least, most, Limits.model_fields[key].default):
        if key != "connections_silent" or value <= USUAL.connections:
            assert getattr(load(tmp_path, **others, **{key: value}), key) == value
    step = 1 if isinstance(least, int) else 0.01
    for value, words in ((least - step, f"at least {least}"), (most + step, f"at most {most}")):
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, **others, **{key: value})
        assert str(caught.value) == f"{tmp_path / FILE}: [limits] {key} must be {words}, not {value}"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"frame_byte": 2**20}, "unknown key 'frame_byte' in [limits]; did you mean 'frame_bytes'?"),
        ({"colour": 1}, "unknown key 'colour' in [limits]; remove it"),
        ({"connections": 7.5}, "[limits] connections must be a whole number, not 7.5"),
        ({"retry_seconds": float("inf")}, "[limits] retry_seconds must be a finite number"),
        (
            {"unread_bytes": 2**24},
            "[limits] unread_bytes must be at least message_bytes, which is 967108864, not 16777216; lower "
            "message_bytes too",
        ),
        (
            {"connections": 100},
            "[limits] connections_silent must be at most connections, which is 100, not 512; lower connections_silent "
            "too",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(values: dict[str, float], words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **values)
    assert str(caught.value) == f"{tmp_path / FILE}: {words}"


def test_bytes_that_nobody_took_are_never_more_than_a_quarter_of_the_memory() -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert Limits(unread_bytes_together=2**40).most_unread_together == min(2**40, memory // 4)
    assert Limits(unread_bytes_together=2**24).most_unread_together == 2**24


# --- Bytes over a connection ------------------------------------------------------------------------


def is_over(link: MemberLink) -> Callable[[], bool]:
    def look() -> bool:
        link.news()
        return not link.connected

    return look


def spoken(pair: Pair, link: MemberLink) -> MemberLink:
    """A further connection of the member, over which a message has come."""
    wait_for(link.news)
    link.send({"type": "hello"})
    pair.at_aggregator()
    return link


def test_unread_bytes(pairs: Callable[[Limits], Pair]) -> None:
    pair = pairs(Limits(message_bytes=8 * MIB, unread_bytes=8 * MIB))
    pair.member.socket.send_multipart(parts(7), copy=False)
    time.sleep(1)  # two looks, in which it waits
    assert not is_over(pair.member)()
    list(pair.aggregator.receive())  # it is no message of ours, but taken
    pair.member.socket.send_multipart(parts(9), copy=False)
    wait_for(is_over(pair.member))


def test_unread_bytes_silent(pairs: Callable[[Limits], Pair]) -> None:
    pair = pairs(Limits(unread_bytes_silent=2**16))
    with closing(pair.another()) as short, closing(pair.another()) as long:
        for link, size in ((short, 2**15), (long, 2**17)):
            wait_for(link.news)
            list(pair.aggregator.receive())
            link.socket.send_multipart([b"no header", bytes(size)])
        wait_for(is_over(long))
        assert not is_over(short)()


def test_unread_bytes_together(pairs: Callable[[Limits], Pair]) -> None:
    pair = pairs(Limits(unread_bytes_together=16 * MIB))
    with closing(spoken(pair, pair.another())) as other:
        other.socket.send_multipart(parts(10), copy=False)
        pair.member.socket.send_multipart(parts(7), copy=False)
        wait_for(is_over(other))
        assert not is_over(pair.member)()


def test_waiting_messages(pairs: Callable[[Limits], Pair]) -> None:
    pair = pairs(Limits(waiting_messages=16))
    assert pair.aggregator.socket.sndhwm == pair.member.socket.sndhwm == 16
    for number in range(40):
        wait_for(lambda number=number: pair.member.send({"type": "message", "number": number}))
    time.sleep(0.5)
    turns = []
    while sum(turns) < 40:
        turns.append(len(list(pair.aggregator.receive())))
    assert turns == [16, 16, 8]


def test_message_bytes_at_the_aggregator(setting: Setting) -> None:
    node = _aggregator(setting, Limits(message_bytes=2**23))
    study = begun(setting, node)
    setting.link.sent.clear()
    say(node, study, "halland", 0, setting.signed(m.Refusal(words="no"), study, "halland"), bytes(2**23))
    ((header, _),) = [one for one in setting.link.sent if one[0]["type"] == "refused"]
    assert header["words"].startswith("refused a message of halland: a message of 8388")
    assert header["words"].endswith(
        "bytes from halland; at most 8388608 are taken here: have [limits] message_bytes raised in the settings here, "
        "or ask for fewer values"
    )
    assert node.status()["studies"][0]["outcome"] == header["words"]


def test_message_bytes_in_a_region(setting: Setting) -> None:
    node = setting.node(reads, limits=Limits(message_bytes=2**23))
    made = setting.invite(node)
    setting.link.sent.clear()
    header = {"type": "entry", "study": made.study, "number": 1}
    node._handle(Received(header, (), too_long=2**23 + 8))
    node._settle(made.study)
    (words,) = _words(setting)
    assert "a message of 8388616 bytes from aggregator; at most 8388608 are taken here" in words


# --- Connections ------------------------------------------------------------------------------------


def test_connections_in_all_the_newest_is_cut_off(pairs: Callable[[Limits], Pair]) -> None:
    pair = pairs(Limits(connections=8, connections_silent=4))
    others = [spoken(pair, pair.another()) for _ in range(7)]
    with closing(pair.another()) as ninth:
        wait_for(lambda: list(pair.aggregator.receive()) or (is_over(ninth)() and ninth.trouble()))
        assert [link for link in (pair.member, *others) if is_over(link)()] == []
    for link in others:
        link.close()


def test_connections_silent_of_all_and_of_one_address(pairs: Callable[[Limits], Pair]) -> None:
    pair = pairs(Limits(connections_silent=4))
    held = [one for host in range(2, 8) for one in silent(pair.aggregator.address, 1, f"127.0.0.{host}")]
    wait_for(lambda: list(pair.aggregator.receive()) or sum(ended(held)) == 2)
    assert ended(held) == [True, True, False, False, False, False]
    held += silent(pair.aggregator.address, 1, "127.0.0.7")
    wait_for(lambda: list(pair.aggregator.receive()) or ended(held)[5])  # the second of one address
    for one in held:
        one.close()


def test_connections_member_the_newest_is_cut_off_and_not_its_nodes(
    pairs: Callable[[Limits], Pair], caplog: pytest.LogCaptureFixture
) -> None:
    pair = pairs(Limits(connections_member=4))
    others = [spoken(pair, pair.another()) for _ in range(3)]
    with closing(pair.another()) as fifth:
        wait_for(fifth.news)
        fifth.send({"type": "hello"})
        wait_for(lambda: list(pair.aggregator.receive()) or is_over(fifth)())
        assert [link for link in (pair.member, *others) if is_over(link)()] == []
    assert "a connection of orebro is cut off: it has 4 others" in caplog.messages
    others.pop().close()
    wait_for(lambda: list(pair.aggregator.receive()) or len(pair.aggregator._descriptors) == 3)
    spoken(pair, pair.another()).close()  # there is room again
    for link in others:
        link.close()


def test_connections_member_half_of_them_follow_studies(setting: Setting) -> None:
    node = _aggregator(setting, Limits(connections_member=4))
    hello = {"type": "hello", "version": 1, "protocols": [2], "studies": {}, "only": True}
    for number in range(3):
        node._handle(Received(hello, (), "analyst", bytes([number])))
    assert [one.key for one in node._connections] == [b"\1", b"\2"]


# --- Studies ----------------------------------------------------------------------------------------


def say(node: AggregatorNode, study: bytes, name: str, number: int, *frames: bytes) -> None:
    node._handle(Received({"type": "message", "study": study, "number": number}, frames, name, name.encode()))
    node._deliver()


def begun(setting: Setting, node: AggregatorNode) -> bytes:
    """A study of the analyst that runs there, halland connected."""
    made = setting.submission()
    for name in ("analyst", "halland"):
        _greet(node, name, {})
    say(node, made.study, "analyst", 0, setting.signed(made.invitation, made.study))
    return made.study


def test_aggregator_studies(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    node = _aggregator(setting, Limits(aggregator_studies=1))
    first, second = begun(setting, node), begun(setting, node)
    assert [one["study"] for one in node.status()["studies"]] == [first.hex()]
    words = (
        "aggregator has no room: 1 studies run there, and its [limits] aggregator_studies allows no more; submit again "
        "when one has ended"
    )
    assert words in caplog.text
    assert [header["words"] for header, _ in setting.link.sent if header["type"] == "refused"] == [words]
    say(node, first, "halland", 0, setting.signed(m.Refusal(words="no"), first, "halland"))
    assert second.hex() not in [one["study"] for one in node.status()["studies"]]
    third = begun(setting, node)
    assert node.status()["studies"][0]["study"] == third.hex()


def test_study_messages(setting: Setting) -> None:
    node = _aggregator(setting, Limits(study_messages=1))
    study = begun(setting, node)
    approval = setting.identities["analyst"].signer.sign(
        m.Refusal(words="no"), federation="test", study=study, sender="analyst", previous=bytes(32)
    )
    setting.link.sent.clear()
    say(node, study, "analyst", 1, approval.envelope)
    ((header, _),) = [one for one in setting.link.sent if one[0]["type"] == "refused"]
    assert "more than 1 messages of analyst in one study; no more are taken here" in header["words"]
    assert node.status()["studies"][0]["phase"] == "ended"


def test_study_messages_in_a_region_for_all_parties_together(setting: Setting) -> None:
    node = setting.node(reads, limits=Limits(study_messages=2))
    made = setting.invite(node)
    parties = 2 + len(setting.study.members)
    node._studies[made.study].received = 2 * parties - 1
    setting.link.sent.clear()
    pass_on(node, made.study, 2 * parties - 1, b"the last that is looked at")
    assert "cannot be used" in _words(setting)[0]
    other = setting.invite(node)
    node._studies[other.study].received = 2 * parties
    setting.link.sent.clear()
    pass_on(node, other.study, 2 * parties, b"one more")
    (words,) = _words(setting)
    assert f"a record of more than {2 * parties} messages of {parties} parties; no more are taken here" in words


def test_study_seconds_at_the_aggregator(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    node = _aggregator(setting, Limits(study_seconds=60))
    study = begun(setting, node)
    ((header, _),) = [one for one in setting.link.sent if one[0]["type"] == "refused"]
    assert (header["study"], "aggregator takes none that ends in more than 60 s" in header["words"]) == (study, True)
    assert (node.status()["studies"], node._store.length(study)) == ([], 0)


def test_study_seconds_in_a_region(setting: Setting) -> None:
    node = setting.node(reads, limits=Limits(study_seconds=60))
    setting.invite(node)
    (words,) = _words(setting)
    assert "halland takes none that ends in more than 60 s; shorten its [security] deadline" in words


# --- Seconds ----------------------------------------------------------------------------------------


def until_trouble(here: Here, address: str, limits: Limits, cause: Cause) -> float:
    """How long it takes until that is told."""
    start = time.monotonic()
    with here.member(address, limits=limits) as link:
        wait_for(lambda: (link.news(), link.trouble())[1])
        trouble = link.trouble()
    assert trouble is not None
    assert trouble.cause is cause
    return time.monotonic() - start


def test_handshake_seconds(here: Here) -> None:
    mute = here.server(lambda near: None)
    assert 0.4 < until_trouble(here, mute, Limits(handshake_seconds=0.5), Cause.MUTE) < 4
    assert USUAL.handshake_seconds > 4


def test_connect_seconds(here: Here) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        held = [socket.socket() for _ in range(3)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"127.0.0.1:{full.getsockname()[1]}"
        assert until_trouble(here, address, Limits(connect_seconds=0.5), Cause.SILENT) < 4
        for one in held:
            one.close()
    assert USUAL.connect_seconds > 4


class Muting(Forwarder):
    """Keeps its connections and drops every byte, once it is told to."""

    mute = False

    def forward(self, data: bytes, sink: socket.socket, upwards: bool) -> bool:
        return self.mute or super().forward(data, sink, upwards)


def test_silence_seconds(here: Here) -> None:
    target = here.listen()
    line = Muting(0, ("127.0.0.1", int(target.rpartition(":")[2])))
    with closing(line), here.member(line.address, limits=Limits(silence_seconds=1.0)) as link:
        wait_for(link.news)
        time.sleep(2.5)
        link.news()
        assert link.connected  # signs of life are as near to each other as that takes
        start, line.mute = time.monotonic(), True
        wait_for(is_over(link))
        assert time.monotonic() - start < 4 < USUAL.silence_seconds


def test_retry_seconds(here: Here) -> None:
    tries: list[float] = []
    closing_at_once = here.server(lambda near: (tries.append(time.monotonic()), near.close()))
    with here.member(closing_at_once, limits=Limits(retry_seconds=0.1)) as link:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            link.news()
            time.sleep(0.01)
    assert len(tries) > 12  # doubled each time from 0.1 s on there would be six


# --- From the settings to the processes -------------------------------------------------------------


def test_an_aggregator_runs_with_the_limits_of_its_settings(homes: dict[str, Path]) -> None:
    address = f"127.0.0.1:{free_port()}"
    bind = f'[network]\nbind = "{address}"\n'
    (homes["aggregator"] / FILE).write_text(f"{bind}[limits]\nconnections_silent = 4\n")
    with started("aggregator", "--home", homes["aggregator"]) as process:
        read_until(process, "listens on")
        held = [one for host in range(2, 12) for one in silent(address, 1, f"127.0.0.{host}")]
        read_until(process, "connections are cut off: too many that say nothing")
        wait_for(lambda: sum(ended(held)) == 6)
        for one in held:
            one.close()


def test_a_node_runs_with_the_limits_of_its_settings(homes: dict[str, Path]) -> None:
    roster = Home(homes["orebro"]).in_force()
    assert roster is not None
    with answering(homes["aggregator"], roster, "127.0.0.1:0", lambda received: None) as address:
        settings = f'[network]\naggregator = ["{address}"]\n[limits]\ngreeting_seconds = 0.5\n'
        (homes["orebro"] / FILE).write_text(settings)
        with started("node", "--home", homes["orebro"]) as process:
            read_until(process, "is connected but has not greeted orebro yet")


def test_settings_out_of_range_stop_a_command_with_a_sentence(homes: dict[str, Path]) -> None:
    (homes["orebro"] / FILE).write_text("[limits]\nregion_studies = 2000\n")
    with started("node", "--home", homes["orebro"]) as process:
        words = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert words == f"hefed: {homes['orebro'] / FILE}: [limits] region_studies must be at most 1000, not 2000\n"
