"""Long attachments on their way to several members: read from the store once, not once a member.

Relies on entries never changing once they are stored. Must not hold more than a fixed number of bytes, whatever the
members do; a single entry that is longer is the only exception.
"""

from hefed.node.store import Store

ROOM = 2**26
"""Bytes that are kept for members who could not take them yet."""


class Shelf:
    """The attachments of entries that members were sent lately; the ones that were put here first go first."""

    def __init__(self, store: Store, room: int = ROOM) -> None:
        self._store, self._room = store, room
        self._kept: dict[tuple[bytes, int], tuple[bytes, ...]] = {}
        self._size = 0

    def attachments(self, study: bytes, number: int) -> tuple[bytes, ...]:
        """The attachments of an entry of the record."""
        place = study, number
        if place not in self._kept:
            self._kept[place] = self._store.attachments(study, number)
            self._size += _size(self._kept[place])
            while self._size > self._room and len(self._kept) > 1:
                self._size -= _size(self._kept.pop(next(iter(self._kept))))
        return self._kept[place]

    def forget(self, study: bytes) -> None:
        """Makes room: nobody waits for anything of that study any more."""
        for place in [one for one in self._kept if one[0] == study]:
            self._size -= _size(self._kept.pop(place))


def _size(attachments: tuple[bytes, ...]) -> int:
    return sum(map(len, attachments))
