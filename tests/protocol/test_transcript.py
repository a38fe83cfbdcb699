"""A transcript is what its party signed, to the byte, or it is refused."""

import math
from datetime import UTC, datetime
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.protocol import codec
from hefed.protocol import transcript as t
from hefed.protocol.errors import TranscriptError
from hefed.protocol.transcript import TranscriptReader
from tests.protocol.federation import Federation
from tests.protocol.transcripts import AGGREGATOR, frames, written


def read(data: bytes) -> TranscriptReader:
    """Reads a transcript to its end."""
    reader = TranscriptReader(BytesIO(data))
    for _ in reader:
        pass
    return reader


def refused(data: bytes) -> str:
    """Why a transcript is refused."""
    with pytest.raises(TranscriptError) as error:
        read(data)
    return str(error.value)


@pytest.fixture(scope="module")
def whole(finished: Federation) -> bytes:
    """The aggregator's transcript of a finished study."""
    return written(finished, AGGREGATOR)


def test_it_gives_back_what_was_written(finished: Federation, whole: bytes) -> None:
    reader = TranscriptReader(BytesIO(whole))
    assert (reader.head.party, reader.head.study) == (AGGREGATOR, finished.submission.study)
    assert reader.head.roster == finished.roster
    for recorded, entry in zip(reader, finished.log, strict=True):
        assert recorded.message.envelope == entry.message.envelope
        assert recorded.message == entry.message
        attachments = tuple(reader.attachment(recorded, i) for i in range(len(recorded.places)))
        assert attachments == entry.attachments
    assert any(entry.attachments for entry in finished.log)


def test_a_region_keeps_what_it_was_sent_and_no_contribution(finished: Federation) -> None:
    reader = TranscriptReader(BytesIO(written(finished, "halland")))
    kept = {"contribution": 0, "answer": 0, "sum": 0}
    for recorded in reader:
        if recorded.message.body.kind in kept:
            kept[recorded.message.body.kind] += reader.attachment(recorded, 0) is not None
    assert kept["contribution"] == 0
    assert min(kept["answer"], kept["sum"]) > 0


def test_long_attachments_go_in_pieces(finished: Federation, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t, "PIECE", 100)
    pieces = written(finished, AGGREGATOR)
    assert len(frames(pieces)) > 3 * len(frames(whole))
    reader = TranscriptReader(BytesIO(pieces))
    for recorded, entry in zip(reader, finished.log, strict=True):
        assert tuple(reader.attachment(recorded, i) for i in range(len(recorded.places))) == entry.attachments


def test_any_changed_byte_is_found(finished: Federation) -> None:
    short = written(finished, AGGREGATOR, finished.log[:2], unrecorded=[finished.log[2].message])
    read(short)
    for place in range(len(short)):
        altered = bytearray(short)
        altered[place] ^= 1 << place % 8
        with pytest.raises(TranscriptError):
            read(bytes(altered))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_a_whole_study_is_found(data: st.DataObject, whole: bytes) -> None:
    altered = bytearray(whole)
    altered[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    refused(bytes(altered))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_missing_repeated_and_reordered_frames_are_found(data: st.DataObject, whole: bytes) -> None:
    parts = frames(whole)
    first = data.draw(st.integers(0, len(parts) - 1))
    second = data.draw(st.integers(0, len(parts) - 1).filter(lambda i: parts[i] != parts[first]))
    match data.draw(st.sampled_from(["missing", "repeated", "swapped"])):
        case "missing":
            del parts[first]
        case "repeated":
            parts.insert(second, parts[first])
        case "swapped":
            parts[first], parts[second] = parts[second], parts[first]
    refused(b"".join(parts))


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_transcript_that_ends_early_is_found(data: st.DataObject, whole: bytes) -> None:
    assert "frame" in refused(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_bytes_behind_the_end_are_found(whole: bytes) -> None:
    assert "behind its end" in refused(whole + b"\0")


def test_only_its_party_can_sign_it(finished: Federation) -> None:
    assert "signature under it does not hold" in refused(
        written(finished, "halland", signer=finished.signers["orebro"])
    )


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff",
        codec.encode([]),
        codec.encode({"format": "hefed/2 transcript", "party": "halland", "study": bytes(32), "roster": b""}),
        codec.encode({"format": t.FORMAT, "party": "halland", "study": bytes(32), "roster": b"no roster"}),
    ],
)
def test_another_file_is_refused(head: bytes) -> None:
    assert "not the beginning of a transcript" in refused(len(head).to_bytes(4, "little") + head)


def test_a_stranger_has_no_transcript(finished: Federation) -> None:
    with pytest.raises(TranscriptError, match="not the beginning"):
        read(written(finished, "stranger", signer=finished.signers["halland"]))


@pytest.mark.parametrize("length", [t.MOST + 1, 2**32 - 1])
def test_a_length_bomb_makes_nothing(length: int, whole: bytes) -> None:
    assert "have a place" in refused(length.to_bytes(4, "little") + whole[4:])


def test_entries_are_numbered_from_nothing_on(finished: Federation) -> None:
    file = BytesIO()
    writer = t.TranscriptWriter(file, t.Head(AGGREGATOR, finished.submission.study, finished.roster))
    writer.add(1, 0.0, finished.log[0].message, ())
    assert "entry 1 stands where entry 0 belongs" in refused(file.getvalue())


def test_a_transcript_that_ends_within_a_frame_or_between_two_is_found(whole: bytes) -> None:
    first = len(frames(whole)[0])
    for end in (0, 3, 4, first - 1, first, first + 2, len(whole) - 1):
        assert "it ends before its party's signature" in refused(whole[:end])


def test_a_piece_of_another_length_than_was_signed_is_found(finished: Federation, whole: bytes) -> None:
    at = next(i for i, entry in enumerate(finished.log) if entry.attachments)
    parts = frames(whole)
    piece = next(i for i, part in enumerate(parts) if part[4:] == finished.log[at].attachments[0])
    shorter = parts[piece][4:-1]
    parts[piece] = len(shorter).to_bytes(4, "little") + shorter
    assert "what is kept does not have its length" in refused(b"".join(parts))


def test_an_entry_says_of_each_attachment_whether_it_is_kept(finished: Federation) -> None:
    file = BytesIO()
    writer = t.TranscriptWriter(file, t.Head(AGGREGATOR, finished.submission.study, finished.roster))
    writer._map(number=0, at=0.0, envelope=finished.log[0].message.envelope, held=[True])
    assert "does not say of each attachment" in refused(file.getvalue())
    contribution = next(entry for entry in finished.log if entry.message.body.kind == "contribution")
    with pytest.raises(ValueError, match="all attachments of an entry or none"):
        writer.add(0, 0.0, contribution.message, contribution.attachments * 2)


@pytest.mark.parametrize("at", [t.END_OF_TIME, 2**40, -1, math.inf, math.nan])
def test_a_time_that_no_calendar_has_is_refused(at: float, finished: Federation) -> None:
    file = BytesIO()
    writer = t.TranscriptWriter(file, t.Head(AGGREGATOR, finished.submission.study, finished.roster))
    for number, time in enumerate((0, math.nextafter(t.END_OF_TIME, 0), at)):
        writer.add(number, time, finished.log[number].message, ())
    reader = iter(TranscriptReader(BytesIO(file.getvalue())))
    times = [datetime.fromtimestamp(next(reader).at, UTC) for _ in range(2)]
    assert [time.year for time in times] == [1970, 9999]
    with pytest.raises(TranscriptError, match="it does not have its form"):
        next(reader)


def test_an_attachment_that_its_party_altered_is_found(finished: Federation) -> None:
    contribution = next(entry for entry in finished.log if entry.message.body.kind == "contribution")
    file = BytesIO()
    writer = t.TranscriptWriter(file, t.Head(AGGREGATOR, finished.submission.study, finished.roster))
    (packed,) = contribution.attachments
    writer.add(0, 0.0, contribution.message, (bytes([packed[0] ^ 1]) + packed[1:],))
    reader = TranscriptReader(BytesIO(file.getvalue()))
    recorded = next(iter(reader))
    with pytest.raises(TranscriptError, match=f"is not what {contribution.message.sender} signed"):
        reader.attachment(recorded, 0)


def test_only_the_whole_file_is_what_its_party_signed(finished: Federation, whole: bytes) -> None:
    def signed(data: bytes) -> bool:
        return TranscriptReader(BytesIO(data)).is_signed()

    parts = frames(whole)
    assert signed(whole)
    assert not signed(whole[:-1])
    assert not signed(whole + b"\0")
    assert not signed(b"".join(parts[:-1]))
    assert not signed(b"".join([*parts[:-1], (3).to_bytes(4, "little") + b"end"]))
    assert not signed(b"".join([*parts[:-2], parts[-1]]))
    assert not signed(whole[: len(parts[0]) + 2])
    assert not signed(written(finished, "halland", signer=finished.signers["orebro"]))
    assert not signed(b"".join([*parts[:-1], (t.MOST + 1).to_bytes(4, "little"), bytes(t.MOST + 1)]))
