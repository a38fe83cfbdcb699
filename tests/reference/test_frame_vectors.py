"""What comes over a connection, read by hefed's link and by the reference: both say the same of every vector."""

import hashlib

import pytest
import zmq

from hefed.node.pieces import Pieces
from hefed.protocol import codec
from protocols.reference import frame_vectors
from protocols.reference.vector_format import bytes_of
from tests.reference.vectors import assert_bytes, read

CASES = read("frames")["frames"]
REFUSED = {"refused": "frames"}


def came(parts):
    """The frames of one of ZeroMQ's messages."""
    if isinstance(parts, dict):
        return [bytes_of(parts["header"]), *[bytes_of(part) for part in parts["repeat"]] * parts["count"]]
    return [bytes_of(part) for part in parts]


def taken(pieces, parts):
    """The messages that are whole with these frames; None when they are refused."""
    before = pieces.arriving and (pieces.arriving, pieces.arriving.taken)
    found = pieces.read([zmq.Frame(part) for part in came(parts)])
    after = pieces.arriving and (pieces.arriving, pieces.arriving.taken)
    return found if found or after not in (None, before) else None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_link_reads_what_it_must_and_refuses_the_rest(case):
    pieces = Pieces(None)
    for parts, expected in zip(case["came"], case["read"], strict=True):
        found = taken(pieces, parts)
        if expected == REFUSED:
            assert found is None
            continue
        for (header, frames), shown in zip(found, expected, strict=True):
            assert_bytes(codec.encode(header), shown["header"])
            alike = "repeat" in shown
            assert len(frames) == (shown["count"] if alike else len(shown["frames"]))
            for frame, one in zip(frames, shown["repeat"] * len(frames) if alike else shown["frames"], strict=True):
                assert_bytes(bytes(frame), one)
    pieces.drop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_reference_reads_what_it_must_and_refuses_the_rest(case):
    assert frame_vectors.read([came(parts) for parts in case["came"]]) == case["read"]


def test_a_wrong_piece_is_asked_about():
    """Which is what the sender hears of it: a greeting begins again."""
    asked = set()
    for case in CASES:
        pieces = Pieces(None)
        for parts in case["came"]:
            taken(pieces, parts)
        pieces.drop()
        if pieces.is_lost:
            asked.add(case["name"])
    assert "a piece that nobody announced" in asked
    assert not asked & {case["name"] for case in CASES if REFUSED not in case["read"]}


def test_the_cases_differ():
    inputs = [hashlib.sha256(str(case["came"]).encode()).digest() for case in CASES]
    assert len(set(inputs)) == len(CASES)
    assert len({case["name"] for case in CASES}) == len(CASES)
