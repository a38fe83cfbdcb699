"""[limits] of a home's settings: what this machine takes from others, and for how long it waits; all in one place.

What all parties must agree on is in `hefed.protocol.limits`, and no value here goes beyond it. A study's own times,
[security] deadline and [limits] wait of the study file, are fixed by its analyst within `study_seconds`.
"""

import os
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hefed.protocol.errors import ProtocolError
from hefed.protocol.limits import LONGEST_MESSAGE, MAX_ATTEMPTS

CLOCK_TOLERANCE = 300.0
"""Seconds by which the clocks of the analyst and a region may differ."""
DAY = 86400
_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _number(default: int, least: int, most: int, what: str) -> int:
    made: int = Field(default, ge=least, le=most, description=what)
    return made


def _seconds(default: float, least: float, most: float, what: str) -> float:
    made: float = Field(default, ge=least, le=most, allow_inf_nan=False, description=what)
    return made


class Limits(BaseModel):
    """Every key's unit is in its name; a name without one counts things. Defaults are safe and enough for the largest
    study that the protocol allows.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    frame_bytes: int = _number(2**21, 2**19, 2**24, "of one frame of ZeroMQ, before and after it is known whose")
    message_bytes: int = _number(
        LONGEST_MESSAGE, 2**23, LONGEST_MESSAGE, "of a message with its attachments; a longer one ends its study"
    )
    unread_bytes: int = _number(
        LONGEST_MESSAGE, 2**23, LONGEST_MESSAGE, "that a connection brings while none is taken; then it is cut off"
    )
    unread_bytes_silent: int = _number(2**21, 2**16, 2**23, "the same, before it has said who it is")
    unread_bytes_together: int = _number(2**32, 2**24, 2**40, "the same of all; at most a quarter of the memory")
    waiting_bytes: int = _number(2**25, 2**20, 2**30, "that wait to leave over a connection before more is held back")
    waiting_messages: int = _number(256, 16, 4096, "that wait to leave over a connection; also taken in one turn")
    connections: int = _number(4096, 8, 65536, "to the aggregator in all; at most three quarters of its files")
    connections_silent: int = _number(512, 4, 8192, "that have not said who they are; a quarter from one address")
    connections_member: int = _number(64, 4, 1024, "of one member; half of them may follow studies")
    aggregator_studies: int = _number(1000, 1, 1000, "that run at once at the aggregator")
    region_studies: int = _number(32, 1, 1000, "that run or wait at once in a region; others wait for room")
    study_messages: int = _number(
        10_000, 1, 100 * (2 * MAX_ATTEMPTS + 10), "of one member in one study; in a region of each on average"
    )
    study_seconds: int = _number(30 * DAY, 1, 30 * DAY, "from now to a study's end; a longer one is refused")
    connect_seconds: float = _seconds(5.0, 0.1, 120.0, "for TCP to connect, before the next address has its turn")
    handshake_seconds: float = _seconds(10.0, 0.1, 120.0, "for the handshake of a connection")
    greeting_seconds: float = _seconds(5.0, 0.1, 120.0, "for the aggregator's greeting, before its lack is told")
    silence_seconds: float = _seconds(6.0, 1.0, 120.0, "without any frame, after which the other end is gone")
    retry_seconds: float = _seconds(10.0, 0.1, 600.0, "between rounds over the aggregator's addresses, at most")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.unread_bytes < self.message_bytes:
            raise ValueError(
                f"unread_bytes must be at least message_bytes, which is {self.message_bytes}, not {self.unread_bytes}; "
                "lower message_bytes too"
            )
        if self.connections_silent > self.connections:
            raise ValueError(
                f"connections_silent must be at most connections, which is {self.connections}, not "
                f"{self.connections_silent}; lower connections_silent too"
            )
        return self

    @property
    def most_unread_together(self) -> int:
        """Bytes of all connections that were not taken yet. They are counted as on the wire; in memory the smallest
        frames take twice as much, so at worst half of the memory is used.
        """
        return min(self.unread_bytes_together, _MEMORY // 4)

    def require_room(self, name: str, number: int, size: int) -> None:
        """Raises ProtocolError for a message of a member, of so many bytes, that is longer than `message_bytes`, or one
        too many (its `number` counts from 0).
        """
        if size > self.message_bytes:
            raise ProtocolError(
                f"a message of {size} bytes from {name}; at most {self.message_bytes} are taken here: have [limits] "
                "message_bytes raised in the settings here, or ask for fewer values"
            )
        if number >= self.study_messages:
            raise ProtocolError(
                f"more than {self.study_messages} messages of {name} in one study; no more are taken here: have "
                "[limits] study_messages raised in the settings here"
            )

    def require_record(self, length: int, parties: int) -> None:
        """Raises ProtocolError for a study's record that is longer than so many parties may make it."""
        if length > parties * self.study_messages:
            raise ProtocolError(
                f"a record of more than {parties * self.study_messages} messages of {parties} parties; no more are "
                "taken here: have [limits] study_messages raised in the settings here"
            )

    def too_long(self, name: str, expires: float, now: float) -> str | None:
        """Why `name` takes no study that ends then (seconds since 1970), in words; None when it may."""
        left = expires - now
        if left <= self.study_seconds + CLOCK_TOLERANCE:
            return None
        return (
            f"the study would end in {left:.0f} s, and {name} takes none that ends in more than {self.study_seconds} "
            "s; shorten its [security] deadline, or have [limits] study_seconds raised in the settings there"
        )


USUAL = Limits()
"""What is so in a home that says nothing else."""


def template_section() -> str:
    """What `hefed init` writes of it: each key with its default, as a comment."""
    lines = (
        f"# {f'{key} = {field.default:_}':<46}# {field.description}\n" for key, field in Limits.model_fields.items()
    )
    return "[limits]\n" + "".join(lines)
