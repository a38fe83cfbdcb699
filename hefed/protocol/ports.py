"""What a state machine needs from outside, as interfaces: a place for secrets, a memory of what was sent, and the
region's own work.

The machines call these and nothing else; sockets, files and clocks are behind them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from hefed.protocol.messages import Message


class DeclinedError(Exception):
    """A region will not go on, in its own words; they reach the analyst as they are, so they never hold a patient's
    value.
    """


@dataclass(frozen=True)
class Outgoing:
    """A message to send, with its attachments. `key` names its place in the study: one message a key, ever."""

    key: str
    message: Message
    attachments: tuple[bytes, ...] = ()


class Vault(Protocol):
    """Secrets of one study, durable until they are destroyed together."""

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret of that name; made and flushed to disk at the first call."""


@dataclass(frozen=True)
class Vector:
    """What the next round sums: a purpose, and for each value the binary exponent x with |each region's value| <= 2^x
    (int16).
    """

    purpose: str
    exponents: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Finding:
    """What a study found: a result, or an error that all regions found alike (`words`)."""

    outcome: Literal["result", "error"]
    document: dict[str, Any]


class Work(Protocol):
    """A model at work in one region: what it asks for next depends only on what was opened before."""

    def commitment(self, salt: bytes) -> bytes:
        """32 bytes that fix the region's table; the table is read and checked. Raises DeclinedError."""

    def vector(self) -> Vector | None:
        """What the next round sums, or None when the model is finished."""

    def contribution(self) -> npt.NDArray[np.float64]:
        """The region's own part of that vector. Raises DeclinedError."""

    def step(self, total: npt.NDArray[np.float64]) -> None:
        """Goes on from an opened sum."""

    def finding(self) -> Finding:
        """What was found, once `vector` is None."""

    def decisions(self) -> tuple[str, ...]:
        """Every decision so far, in words that are the same bits in every region. The last one, once `vector` is None,
        says what was found.
        """


Recall = Callable[[str], Outgoing | None]
"""Looks up what was sent under a key before a restart."""

Keep = Callable[[int, bytes], None]
"""Keeps what was opened in a round, modulo Q and packed as a contribution, until the study's attachments go."""
