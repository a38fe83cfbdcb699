"""A result's file gives back what was written, in either form; frames in any other order are refused."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from hefed.protocol import result_file
from hefed.protocol.errors import TranscriptError
from hefed.protocol.result_file import FORMAT, ResultReader, ResultWriter
from hefed.protocol.transcript import Chained, Head, TranscriptReader
from tests.protocol.federation import NOW, Federation
from tests.protocol.transcripts import signing, written

FOUND: dict[str, Any] = {
    "outcome": "result",
    "document": {"estimate": [1.5, -2.0]},
    "decided": bytes(range(32)),
    "versions": {"hefed": "1"},
}
OPENED = [b"first sum", b"second"]
Write = Callable[[ResultWriter], None]


def result(federation: Federation, *frames: Write) -> bytes:
    """A file of the first entries and of what is written behind them."""
    file = BytesIO()
    writer = ResultWriter(file, Head("halland", federation.submission.study, federation.roster))
    for number, entry in enumerate(federation.log[:3]):
        writer.add(number, NOW, entry.message, ())
    for write in frames:
        write(writer)
    writer.finish(signing(federation.signers["halland"]))
    return file.getvalue()


def opened(number: int, packed: bytes) -> Write:
    return lambda writer: writer.add_opened(number, packed)


def hashed(writer: ResultWriter) -> None:
    writer.add_hashed(bytes(32))


def found(writer: ResultWriter) -> None:
    writer.add_found(**FOUND)


def read(data: bytes) -> ResultReader:
    """A reader that has read everything."""
    reader = ResultReader(BytesIO(data))
    assert len(list(reader)) == 3
    return reader


@pytest.mark.parametrize("piece", [4, 6, 9, 2**20])
def test_the_full_form_comes_back_as_it_was(piece: int, finished: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hefed.protocol.transcript.PIECE", piece)
    reader = read(result(finished, *(opened(i, packed) for i, packed in enumerate(OPENED)), found))
    assert reader.is_full
    assert (reader.opened, reader.hashed) == (OPENED, None)
    assert (reader.outcome, reader.document) == (FOUND["outcome"], FOUND["document"])
    assert (reader.decided, reader.versions) == (FOUND["decided"], FOUND["versions"])


def test_the_published_form_comes_back_as_it_was(finished: Federation) -> None:
    reader = read(result(finished, hashed, found))
    assert not reader.is_full
    assert (reader.opened, reader.hashed, reader.outcome) == ([], bytes(32), "result")


@pytest.mark.parametrize(
    "frames",
    [
        [opened(1, b"the second first"), found],
        [opened(0, b"once"), opened(0, b"twice"), found],
        [opened(0, b"both forms"), hashed, found],
        [hashed, opened(0, b"both forms"), found],
        [hashed, hashed, found],
        [found, found],
    ],
)
def test_frames_that_have_no_place_are_refused(frames: list[Write], finished: Federation) -> None:
    with pytest.raises(TranscriptError, match="it has no place here"):
        read(result(finished, *frames))


@pytest.mark.parametrize("frames", [[], [opened(0, b"a sum")], [hashed]])
def test_a_file_that_does_not_say_what_was_found_is_refused(frames: list[Write], finished: Federation) -> None:
    with pytest.raises(TranscriptError, match="it does not say what was found"):
        read(result(finished, *frames))


@pytest.mark.parametrize(
    "frame",
    [
        opened(-1, b"a sum"),
        opened(0, b""),
        lambda writer: writer.add_hashed(b"short"),
        lambda writer: writer.add_found(**FOUND | {"outcome": "refusal"}),
        lambda writer: writer.add_found(**FOUND | {"decided": b"short"}),
        lambda writer: writer.add_found(**FOUND | {"versions": {str(i): "1" for i in range(17)}}),
    ],
)
def test_frames_without_their_form_are_refused(frame: Write, finished: Federation) -> None:
    with pytest.raises(TranscriptError, match="it does not have its form"):
        read(result(finished, frame))


def test_a_stated_length_beyond_any_sum_is_refused_before_it_is_read(finished: Federation) -> None:
    data = result(finished, lambda writer: writer._map(opened=0, size=result_file.MOST_OPENED + 1))
    with pytest.raises(TranscriptError, match="it does not have its form"):
        read(data)


def test_a_transcript_is_no_result_and_a_result_no_transcript(finished: Federation) -> None:
    with pytest.raises(TranscriptError, match="this is not the beginning of a result"):
        ResultReader(BytesIO(written(finished, "halland")))
    with pytest.raises(TranscriptError, match="this is not the beginning of a transcript"):
        TranscriptReader(BytesIO(result(finished, found)))


def test_no_kind_of_file_drops_a_frame_that_it_names(finished: Federation) -> None:
    """A reader that names more frames than it takes is a fault of the program, and not passed over."""

    class Forgetful(TranscriptReader):
        format = FORMAT
        forms: dict[str, type[Chained]] = ResultReader.forms

    with pytest.raises(AssertionError, match="hashed"):
        list(Forgetful(BytesIO(result(finished, hashed, found))))


def test_only_sums_have_their_attachments_with_them(finished: Federation) -> None:
    for kind, held in (("contribution", True), ("sum", False)):
        entry = next(one for one in finished.log if one.message.body.kind == kind)
        file = BytesIO()
        writer = ResultWriter(file, Head("halland", finished.submission.study, finished.roster))
        writer.add(0, NOW, entry.message, entry.attachments if held else ())
        with pytest.raises(TranscriptError, match="has attachments that have no place here, or a sum lacks its own"):
            list(ResultReader(BytesIO(file.getvalue())))
