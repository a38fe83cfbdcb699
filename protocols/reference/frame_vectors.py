"""Vectors of how messages lie in ZeroMQ's: what comes over one connection, and what is read of it or refused.

Relies on the reference alone.
"""

from typing import Any

from protocols.reference import cbor
from protocols.reference.cbor import MOST_ITEMS, MOST_VALUES
from protocols.reference.frames import (
    LONGEST_ENVELOPE,
    LONGEST_HEADER,
    LONGEST_MESSAGE,
    MOST_FRAMES,
    MOST_TOGETHER,
    PIECE,
    Connection,
    Message,
)
from protocols.reference.primitives import RefusedError
from protocols.reference.vector_format import Json, brief, fixed, in_full

Parts = list[bytes]
BEAT: dict[str, Any] = {"type": "beat"}


def place(number: int, *sizes: Any, kind: str = "entry", **more: Any) -> dict[str, Any]:
    """A header of an entry or a message of a study."""
    header = {"type": kind, "study": fixed("study"), "number": number, **more}
    return {**header, "sizes": list(sizes)} if sizes else header


def one(header: Any, *frames: bytes) -> Parts:
    """One of ZeroMQ's messages."""
    return [cbor.encode(header), *frames]


def pieces(*data: bytes) -> list[Parts]:
    return [[b"", piece] for piece in data]


SHORT = fixed("envelope")
LONG = place(5, 40, 0, PIECE + 3, 9, long=1)
HEAD, TAIL = bytes(PIECE), fixed("tail")
LONG_PIECES = pieces(SHORT + b"12345678", HEAD, b"abc", b"123456789")


def good() -> list[tuple[str, list[Parts]]]:
    """Name, and what comes over a connection; all of it is read."""
    hello = {
        "type": "hello",
        "version": 1,
        "protocols": [2],
        "package": "0",
        "roster": {"version": 1, "digest": fixed("roster")},
        "studies": {fixed("study").hex(): 3},
    }
    half = PIECE // 2
    short_ones = one([place(7, 32), BEAT, place(8, 3)], SHORT, b"abc")
    another = [one(place(6, PIECE, PIECE, long=2)), *pieces(HEAD, HEAD)]
    return [
        ("a header alone", [one(BEAT)]),
        ("a greeting", [one(hello)]),
        ("a header of the greatest length", [one(turned_away(LONGEST_HEADER))]),
        ("values in as many arrays and maps as there may be", [one({**BEAT, "a": nested(11)})]),
        ("a value in as many maps as there may be", [one({**BEAT, "a": nested_maps(11)})]),
        ("an empty array in as many others as there may be", [one({**BEAT, "a": nested(11, [])})]),
        ("an array of as many items as there may be", [one({**BEAT, "a": [0] * MOST_ITEMS})]),
        ("as many values as there may be", [one(of_values(MOST_VALUES))]),
        ("an envelope", [one(place(3, 32, kind="message"), SHORT)]),
        ("an envelope and an empty attachment", [one(place(4, 32, 0), SHORT, b"")]),
        ("an envelope with an attachment, as long as fits", [one(place(4, 32, PIECE - 32), SHORT, bytes(PIECE - 32))]),
        ("an envelope as long as a piece", [one(place(4, PIECE), HEAD)]),
        ("as many frames as there may be", [one(place(4, *[0] * MOST_FRAMES), *[b""] * MOST_FRAMES)]),
        (
            "three together, of which one is a header alone",
            [one([place(4, 32, 3), BEAT, place(5, 1)], SHORT, b"abc", b"\0")],
        ),
        ("two together, as long as fits", [one([place(4, half), place(5, half)], bytes(half), bytes(half))]),
        ("as many together as there may be", [one([BEAT] * MOST_TOGETHER)]),
        (
            "as many frames together as there may be",
            [one([place(4, *[0] * 100), place(5, *[0] * (MOST_FRAMES - 100))], *[b""] * MOST_FRAMES)],
        ),
        ("the beginning of a long one, and a piece", [one(LONG), LONG_PIECES[0]]),
        ("a long one, of two attachments of which one is empty", [one(LONG), *LONG_PIECES]),
        ("a long one of whole pieces", [one(place(6, PIECE, PIECE, long=2)), *pieces(HEAD, HEAD)]),
        (
            "a long one with headers alone between its pieces",
            [one(LONG), LONG_PIECES[0], one(BEAT), *LONG_PIECES[1:3], one([BEAT, BEAT]), LONG_PIECES[3]],
        ),
        # Senders have not begun another with frames meanwhile, but a receiver takes it.
        (
            "a long one with short ones between its pieces",
            [one(LONG), LONG_PIECES[0], one(place(6, 32), SHORT), *LONG_PIECES[1:3], short_ones, LONG_PIECES[3]],
        ),
        (
            "a long one with a short one before its first piece",
            [one(LONG), one(place(6, 32), SHORT), *LONG_PIECES],
        ),
        ("a long one, and another before its first piece", [one(LONG), *another]),
        ("a long one, and another between its pieces", [one(LONG), *LONG_PIECES[:2], *another]),
        ("a long one, and another before its last piece", [one(LONG), *LONG_PIECES[:3], *another]),
        ("a long one, and itself again between its pieces", [one(LONG), LONG_PIECES[0], one(LONG), *LONG_PIECES]),
        ("a short one with a number", [one(place(4, 32, long=1), SHORT)]),
        ("a short one with a number between pieces", [one(LONG), one(place(6, 32, long=1), SHORT), *LONG_PIECES]),
        ("two together, of which one has a number", [one([place(4, 32, long=1), place(5, 1)], SHORT, b"a")]),
        ("two long ones, one after another", [one(LONG), *LONG_PIECES, one({**LONG, "long": 2}), *LONG_PIECES]),
        (
            "a short one after a long one",
            [one(LONG), *LONG_PIECES, one(place(6, 32), SHORT)],
        ),
        ("the beginning of one with an envelope of the greatest length", [one(place(4, LONGEST_ENVELOPE, long=1))]),
        (
            "the beginning of the longest one",
            [one(place(4, LONGEST_ENVELOPE, LONGEST_MESSAGE - LONGEST_ENVELOPE, long=2**32))],
        ),
    ]


def bad() -> list[tuple[str, list[Parts]]]:
    """Name, and what comes over a connection; the last of it is refused."""
    entry, beat = place(4, 32), cbor.encode(BEAT)
    negative, huge, large = place(4, 33, -1), place(4, 2**63), place(4, 2**64 - 1, 33)
    return [
        ("an empty frame alone", [[b""]]),
        ("two empty frames", [[b"", b""]]),
        ("an empty frame before a header and its frame", [[b"", *one(entry, SHORT)]]),
        ("a header that is one byte too long", [one(turned_away(LONGEST_HEADER + 1))]),
        ("a header that is far too long", [one(turned_away(2**21))]),
        # What a header says of frames, and which there are.
        ("a frame of a byte more than its size", [one(entry, SHORT + b"\0")]),
        ("a frame of a byte less than its size", [one(entry, SHORT[:-1])]),
        ("no frame where one is stated", [one(entry)]),
        ("a frame more than is stated", [one(entry, SHORT, b"")]),
        ("a frame behind a header without sizes", [one(BEAT, b"")]),
        ("two frames in the other order", [one(place(4, 32, 3), b"abc", SHORT)]),
        ("two frames as one", [one(place(4, 32, 3), SHORT + b"abc")]),
        ("frames that are none of those of the second of two", [one([entry, place(5, 3)], SHORT)]),
        ("a frame too many", [one(place(4, *[0] * (MOST_FRAMES + 1)), *[b""] * (MOST_FRAMES + 1))]),
        (
            "a frame too many of two together",
            [one([place(4, *[0] * 100), place(5, *[0] * (MOST_FRAMES - 99))], *[b""] * (MOST_FRAMES + 1))],
        ),
        ("one message too many together", [one([BEAT] * (MOST_TOGETHER + 1))]),
        ("an array of one header", [one([entry], SHORT)]),
        ("an array of no header", [one([])]),
        ("an array within an array", [one([BEAT, [BEAT, BEAT]])]),
        ("an envelope a byte too long for a piece, in one frame", [one(place(4, PIECE + 1), bytes(PIECE + 1))]),
        ("the same with a number", [one(place(4, PIECE + 1, long=1), bytes(PIECE + 1))]),
        ("frames a byte too long together", [one(place(4, 32, PIECE - 31), SHORT, bytes(PIECE - 31))]),
        ("two together, a byte too long", [one([place(4, 32), place(5, PIECE - 31)], SHORT, bytes(PIECE - 31))]),
        ("a long one and another together", [one([LONG, BEAT])]),
        # Sizes that are none.
        ("a size that is negative", [one(negative, SHORT, b"")]),
        ("a size of 2^63", [one(huge)]),
        ("a size of 2^64 - 1", [one(large)]),
        ("a size of 2^63, with a number", [one({**huge, "long": 1})]),
        ("a size that is true", [one(place(4, 32, True), SHORT, b"\0")]),
        ("a size that is a float", [one(place(4, 32.0), SHORT)]),
        ("a size that is text", [one(place(4, "32"), SHORT)]),
        ("a size that is null", [one(place(4, None), SHORT)]),
        ("sizes that are an integer", [one({**place(4), "sizes": 32}, SHORT)]),
        ("sizes that are a map", [one({**place(4), "sizes": {"0": 32}}, SHORT)]),
        ("sizes that are null", [one({**place(4), "sizes": None})]),
        ("no sizes in the list of them", [one({**place(4), "sizes": []})]),
        ("an envelope of a byte more than there may be", [one(place(4, LONGEST_ENVELOPE + 1, long=1))]),
        (
            "a message of a byte more than there may be",
            [one(place(4, LONGEST_ENVELOPE, LONGEST_MESSAGE - LONGEST_ENVELOPE + 1, long=1))],
        ),
        # Headers that are none.
        ("a header that is text", [one("beat")]),
        ("a header that is null", [one(None)]),
        ("a header without a type", [one({"number": 4})]),
        ("a header whose type is a number", [one({"type": 4})]),
        ("two together, of which one is no header", [one([BEAT, "beat"])]),
        # What is not deterministic CBOR of plain values.
        ("keys of a header in another order", [[b"\xa2" + key("type", "beat") + key("a", 1)]]),
        ("a key that stands twice", [[b"\xa2" + key("type", "beat") * 2]]),
        ("a length in more bytes than it needs", [[b"\xb8\x01" + beat[1:]]]),
        ("a map without a length", [[b"\xbf" + beat[1:] + b"\xff"]]),
        ("text without a length", [[b"\xa1" + cbor.encode("type") + b"\x7f" + cbor.encode("beat") + b"\xff"]]),
        ("a size in more bytes than it needs", [[longer_size(entry), SHORT]]),
        ("a float in more bytes than it needs", [[b"\xa2" + key("time", 0)[:-1] + float_zero() + key("type", "beat")]]),
        ("a tag", [[b"\xd9\xd9\xf7" + beat]]),
        ("an undefined value", [[b"\xa2" + key("type", "beat") + cbor.encode("words") + b"\xf7"]]),
        ("a key that is an integer", [[b"\xa2\x00\x00" + key("type", "beat")]]),
        ("a byte behind a header", [[beat + b"\0"]]),
        ("two headers without an array", [[beat + beat]]),
        ("a header that ends early", [[beat[:-1]]]),
        ("text that is not UTF-8", [[b"\xa1" + cbor.encode("type") + b"\x61\xff"]]),
        ("a key that is bytes", [[bytes.fromhex("a241000064747970656462656174")]]),
        ("a value in an array more than there may be", [one({**BEAT, "a": nested(12)})]),
        ("a value in a map more than there may be", [one({**BEAT, "a": nested_maps(12)})]),
        ("an empty array in one more than there may be", [one({**BEAT, "a": nested(12, [])})]),
        ("an array of an item more than there may be", [one({**BEAT, "a": [0] * (MOST_ITEMS + 1)})]),
        ("a value more than there may be", [one(of_values(MOST_VALUES + 1))]),
        # Pieces.
        ("a piece that nobody announced", [[b"", SHORT]]),
        ("a long one without a number", [one({key_: value for key_, value in LONG.items() if key_ != "long"})]),
        ("a long one whose number is negative", [one({**LONG, "long": -1})]),
        ("a long one whose number is true", [one({**LONG, "long": True})]),
        ("a long one whose number is text", [one({**LONG, "long": "x"})]),
        ("a short one whose number is text", [one(place(4, 32, long="x"), SHORT)]),
        ("a short one whose number is negative", [one(place(4, 32, long=-1), SHORT)]),
        ("a short one whose number is a float", [one(place(4, 32, long=1.0), SHORT)]),
        ("a short one whose number is true", [one(place(4, 32, long=True), SHORT)]),
        ("a short one whose number is null", [one(place(4, 32, long=None), SHORT)]),
        ("two together, of which the second has text for a number", [one([BEAT, place(4, 32, long="x")], SHORT)]),
        ("a header alone whose number is text", [one({**BEAT, "long": "x"})]),
        ("a long one in one of ZeroMQ's messages", [one(LONG, SHORT + b"12345678", b"", HEAD + b"abc", b"123456789")]),
        ("a first piece a byte too short", [one(LONG), [b"", SHORT + b"1234567"]]),
        ("a first piece a byte too long", [one(LONG), [b"", SHORT + b"123456789"]]),
        ("a piece that goes beyond its attachment", [one(LONG), LONG_PIECES[0], *pieces(HEAD), [b"", b"abc123456789"]]),
        ("a piece of a byte more than a piece", [one(LONG), LONG_PIECES[0], [b"", HEAD + b"a"]]),
        ("a piece of a byte less than must follow", [one(LONG), LONG_PIECES[0], [b"", HEAD[:-1]]]),
        ("an empty piece for an empty attachment", [one(LONG), LONG_PIECES[0], [b"", b""]]),
        ("a piece after the last one", [one(LONG), *LONG_PIECES, LONG_PIECES[3]]),
        ("two pieces in one of ZeroMQ's messages", [one(LONG), [b"", SHORT + b"12345678", HEAD]]),
        ("a piece without the empty frame", [one(LONG), [SHORT + b"12345678"]]),
        ("a piece behind a frame that is not empty", [one(LONG), [b"\0", SHORT + b"12345678"]]),
    ]


def ended() -> list[tuple[str, list[Parts], list[int]]]:
    """Name, what comes over a connection, and which places of it are refused: a wrong piece ends its message."""
    wrong, again = [b"", b"another"], [one({**LONG, "long": 2}), *LONG_PIECES]
    return [
        ("the right piece after a wrong one", [one(LONG), wrong, LONG_PIECES[0]], [1, 2]),
        ("a long one after a wrong piece of another", [one(LONG), LONG_PIECES[0], wrong, *again], [2]),
        ("a short one after a wrong piece", [one(LONG), wrong, one(place(6, 32), SHORT)], [1]),
        ("a short one after what has no form", [[b""], one(place(6, 32), SHORT)], [0]),
        # A piece has no number: it is taken as one of the newest message.
        (
            "the rest of a long one after another was begun",
            [one(LONG), LONG_PIECES[0], one(place(6, PIECE, PIECE, long=2)), *LONG_PIECES[1:]],
            [4, 5],
        ),
        ("a short one with a number, in a piece that follows", [one(place(4, 32, long=1)), [b"", SHORT]], [0, 1]),
        (
            "a long one with a short one of another length between its pieces",
            [one(LONG), LONG_PIECES[0], one(place(6, 33), SHORT), *LONG_PIECES[1:]],
            [2],
        ),
        (
            "a long one, and the beginning of another that is too long",
            [one(LONG), LONG_PIECES[0], one(place(6, LONGEST_ENVELOPE + 1, long=2)), *LONG_PIECES[1:]],
            [2],
        ),
        (
            "a long one with what has no form between its pieces",
            [one(LONG), LONG_PIECES[0], [b""], *LONG_PIECES[1:]],
            [2],
        ),
    ]


def key(name: str, value: Any) -> bytes:
    """A pair of a map."""
    return cbor.encode(name) + cbor.encode(value)


def float_zero() -> bytes:
    """Zero as a float of four bytes."""
    return b"\xfa" + bytes(4)


def longer_size(header: dict[str, Any]) -> bytes:
    """The header with its one size, 32, in two bytes more than it needs."""
    return cbor.encode(header).replace(cbor.encode([32]), b"\x81\x19\x00\x20")


def turned_away(size: int) -> dict[str, Any]:
    """
    A header of so many bytes.

    Pre-conditions:

        - `size > 2**17`, so that the length of its words has as many bytes as that of 2**16
    """
    header = {"type": "turned away", "words": "a" * 2**16}
    return {**header, "words": "a" * (size - len(cbor.encode(header)) + 2**16)}


def nested(times: int, value: Any = 0) -> Any:
    return [nested(times - 1, value)] if times else value


def nested_maps(times: int) -> Any:
    return {"": nested_maps(times - 1)} if times else 0


def of_values(count: int) -> dict[str, Any]:
    """
    A header of so many values, which are itself, its keys and all that is in it.

    Pre-conditions:

        - `7 + MOST_ITEMS <= count <= 7 + 2 * MOST_ITEMS`
    """
    return {**BEAT, "a": [0] * MOST_ITEMS, "b": [0] * (count - 7 - MOST_ITEMS)}


def frames() -> Json:
    cases = [(name, came, []) for name, came in good()]
    cases += [(name, came, [len(came) - 1]) for name, came in bad()]
    return {"frames": [case(*one_case) for one_case in [*cases, *ended()]]}


def case(name: str, came: list[Parts], refused: list[int]) -> Json:
    """One entry, after trying that the reference refuses these places of it and no others."""
    found = read(came)
    if [place_ for place_, result in enumerate(found) if result == {"refused": "frames"}] != refused:
        raise AssertionError(f"of {name} others were expected to be refused")
    return {"name": name, "came": shown(came), "read": found}


def shown(came: list[Parts]) -> list[Any]:
    """What comes: of each of ZeroMQ's messages its frames, many like ones with their number."""
    return [
        {"header": in_full(parts[0]), "repeat": [in_full(parts[1])], "count": len(parts) - 1}
        if is_long_row(parts[1:])
        else [in_full(part) for part in parts]
        for parts in came
    ]


def is_long_row(parts: Parts) -> bool:
    """Whether they are many, all alike."""
    return len(parts) > 99 and len(set(parts)) == 1


def read(came: list[Parts]) -> list[Any]:
    """What is read of each of them, or why it is refused."""
    connection, found = Connection(), []
    for parts in came:
        try:
            found.append([message_shown(message) for message in connection.read(parts)])
        except RefusedError as error:
            found.append({"refused": error.kind})
    return found


def message_shown(message: Message) -> Json:
    """A message: its header without `sizes` and `long`, and its frames; many like ones with their number."""
    header, parts = message
    if is_long_row(parts):
        return {"header": brief(cbor.encode(header)), "repeat": [brief(parts[0])], "count": len(parts)}
    return {"header": brief(cbor.encode(header)), "frames": [brief(part) for part in parts]}
