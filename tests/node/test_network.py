"""Networks as regions have them: whole studies over lines that are slow, late or cut, over IPv6, by a SOCKS5 proxy.

Each gives R's answer, and the aggregator has each message of a region once, byte for byte as the region stored it.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hefed.node.identity import Identity
from hefed.node.parties import AGGREGATOR
from hefed.node.process import ProcessConfig
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from tests.node.proxies import Cutting, Delaying, Forwarder, Socks5, Throttled
from tests.node.runs import Run, cox_reference, free_port, study_file
from tests.node.test_link import Hostile


@contextmanager
def through(folder: Path, proxy: Forwarder, port: int) -> Iterator[Run]:
    """Parties whose regions reach the aggregator through a proxy only."""
    with closing(proxy), Run(study_file(folder), folder / "parties", port=port, through=proxy.port) as run:
        yield run


def assert_as_if_nothing_had_happened(run: Run, board: Board) -> None:
    run.assert_answer(board, cox_reference())
    run.assert_every_message_was_sent_once()
    assert run.parties.ended() == {}
    for name in (AGGREGATOR, *run.study.members):
        assert "Traceback" not in run.log(name)


def test_connections_that_are_cut_in_the_middle_of_frames(tmp_path: Path) -> None:
    port = free_port()
    # Contributions and answers are longer than the shortest of these, so that the cuts fall into frames.
    proxy = Cutting(0, ("127.0.0.1", port), cuts=40, least=700, most=20_000)
    with through(tmp_path, proxy, port) as run:
        board = run.follow()
        assert proxy.cut >= 30
        assert run.log(AGGREGATOR).count(" is connected") > 2 * len(run.study.members)  # greeted again and again
        assert_as_if_nothing_had_happened(run, board)


def test_a_line_of_100_kilobytes_a_second(tmp_path: Path) -> None:
    port = free_port()
    proxy = Throttled(0, ("127.0.0.1", port), rate=100_000)
    with through(tmp_path, proxy, port) as run:
        start = time.monotonic()
        board = run.follow()
        seconds = time.monotonic() - start
        assert_as_if_nothing_had_happened(run, board)
        assert (
            seconds > proxy.bytes_passed / (2 * len(run.study.members)) / 100_000
        )  # it was the line that took so long
        assert proxy.connections == len(run.study.members)  # and nobody took it for dead


def test_a_line_on_which_all_arrives_half_a_second_later(tmp_path: Path) -> None:
    port = free_port()
    proxy = Delaying(0, ("127.0.0.1", port), 0.5)
    with through(tmp_path, proxy, port) as run:
        assert_as_if_nothing_had_happened(run, run.follow())
        assert proxy.connections == len(run.study.members)


def test_duplicates_of_all_that_a_region_sent(tmp_path: Path) -> None:
    repeated: list[int] = []

    def repeat(run: Run, board: Board, message: "m.Message | None") -> None:
        if message is None or message.sender == AGGREGATOR or message.body.kind == "invitation":
            return
        study = run.submission.study
        with Hostile(run, Identity.load(run.folder / "orebro")) as again:  # its node takes the connection back
            accepted = again.hello({study.hex(): 0})["accepted"][study.hex()]
            for number, stored in enumerate(run.sent("orebro").values()):
                if number < accepted:
                    again.header(
                        {"type": "message", "study": study, "number": number}, stored.envelope, *stored.attachments
                    )
                    repeated.append(number)

    with Run(study_file(tmp_path), tmp_path / "parties") as run:
        board = run.follow(repeat)
        assert len(repeated) > 100
        assert_as_if_nothing_had_happened(run, board)


def configure(run: Run, names: tuple[str, ...], **values: str) -> None:
    """Changes what parties that are not started yet are told."""
    for name in names:
        config = ProcessConfig.read(run.folder / name)
        config.model_copy(update=values).write(run.folder / name)


def test_ipv6(tmp_path: Path) -> None:
    run = Run(study_file(tmp_path), tmp_path / "parties")
    configure(run, (AGGREGATOR,), endpoint="[::1]:0")
    with run:
        assert str(run.parties.endpoint()).startswith("[::1]:")
        assert_as_if_nothing_had_happened(run, run.follow())


def test_a_socks_proxy_which_alone_knows_the_way(tmp_path: Path) -> None:
    port = free_port()
    run = Run(study_file(tmp_path), tmp_path / "parties", port=port)
    (run.folder / "name").write_text("central.invalid:7100")
    with closing(Socks5({"central.invalid": ("127.0.0.1", port)})) as proxy:
        configure(run, run.study.members, proxy=proxy.address, endpoint_file=str(run.folder / "name"))
        with run:
            board = run.follow()
        assert set(proxy.asked) == {"central.invalid"}
        assert_as_if_nothing_had_happened(run, board)
