"""What goes over a link between a real node, a real analyst and a real aggregator, over real sockets, begins with a
header of the page's schema; and every kind of header of the page goes over one.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pycddl
import pytest
import zmq

from hefed.node import handshake
from hefed.node.aggregator_link import AggregatorLink
from hefed.node.analyst import AnalystClient, Submission
from hefed.node.frames import PIECE_FOLLOWS
from hefed.node.member_link import MemberLink
from hefed.node.pieces import SAY
from hefed.protocol import codec
from hefed.protocol.rules import Phase
from hefed.study import Study
from tests.docs.test_specification import grammar
from tests.node.runs import study_file, wait_for
from tests.node.test_region import Alone
from tests.node.test_versions import HELLO_0_1, Central

PAGE = grammar("messages.md", "cddl")
KINDS = set(re.findall(r"^header = (.*)$", PAGE, re.MULTILINE)[0].split(" / "))
OPTIONAL = {"only", "long"}

Headers = set[bytes]


def note(link: AggregatorLink | MemberLink, headers: Headers) -> None:
    """Writes down the headers that come over a link, those of messages that left together one by one."""
    first, take = int(isinstance(link, AggregatorLink)), link._incoming.take

    def taken(until: float) -> list[zmq.Frame] | None:
        parts = take(until)
        if parts and parts[first].bytes != PIECE_FOLLOWS:
            plain = codec.decode(parts[first].bytes)
            headers.update([codec.encode(one) for one in plain] if isinstance(plain, list) else [parts[first].bytes])
        return parts

    link._incoming.take = taken  # type: ignore[method-assign]


def of_a_region(folder: Path, headers: Headers) -> None:
    """What a region says until it has approved a study, and has lived for a second."""
    alone = Alone(folder, Study.load(study_file(folder)), 600)
    note(alone.link, headers)
    with alone:
        alone.invite()
        alone.hear("beat")


class Analyst(threading.Thread):
    """An analyst who submits a study and follows it, in a thread of its own."""

    def __init__(self, central: Central, submission: Submission, headers: Headers) -> None:
        super().__init__(daemon=True)
        self._central, self._submission, self._headers = central, submission, headers
        self.phase = Phase.INVITATION

    def run(self) -> None:
        central, identity = self._central, self._central.identities["analyst"]
        with closing(MemberLink(central.context, identity, central.roster, [central.link.address])) as link:
            note(link, self._headers)
            client = AnalystClient(name="analyst", identity=identity, link=link, submission=self._submission)
            self.phase = client.follow(lambda board, message: None).phase


def of_an_aggregator_and_an_analyst(folder: Path, headers: Headers) -> None:
    """What they say to each other, and what the aggregator says to members, one of whom is of another version."""
    with closing(Central(folder)) as central:
        note(central.link, headers)
        submission = central.submission()
        peer, other = central.member("halland"), central.member("kronoberg")
        note(peer.link, headers)
        note(other.link, headers)
        message = {"type": "message", "study": submission.study, "number": 0}
        peer.say(message, b"too soon")
        peer.hear("unknown")
        peer.link.send(handshake.probe(central.roster))
        peer.hear("probed")
        peer.link.greet({})
        for kind in ("welcome", "present", "beat"):
            peer.hear(kind)
        other.say(HELLO_0_1)
        other.hear("turned away")
        peer.say({**message, "study": bytes(32)}, b"no envelope")
        peer.hear("refused")
        assert peer.link.send({**message, "study": bytes(32), "number": 5}, b"envelope", bytes(3 * SAY))

        def is_taken() -> bool:
            central.turn()
            list(peer.link.receive())
            return any(codec.decode(header)["type"] == "taken" for header in headers - {HELLO_0_1})

        wait_for(is_taken)
        analyst = Analyst(central, submission, headers)
        analyst.start()
        peer.hear("entry")
        began = time.monotonic()
        # for the analyst's sign of life, and until a greeting is answered again
        wait_for(lambda: central.turn() or time.monotonic() - began > 1.5)
        peer.link.greet({submission.study.hex(): 1})
        assert peer.hear("welcome")["accepted"] == {submission.study.hex(): 0}
        peer.say(message, central.refusal(submission, "halland"))
        wait_for(lambda: central.turn() or not analyst.is_alive())
        assert analyst.phase is Phase.ENDED


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Headers]:
    """All that were seen, by what the page calls their kind; without what another version said."""
    seen: Headers = set()
    of_a_region(tmp_path_factory.mktemp("region"), seen)
    of_an_aggregator_and_an_analyst(tmp_path_factory.mktemp("aggregator"), seen)
    found: dict[str, Headers] = {}
    for header in seen - {HELLO_0_1}:
        found.setdefault(codec.decode(header)["type"].replace(" ", "-"), set()).add(header)
    return found


def test_every_kind_of_header_that_the_page_has_was_seen_and_no_other(headers: dict[str, Headers]) -> None:
    assert set(headers) == KINDS
    only = {codec.decode(header).get("only", False) for header in headers["hello"]}
    assert only == {True, False}  # a node's, and an analyst's


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_is_as_the_page_says_and_nothing_else_is(kind: str, headers: dict[str, Headers]) -> None:
    # Each by itself: of a choice, the checker takes an alternative with a group only when it is the first.
    schema = pycddl.Schema(f"top = {kind}\n" + PAGE)
    for header in headers[kind]:
        schema.validate_cbor(header)
    for wrong in others(codec.decode(min(headers[kind]))):
        with pytest.raises(pycddl.ValidationError):
            schema.validate_cbor(codec.encode(wrong))


def others(header: dict[str, object]) -> Iterator[dict[str, object]]:
    """Headers with more, with less, and of another kind."""
    yield {**header, "more": 1}
    yield {**header, "type": "another"}
    for key in header.keys() - OPTIONAL:
        yield {one: value for one, value in header.items() if one != key}
