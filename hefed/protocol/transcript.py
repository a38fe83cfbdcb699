"""A party's transcript: a study's record as that party kept it, in one file that it signed.

The file is a row of frames, each a length (u32, little-endian) and so many bytes. Every frame but an attachment's
pieces is a map in deterministic CBOR whose `before` is the SHA-256 of all bytes of the file before the frame: a chain
over everything, which the signature in the last frame closes. `protocols/transcript.md` says what is in them.

Nothing here needs a secret but the one signature. Bytes are from anybody: bounded before anything is made of them.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.errors import ProtocolError, TranscriptError
from hefed.protocol.messages import Digest, Message, Name
from hefed.protocol.roster import Roster, is_signed

FORMAT = "hefed/1 transcript"
PIECE = 2**20
"""Bytes of an attachment in one frame at most."""
MOST = codec.MAX_BYTES + 2**12
"""Bytes of any frame at most: one envelope, and a little."""
END_OF_TIME = 253_402_300_800
"""The beginning of the year 10000, in seconds since 1970: no time of an entry is at it or after."""
STATEMENT = "transcript"
"""The label under which a party signs the hash of its transcript."""

_LENGTH = struct.Struct("<I")


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Head(_Frame):
    format: str
    party: Name
    study: Digest
    roster: bytes


class Chained(_Frame):
    """Any frame but the first one and pieces of attachments."""

    before: Digest


class _Entry(Chained):
    number: Annotated[int, Field(ge=0, lt=2**40)]
    at: Annotated[float, Field(ge=0, lt=END_OF_TIME, allow_inf_nan=False)]
    envelope: bytes
    held: Annotated[list[bool], Field(max_length=1025)]


class _Unrecorded(Chained):
    unrecorded: bytes


class _End(Chained):
    signature: Annotated[bytes, Field(min_length=64, max_length=64)]


@dataclass(frozen=True)
class Head:
    """Whose transcript of which study it is, under which roster; nothing of it is proved before the file's end."""

    party: str
    study: bytes
    roster: Roster


@dataclass(frozen=True)
class Recorded:
    """An entry of the record. `places` says where in the file an attachment is; None where the party keeps none."""

    number: int
    at: float
    """When it reached the party, in seconds since 1970, by the party's own clock."""
    message: Message
    places: tuple[int | None, ...]


class TranscriptWriter:
    """Writes a transcript: entries in order, then messages of the party's own that never came back, then `finish`."""

    format = FORMAT

    def __init__(self, file: BinaryIO, head: Head) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self._frame(
            codec.encode(
                {"format": self.format, "party": head.party, "study": head.study, "roster": head.roster.to_bytes()}
            )
        )

    def add(self, number: int, at: float, message: Message, attachments: Sequence[bytes]) -> None:
        """The next entry, with all of its attachments or none of them."""
        bound = message.body.attachments
        held = bool(attachments)
        if held and len(attachments) != len(bound):
            raise ValueError("a transcript holds all attachments of an entry or none")
        self._map(number=number, at=float(at), envelope=message.envelope, held=[held] * len(bound))
        for data in attachments:
            self._pieces(data)

    def add_unrecorded(self, envelope: bytes) -> None:
        """A message of the party's own that is not in its record."""
        self._map(unrecorded=envelope)

    def finish(self, sign: Callable[[str, bytes], bytes]) -> None:
        """Closes the transcript; `sign` is the party's `Identity.sign_statement`."""
        self._map(signature=sign(STATEMENT, self._hash.digest()))

    def _pieces(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            self._frame(view[start : start + PIECE])

    def _map(self, **content: Any) -> None:
        self._frame(codec.encode({"before": self._hash.digest(), **content}, MOST))

    def _frame(self, data: bytes | memoryview) -> None:
        for part in (_LENGTH.pack(len(data)), data):
            self._file.write(part)
            self._hash.update(part)


class TranscriptReader:
    """Reads a transcript from a file that can be sought in. Whoever reads it to its end knows that its party signed
    it, as it is, under the roster that it names.
    """

    format = FORMAT
    forms: ClassVar[dict[str, type[Chained]]] = {"number": _Entry, "unrecorded": _Unrecorded, "signature": _End}
    """Each frame's form by the name that only it has."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises TranscriptError."""
        self._file, self._hash = file, hashlib.sha256()
        self.unrecorded: list[Message] = []
        self._frames = 0
        try:
            form = _Head.model_validate(codec.decode(self._frame()))
            if form.format != self.format:
                raise self._altered(f"this is not the beginning of a {self.format.partition(' ')[2]}")
            self.head = Head(form.party, form.study, Roster.from_bytes(form.roster))
            self._identity = self.head.roster.member(form.party).identity
        except TranscriptError:
            raise
        except (ProtocolError, ValidationError) as error:
            raise self._altered(f"this is not the beginning of a {self.format.partition(' ')[2]}") from error

    def is_signed(self) -> bool:
        """Whether the file is, byte by byte, what its party signed. To be asked before anything of it is read."""
        here, hashed, last = self._file.tell(), hashlib.sha256(), b""
        self._file.seek(0)
        while len(header := self._file.read(_LENGTH.size)) == _LENGTH.size:
            hashed.update(last)
            (size,) = _LENGTH.unpack(header)
            frame = self._file.read(min(size, MOST))
            if len(frame) != size:
                break
            last = header + frame
        else:
            self._file.seek(here)
            return not header and self._is_end(last[_LENGTH.size :], hashed.digest())
        self._file.seek(here)
        return False

    def _is_end(self, frame: bytes, before: bytes) -> bool:
        try:
            end = _End.model_validate(codec.decode(frame))
        except (ProtocolError, ValidationError):
            return False
        return end.before == before and is_signed(self._identity, end.signature, STATEMENT, before)

    def __iter__(self) -> Iterator[Recorded]:
        """All entries; with the last one everything has been verified: form, chain, signature and end of the file, and
        each message's own signature. Attachments are as long as was signed, and are not looked into. Raises
        TranscriptError.
        """
        expected = 0
        while True:
            before, data = self._hash.digest(), self._frame()
            frame = self._read(data)
            if frame.before != before:
                raise self._altered("what stands before it is not what stood there")
            match frame:
                case _Entry():
                    if frame.number != expected or not self.takes_entries:
                        raise self._altered(f"entry {frame.number} stands where entry {expected} belongs")
                    expected += 1
                    recorded = self._entry(frame)
                    self.admit(recorded)
                    yield recorded
                case _Unrecorded() if self.takes_unrecorded:
                    self.unrecorded.append(self._message(frame.unrecorded))
                case _End():
                    if missing := self.missing():
                        raise self._altered(missing)
                    if not is_signed(self._identity, frame.signature, STATEMENT, before):
                        raise self._altered(f"{self.head.party}'s signature under it does not hold")
                    if self._file.read(1):
                        raise self._altered("there are bytes behind its end")
                    return
                case _:
                    self.take(frame)

    def attachment(self, recorded: Recorded, position: int) -> bytes | None:
        """An attachment that the party keeps; None where it does not. It is the one that was signed.

        Raises TranscriptError when it is not.
        """
        place = recorded.places[position]
        if place is None:
            return None
        bound = recorded.message.body.attachments[position]
        here = self._file.tell()
        self._file.seek(place)
        pieces = []
        for start in range(0, bound.size, PIECE):
            size = min(PIECE, bound.size - start)
            piece = self._file.read(_LENGTH.size + size)[_LENGTH.size :]
            pieces.append(piece)
        self._file.seek(here)
        data = b"".join(pieces)
        if not bound.matches(data):
            raise TranscriptError(
                f"entry {recorded.number}: what it keeps beside a '{recorded.message.body.kind}' of "
                f"{recorded.message.sender} is not what {recorded.message.sender} signed"
            )
        return data

    @property
    def takes_entries(self) -> bool:
        """Whether an entry may come next."""
        return not self.unrecorded

    takes_unrecorded = True

    def admit(self, recorded: Recorded) -> None:
        """Called with each entry before it is given out."""

    def take(self, frame: Chained) -> None:
        """A frame that only another kind of file has."""
        raise AssertionError(frame)

    def missing(self) -> str:
        """What the file lacks at its end, in words."""
        return ""

    # --- inside

    def _entry(self, frame: _Entry) -> Recorded:
        message = self._message(frame.envelope)
        bound = message.body.attachments
        if len(frame.held) != len(bound):
            raise self._altered("it does not say of each attachment whether it is kept")
        places: list[int | None] = []
        for held, attachment in zip(frame.held, bound, strict=True):
            places.append(self._file.tell() if held else None)
            if held:
                for _ in self._pieces(attachment.size):
                    pass
        return Recorded(frame.number, frame.at, message, tuple(places))

    def _pieces(self, size: int) -> Iterator[bytes]:
        for start in range(0, size, PIECE):
            piece = self._frame()
            if len(piece) != min(PIECE, size - start):
                raise self._altered("what is kept does not have its length")
            yield piece

    def _message(self, envelope: bytes) -> Message:
        try:
            return m.read_message(envelope, self.head.roster)
        except ProtocolError as error:
            raise self._altered(f"it holds {error}") from error

    def _frame(self) -> bytes:
        self._frames += 1
        header = self._file.read(_LENGTH.size)
        if len(header) != _LENGTH.size:
            raise self._altered("it ends before its party's signature")
        (size,) = _LENGTH.unpack(header)
        if size > MOST:
            raise self._altered(f"a length of {size} bytes, where at most {MOST} have a place")
        data = self._file.read(size)
        if len(data) != size:
            raise self._altered("it ends before its party's signature")
        self._hash.update(header)
        self._hash.update(data)
        return data

    def _read(self, data: bytes) -> Chained:
        try:
            value = codec.decode(data, MOST)
            for name, form in self.forms.items():
                if isinstance(value, dict) and name in value:
                    return form.model_validate(value)
        except (ProtocolError, ValidationError) as error:
            raise self._altered("it does not have its form") from error
        raise self._altered("it does not have its form")

    def _altered(self, what: str) -> TranscriptError:
        return TranscriptError(f"frame {self._frames} cannot be as its party wrote it: {what}")
