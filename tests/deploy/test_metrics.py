"""The metrics, scraped over HTTP as Prometheus does."""

import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hefed import __version__
from hefed.node import metrics
from hefed.node.errors import NodeError
from hefed.node.metrics import Metrics, serve
from hefed.protocol.rules import RUNNING

NAME, HASH, PEER = "heart-failure-mortality", "ab" * 32, "orebro"
STUDY = {
    "study": HASH, "name": NAME, "phase": "contribution", "round": 3, "waiting_for": [PEER], "state": "running",
    "expires": 2e9,
}  # fmt: skip
REGION: dict[str, Any] = {
    "role": "region", "name": "halland", "connected": True, "ready_since": 1.9e9, "present": [PEER],
    "studies": [STUDY, STUDY, {**STUDY, "phase": "approval", "round": 0, "state": "pending", "expires": 1.95e9},
                {**STUDY, "phase": "opening", "state": "ended", "expires": 1.8e9}],
    "messages_sent": 17, "bytes_sent": 2**40 + 1, "identity_ends": "2028-11-26",
}  # fmt: skip
AGGREGATOR: dict[str, Any] = {
    "role": "aggregator", "name": "centre", "identity_ends": None,
    "studies": [
        {"study": HASH, "name": NAME, "phase": "dealing", "round": None, "expires": 2e9, "outcome": None},
        {"study": HASH, "name": NAME, "phase": "ended", "round": 3, "expires": 1.9e9, "outcome": "finished"},
    ],
    "members": [{"name": "halland", "connected": True}, {"name": PEER, "connected": False}],
}  # fmt: skip

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def fetched(page: Metrics, path: str = "/metrics") -> str:
    """The page."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the loopback has no proxy
    with opener.open(f"http://127.0.0.1:{page.port}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return str(answer.read().decode())


def samples(text: str) -> Samples:
    """What a scraper reads; a sample stands only once."""
    read = [
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert len(dict(read)) == len(read)
    return dict(read)


def value(read: Samples, name: str, **labels: str) -> float:
    """One sample."""
    return read[name, frozenset(labels.items())]


@contextmanager
def connected(page: Metrics) -> Iterator[socket.socket]:
    """A client that has said the half of a request."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as client:
        client.sendall(b"GET /metr")
        yield client


def test_a_region_tells_its_connection_its_studies_and_what_it_sent() -> None:
    with serve(0, lambda: REGION) as page:
        read = samples(fetched(page))
    assert value(read, "hefed_info", version=__version__, role="region") == 1
    assert value(read, "hefed_connected") == 1
    assert value(read, "hefed_studies", state="running", phase="contribution") == 2
    assert value(read, "hefed_studies", state="pending", phase="approval") == 1
    assert value(read, "hefed_messages_sent_total") == 17
    assert value(read, "hefed_bytes_sent_total") == 2**40 + 1
    assert value(read, "hefed_next_deadline_timestamp_seconds") == 1.95e9


def test_the_end_of_the_identity_is_that_of_its_last_day_in_utc_and_nothing_where_there_is_none() -> None:
    with serve(0, lambda: REGION) as page:
        read = samples(fetched(page))
    assert value(read, "hefed_identity_end_timestamp_seconds") == datetime(2028, 11, 27, tzinfo=UTC).timestamp()
    with serve(0, lambda: AGGREGATOR) as page:
        read = samples(fetched(page))
    assert "hefed_identity_end_timestamp_seconds" not in {name for name, _ in read}


def test_every_phase_is_there_before_any_study() -> None:
    with serve(0, lambda: {**REGION, "connected": False, "studies": []}) as page:
        read = samples(fetched(page))
    assert value(read, "hefed_connected") == 0
    assert [value(read, "hefed_studies", state="running", phase=phase) for phase in RUNNING] == [0] * len(RUNNING)
    assert value(read, "hefed_studies", state="pending", phase="approval") == 0
    assert "hefed_next_deadline_timestamp_seconds" not in {name for name, _ in read}


def test_an_aggregator_tells_who_is_connected() -> None:
    with serve(0, lambda: AGGREGATOR) as page:
        read = samples(fetched(page))
    assert value(read, "hefed_info", version=__version__, role="aggregator") == 1
    assert value(read, "hefed_member_connected", member="halland") == 1
    assert value(read, "hefed_member_connected", member=PEER) == 0
    assert "hefed_connected" not in {name for name, _ in read}


def test_studies_that_have_ended_are_not_counted() -> None:
    with serve(0, lambda: AGGREGATOR) as page:
        read = samples(fetched(page))
    counts = {labels: number for (name, labels), number in read.items() if name == "hefed_studies" and number}
    assert counts == {frozenset({("state", "running"), ("phase", "dealing")}): 1}
    assert value(read, "hefed_next_deadline_timestamp_seconds") == 2e9


def test_memory_and_open_files_of_the_process_are_there() -> None:
    with serve(0, dict) as page:
        read = samples(fetched(page))
        with Path("/dev/null").open():
            assert value(samples(fetched(page)), "process_open_fds") == value(read, "process_open_fds") + 1
    assert value(read, "process_resident_memory_bytes") > 2**20
    assert value(read, "process_start_time_seconds") < time.time()


def test_no_study_is_named() -> None:
    with serve(0, lambda: REGION) as page:
        text = fetched(page)
    assert "hefed_studies" in text
    for word in (NAME, HASH, HASH[:8], PEER, "halland"):
        assert word not in text


def test_each_request_sees_the_newest_status() -> None:
    status = dict(REGION)
    with serve(0, lambda: status) as page:
        assert value(samples(fetched(page)), "hefed_connected") == 1
        status = {**REGION, "connected": False}
        assert value(samples(fetched(page)), "hefed_connected") == 0


def test_the_port_is_open_on_the_loopback_address_only() -> None:
    with serve(0, dict) as page:
        listening = [
            line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
        ]
        mine = [columns[1] for columns in listening if columns[1].endswith(f":{page.port:04X}") and columns[3] == "0A"]
    assert mine == [f"0100007F:{page.port:04X}"]


def test_a_port_in_use_is_one_sentence() -> None:
    with serve(0, dict) as page, pytest.raises(NodeError) as caught:
        serve(page.port, dict)
    assert str(caught.value) == (
        f"the metrics cannot be served on 127.0.0.1:{page.port}: address already in use; "
        "set another metrics_port, or stop what uses this one"
    )


def test_a_port_that_is_none_is_one_sentence() -> None:
    with pytest.raises(NodeError, match=r"on port 65536; a port is a number up to 65535$"):
        serve(65536, dict)


def test_after_close_the_port_is_free_and_no_thread_is_left() -> None:
    page = serve(0, dict)
    fetched(page)
    page.close()
    assert not any(thread.name == "metrics" for thread in threading.enumerate())
    with pytest.raises(urllib.error.URLError):
        fetched(page)
    with serve(page.port, dict) as again:
        assert fetched(again)


def test_close_does_not_wait_for_a_client_in_the_middle_of_its_request() -> None:
    page = serve(0, dict)
    with connected(page), connected(page):
        time.sleep(0.3)
        start = time.monotonic()
        page.close()
        assert time.monotonic() - start < 1
    assert not any(thread.name == "metrics" for thread in threading.enumerate())


def test_silent_clients_take_no_thread_and_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics._Request, "timeout", 0.2)
    with serve(0, dict) as page, connected(page), connected(page), connected(page):
        threads = threading.active_count()
        assert "hefed_info" in fetched(page)
        assert threading.active_count() == threads


@pytest.mark.parametrize(
    "request_bytes", [b"\x00\xff\r\n\r\n", b"GET " + b"x" * 70000, b"POST / HTTP/1.1\r\n\r\n", b""]
)
def test_a_request_that_is_none_changes_nothing(request_bytes: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(0, dict) as page:
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as client:
            client.sendall(request_bytes)
        assert "hefed_info" in fetched(page)
    assert capsys.readouterr() == ("", "")


def test_an_error_in_it_is_logged_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> dict[str, Any]:
        raise ValueError("19121212-1212")

    with caplog.at_level(logging.ERROR), serve(0, broken) as page:
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetched(page)
        with caught.value as answer:
            assert (answer.code, answer.read()) == (500, b"an error of hefed; see its log\n")
    assert "ValueError at " in caplog.text
    assert "19121212" not in caplog.text
