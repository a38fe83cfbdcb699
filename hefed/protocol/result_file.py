"""A result with what it follows from, in one file: the record of a study, what its readers opened, and what was found.

It is a transcript with more frames, in either of two forms. The *full* form has the opened sums, so that every step can
be taken again; the *published* form has only the hash of the last one. `protocols/result.md` says what each proves.
"""

from collections.abc import Mapping
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

from pydantic import Field

from hefed.protocol.messages import Digest
from hefed.protocol.transcript import Chained, Recorded, TranscriptReader, TranscriptWriter

FORMAT = "hefed/1 result"
MOST_OPENED = 2**24
"""Bytes of one opened sum at most."""

_Round = Annotated[int, Field(ge=0, le=2**20)]


class _Opened(Chained):
    opened: _Round
    size: Annotated[int, Field(ge=1, le=MOST_OPENED)]


class _Hashed(Chained):
    hashed: Digest


class _Found(Chained):
    outcome: Literal["result", "error"]
    document: dict[str, Any]
    decided: Digest
    versions: Annotated[dict[str, Annotated[str, Field(max_length=64)]], Field(max_length=16)]


class ResultWriter(TranscriptWriter):
    """Writes a result: entries in order, then what was opened in each round, or the hash of the last, then `add_found`
    and `finish`.
    """

    format = FORMAT

    def add_opened(self, number: int, packed: bytes) -> None:
        """What was opened in a round, modulo Q and packed as a contribution."""
        self._map(opened=number, size=len(packed))
        self._pieces(packed)

    def add_hashed(self, digest: bytes) -> None:
        """The hash of what was opened last."""
        self._map(hashed=digest)

    def add_found(self, outcome: str, document: dict[str, Any], decided: bytes, versions: Mapping[str, str]) -> None:
        """What was found; `decided` stands for the decisions before it."""
        self._map(outcome=outcome, document=document, decided=decided, versions=dict(versions))


class ResultReader(TranscriptReader):
    """Reads a result. What it says beside the record is there once the entries have been read."""

    format = FORMAT
    forms: ClassVar[dict[str, type[Chained]]] = {
        **TranscriptReader.forms, "opened": _Opened, "hashed": _Hashed, "outcome": _Found,
    }  # fmt: skip

    def __init__(self, file: BinaryIO) -> None:
        """Raises TranscriptError."""
        super().__init__(file)
        self.opened: list[bytes] = []
        """By round, in the full form."""
        self.hashed: bytes | None = None
        """The hash of what was opened last, in the published form."""
        self.outcome: str | None = None
        self.document: dict[str, Any] = {}
        self.decided = b""
        self.versions: dict[str, str] = {}

    @property
    def is_full(self) -> bool:
        """Whether the sums are in it."""
        return self.hashed is None

    takes_unrecorded = False

    @property
    def takes_entries(self) -> bool:
        """See `TranscriptReader`."""
        return not self.opened and self.is_full and self.outcome is None

    def admit(self, recorded: Recorded) -> None:
        """See `TranscriptReader`: only sums have their attachments with them, and all of these."""
        held = [place is not None for place in recorded.places]
        if held != [recorded.message.body.kind == "sum"] * len(held):
            raise self._altered("an entry has attachments that have no place here, or a sum lacks its own")

    def take(self, frame: Chained) -> None:
        """Called for each frame that no transcript has."""
        if self.outcome is not None:
            raise self._altered("it has no place here")
        match frame:
            case _Opened() if frame.opened == len(self.opened) and self.is_full:
                self.opened.append(b"".join(self._pieces(frame.size)))
            case _Hashed() if self.is_full and not self.opened:
                self.hashed = frame.hashed
            case _Found():
                self.outcome, self.document = frame.outcome, frame.document
                self.decided, self.versions = frame.decided, frame.versions
            case _:
                raise self._altered("it has no place here")

    def missing(self) -> str:
        """See `TranscriptReader`."""
        return "it does not say what was found" if self.outcome is None else ""
