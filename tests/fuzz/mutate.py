"""Bytes that are nearly right: right ones with something wrong in them, at random but always the same for one seed.

CBOR is changed as a tree, so that what is behind the decoding is reached, and written by an encoder of its own, which
also writes what no right encoder does. Knows nothing of hefed.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

import cbor2


class Raw(bytes):
    """Stands in a tree for these very bytes, right CBOR or not."""


class Pairs(list[tuple[Any, Any]]):
    """A map as its pairs, so that a key can be there twice."""


def nested(depth: int, kind: bytes = b"\x81") -> Raw:
    """Arrays (or what `kind` begins) within each other."""
    return Raw(kind * depth + b"\x00")


# Heads that promise more than there is, and containers without end.
HUGE = tuple(
    Raw(head + count)
    for head, size in ((b"\x9b", 8), (b"\xbb", 8), (b"\x5b", 8), (b"\x7b", 8), (b"\x9a", 4), (b"\xba", 4), (b"\x5a", 4))
    for count in (b"\xff" * size, b"\x7f" + b"\xff" * (size - 1), (2**24).to_bytes(size))
)
NOT_CANONICAL = tuple(
    map(
        Raw,
        [
            b"\x18\x01", b"\x19\x00\x01", b"\x1b" + bytes(7) + b"\x01", b"\x38\x00",  # not in their shortest form
            b"\x9f\x01\xff", b"\xbf\x61a\x01\xff", b"\x5f\x41a\xff", b"\x7f\x61a\xff", b"\x9f",  # no length
            b"\x98\x01\x00", b"\xb8\x01\x61a\x00", b"\x58\x01a", b"\x78\x01a", b"\x59\x00\x01a",
            b"\xa2\x61b\x01\x61a\x02", b"\xa2\x61a\x01\x61a\x02", b"\xa1\x01\x02", b"\xa1\x80\x02", b"\xa1\xa0\x02",
            b"\xc0\x61a", b"\xc1\xfb\x7f\xf0" + bytes(6), b"\xc2\x48" + b"\xff" * 8,
            b"\xc2\x59\xff\xff" + b"\xff" * 65535,

            b"\xc4\x82\x1a\x7f\xff\xff\xff\x01", b"\xc5\x82\x1a\x7f\xff\xff\xff\x01",  # 10^(2^31), 2^(2^31)
            b"\xd8\x1c\x81\xd8\x1d\x00", b"\xd8\x1d\x00", b"\xd8\x1e\x82\x01\x00", b"\xd8\x23\x61(", b"\xd8\x24\x61a",
            b"\xd9\x01\x02\x81\x01", b"\xd9\xd9\xf7\x00", b"\xdb" + b"\xff" * 8 + b"\x00", b"\xd9\x01\x00\x80",
            b"\xd8\x19\x00",
            b"\xf7", b"\xf8\x20", b"\xf8\x14", b"\xe0", b"\xff", b"\x1c", b"\xfc", b"\x62\xc3\x28", b"\x62\xed\xa0",
            b"\xf9\x7e\x01", b"\xfa\x7f\xc0\x00\x00", b"\xfb\x7f\xf8" + bytes(6), b"\xfb\x3f\xf0" + bytes(6),
        ],
    )
)  # fmt: skip
PLAIN: tuple[Any, ...] = (
    None, False, True, 0, 1, -1, 2, 3, 255, 256, 2**16, 2**31, 2**32, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), -(2**64),
    0.0, -0.0, 1.0, 2.0, 1.1, 5e-324, 1.7e308, float("nan"), float("inf"), float("-inf"),
    "", "a", "halland", "halland\n", "aggregator", "analyst", "\0", "\x1b[2J", "\u202e", "\U0010ffff", "é" * 70,
    "x" * 2001, "a" * 70_000,
    b"", b"\0", bytes(32), bytes(31), bytes(33), b"\xff" * 1216, bytes(1216), bytes(70_000),
    [], {}, [[]], [{}], {"": 0}, {"a": {}}, ["a"] * 1100, [0] * 60_000, {str(n): n for n in range(1100)},
)  # fmt: skip
DEEP = (
    *map(nested, (5, 11, 13, 200, 50_000)),
    nested(300, b"\xa1\x61a"),
    nested(1000, b"\x9f"),
    nested(50_000, b"\xc1"),
)


def emit(value: Any) -> bytes:
    """The encoding of a tree, in deterministic form but for what is Raw or Pairs."""
    match value:
        case Raw():
            return bytes(value)
        case Pairs():
            return _head(5, len(value)) + b"".join(emit(key) + emit(one) for key, one in value)
        case dict():
            pairs = sorted((emit(key), emit(one)) for key, one in value.items())
            return _head(5, len(pairs)) + b"".join(
                key + one for key, one in sorted(pairs, key=lambda p: (len(p[0]), p))
            )
        case list():
            return _head(4, len(value)) + b"".join(map(emit, value))
        case bytes():
            return _head(2, len(value)) + value
        case str():
            data = value.encode()
            return _head(3, len(data)) + data
    return cbor2.dumps(value, canonical=True)


def _head(major: int, count: int) -> bytes:
    if count < 24:
        return bytes([major << 5 | count])
    size = next(power for power in range(4) if count < 1 << (8 << power))
    return bytes([major << 5 | 24 + size]) + count.to_bytes(1 << size)


def of_bytes(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Bits turned, bytes set, cut out, put in, doubled; the half of another example behind it."""
    changed = bytearray(data or b"\0")
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        at, size = random.randrange(len(changed) or 1), random.choice((1, 1, 2, 4, 8, 32, 300))
        match random.randrange(8):
            case 0 | 1 if changed:
                changed[at] ^= 1 << random.randrange(8)
            case 2:
                changed[at : at + 1] = bytes([random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))])
            case 3:
                del changed[at : at + size]
            case 4:
                changed[at:at] = random.choice((bytes(size), b"\xff" * size, random.randbytes(size)))
            case 5:
                changed[at:at] = changed[at : at + size]
            case 6:
                del changed[at:]
            case 7:
                other = random.choice(others)
                changed[at:] = other[random.randrange(len(other) + 1) :]
    return bytes(changed)


def of_cbor(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """One value, or a few, of the tree exchanged; now and then bytes changed without regard to the tree."""
    if random.random() < 0.15:
        return of_bytes(data, random, others)
    try:
        root = [cbor2.loads(data)]
    except (cbor2.CBORError, ValueError):  # an example that is itself no CBOR
        return of_bytes(data, random, others)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        container, key = random.choice(_places(root))
        container[key] = _instead(container[key], random)
    return emit(root[0])


def _places(container: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree, as its container and key."""
    places: list[tuple[Any, Any]] = []
    left = [container]
    while left:
        one = left.pop()
        keys = range(len(one)) if isinstance(one, list) else list(one)
        places += [(one, key) for key in keys]
        left += [one[key] for key in keys if isinstance(one[key], dict | list) and not isinstance(one[key], Pairs)]
    return places


def _instead(value: Any, random: Random) -> Any:
    if random.random() < 0.4:
        return deepcopy(random.choice(random.choice((PLAIN, PLAIN, PLAIN, NOT_CANONICAL, HUGE, DEEP))))
    match value:
        case bool():
            return not value
        case int():
            return random.choice((value + 1, value - 1, -value, value * 2, float(value), str(value)))
        case float():
            return random.choice((-value, value + 1, value * 1e300, int(value) if abs(value) < 2**53 else 0))
        case str() | bytes() if value:
            if isinstance(value, bytes):
                return of_bytes(value, random, [value])
            at = random.randrange(len(value))
            return value[:at] + random.choice(("", "x", "\n", "é", "\0", value[at:] * 2)) + value[at + 1 :]
        case list():
            at = random.randrange(len(value) + 1)
            other = [*value[:at], *value[at + 1 :]]
            return random.choice(
                (other, value[::-1], value * 2, [*value, *value[:1]], [*value, deepcopy(random.choice(PLAIN))])
            )
        case dict() if value:
            key = random.choice(list(value))
            rest = {name: one for name, one in value.items() if name != key}
            choices: list[Callable[[], Any]] = [
                lambda: rest,
                lambda: {**rest, str(key) + "x": value[key]},
                lambda: {**value, "more": deepcopy(random.choice(PLAIN))},
                lambda: Pairs([*value.items(), (key, value[key])]),
                lambda: Pairs([*value.items()][::-1]),
                lambda: Pairs([*rest.items(), (random.choice((0, b"a", None, Raw(b"\x80"))), value[key])]),
            ]
            return random.choice(choices)()
    return deepcopy(random.choice(PLAIN))


_VALUES = (
    "nan", "inf", "-inf", "-1", "0", "1", "1e999", "-0.0", "9" * 400, "9" * 5000, "0x" + "f" * 5000, "true", '""',
    "'a'",
    '"a\\u0000"', '"\\U0010ffff"', '"\\ud800"', '"' + "x" * 5000 + '"', '"""', "'''", "[]", "[[]]", "[" * 300, "{",
    "{}", "{ a = 1 }",
    "{ a = { b = [1, { c = 2 }] } }", "1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", "[1, 'a', nan]", "1_0",
    "0o7", "",
    "a.b.c", "A" * 43 + "=", "=" * 44, "halland", "-", ":", "\x1b[2J",
)  # fmt: skip
_LINES = (
    "[study]", "[[study]]", "[regions]", "[regions.lund]", "[[regions.lund]]", "[a.b.c.d]", "[a" + ".a" * 40 + "]",
    "a.b.c = 1",
    "[]", "[", "]", "a", "=", "# ", "\0", "\ufeff", "\u2028", "x" * 3000 + " = 1", '"" = 1', "'a b' = 1", "[policy]",
    "[data]",
    "version: 2", "signature: halland ", "member: lund", "address: a:1", "hefed card 1", "hefed roster 2", ": ", "key",
)  # fmt: skip


def of_text(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Lines taken out, put in, doubled and exchanged, values of `key = value` and `key: value` exchanged."""
    if random.random() < 0.15:
        return of_bytes(data, random, others)
    lines = data.decode(errors="replace").split("\n")
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(lines))
        match random.randrange(8):
            case 0:
                del lines[at]
                lines = lines or [""]
            case 1:
                lines.insert(at, lines[random.randrange(len(lines))])
            case 2:
                lines.insert(at, random.choice(_LINES))
            case 3:
                lines[at:] = random.choice(others).decode(errors="replace").split("\n")[at:] or [""]
            case 4:
                lines[at] = of_bytes(lines[at].encode(), random, [b"x"]).decode(errors="replace")
            case _:
                valued = [number for number, line in enumerate(lines) if " = " in line or ": " in line] or [at]
                at = random.choice(valued)
                mark = " = " if " = " in lines[at] else ": "
                lines[at] = lines[at].partition(mark)[0] + mark + random.choice(_VALUES)
    return random.choice(("\n", "\n", "\n", "\r\n")).join(lines).encode()


MIB = 2**20
BOMBS: dict[str, bytes] = {
    **{f"a head {head.hex()}": bytes(head) for head in HUGE},
    **{f"{len(deep)} deep, {deep[:1].hex()}": bytes(deep) for deep in DEEP},
    "heads that promise 2^16 items each, within each other": b"\x9a\x00\x01\x00\x00" * 1000,
    "four million empty arrays": b"\x98\x3f" + (b"\x9a\x00\x01\x00\x00" + b"\x80" * 2**16) * 63,
    "four million empty maps": b"\x98\x3f" + (b"\x9a\x00\x01\x00\x00" + b"\xa0" * 2**16) * 63,
    "one array of four million": b"\x9a\x00\x3f\xff\x00" + b"\x80" * 0x3FFF00,
    "a map of many keys": b"\xba\x00\x0a\x00\x00" + b"".join(b"\x65%05x\x00" % n for n in range(0xA0000)),
    "references that double": b"\x8b\xd8\x1c\x80"
    + b"".join(b"\xd8\x1c\x94" + (b"\xd8\x1d" + bytes([i])) * 20 for i in range(10)),
    "nine megabytes": bytes(9 * MIB),
    "four megabytes of zeros": bytes(4 * MIB),
    "four megabytes of 0xff": b"\xff" * (4 * MIB),
    "a megabyte of text": b"a = 1\n" * (MIB // 6),
    "a key of 500 000 parts": b"a" + b".a" * (MIB // 2 - 10) + b" = 1",
    "a table of 500 000 parts": b"[a" + b".a" * (MIB // 2 - 10) + b"]",
    "keys of many parts": b"".join(b"%d" % n + b".a" * 500 + b" = 1\n" for n in range(1000)),
    "quoted parts": b"a" + b' . "b"' * 100_000 + b" = 1",
    "brackets": b"a = " + b"[" * 500_000,
    "braces": b"a = " + b"{a=" * 300_000,
    "tables": b"[[a]]\n" * 170_000,
    "sections": b"".join(b"[regions.r%d]\n" % n for n in range(60_000)),
    "a comment": b"#" * MIB,
    "escapes": b'a = "' + b"\\n" * 500_000 + b'"',
    "quotes": b'"' * MIB,
    "a long line": b"hefed roster 1\nfederation: " + b"a" * (MIB - 30),
    "many lines": b"hefed roster 1\nfederation: a\nversion: 1\n" + b"address: a:1\n" * 75_000,
}  # fmt: skip
"""Small causes of what would be large effects, whatever they are given to."""
