"""Vectors of parts that are sealed under a content key, and of parts that do not open.

NOT FOR PRODUCTION: the "keys" are hashes that anybody can compute. Relies on the reference alone.
"""

from protocols.reference.primitives import Part
from protocols.reference.sealing import TAG, open_part, part_key, seal_part
from protocols.reference.vector_format import Json, fixed, refused

CONTEXT: tuple[Part, ...] = ("answer", fixed("label"), "skåne", fixed("open"))
PLAIN = {
    0: b"",
    1: b"\0",
    2: fixed("part", 2) * 3,
    3: bytes(96),
    255: fixed("part", 255),
    256: fixed("part", 256),
    2**32: fixed("part", 2**32),
}


def shown(context: tuple[Part, ...]) -> list[Json]:
    """The parts of a context, each with what it is."""
    return [{"hex": part.hex()} if isinstance(part, bytes) else {"text": part} for part in context]


def sealed_parts() -> Json:
    key = fixed("content key")
    sealed = {number: seal_part(key, CONTEXT, number, plain) for number, plain in PLAIN.items()}
    return {
        "content_key": key.hex(),
        "context": shown(CONTEXT),
        "part_key": part_key(key, CONTEXT).hex(),
        "parts": [
            {"number": str(number), "plain": plain.hex(), "sealed": sealed[number].hex()}
            for number, plain in PLAIN.items()
        ],
        "bad": bad_parts(key, sealed),
    }


def bad_parts(key: bytes, sealed: dict[int, bytes]) -> list[Json]:
    label, question = fixed("label"), fixed("open")
    two = sealed[2]
    cases: list[tuple[str, bytes, tuple[Part, ...], int, bytes]] = [
        ("part 3 in the place of part 2", key, CONTEXT, 2, sealed[3]),
        ("part 2 in the place of part 3", key, CONTEXT, 3, two),
        ("the empty part in another place", key, CONTEXT, 1, sealed[0]),
        ("the number with its bytes in the other order", key, CONTEXT, 1 << 88, sealed[1]),
        ("a number that differs in its second byte alone", key, CONTEXT, 256, sealed[0]),
        ("a number that differs in its fifth byte alone", key, CONTEXT, 2**32, sealed[0]),
        ("a number that differs in its last byte alone", key, CONTEXT, 1 << 88, sealed[0]),
        ("another content key", fixed("another content key"), CONTEXT, 2, two),
        ("the content key as the key of the parts", part_key(key, CONTEXT), CONTEXT, 2, two),
        ("another purpose", key, ("content key", label, "skåne", question), 2, two),
        ("another label", key, ("answer", fixed("another label"), "skåne", question), 2, two),
        ("another keyholder", key, ("answer", label, "orebro", question), 2, two),
        ("another question", key, ("answer", label, "skåne", fixed("another open")), 2, two),
        ("label and question exchanged", key, ("answer", question, "skåne", label), 2, two),
        ("without the question", key, ("answer", label, "skåne"), 2, two),
        ("the first bit of the text is another", key, CONTEXT, 2, flipped(two, 0)),
        ("the last bit of the text is another", key, CONTEXT, 2, flipped(two, -TAG - 1)),
        ("the first byte of the tag is another", key, CONTEXT, 2, flipped(two, -TAG)),
        ("the last byte of the tag is another", key, CONTEXT, 2, flipped(two, -1)),
        ("the tag of another part", key, CONTEXT, 2, two[:-TAG] + sealed[3][-TAG:]),
        ("a byte too short", key, CONTEXT, 2, two[:-1]),
        ("a byte too long", key, CONTEXT, 2, two + b"\0"),
        ("without its tag", key, CONTEXT, 2, two[:-TAG]),
        ("a tag that is a byte too short", key, CONTEXT, 0, sealed[0][:-1]),
        ("nothing", key, CONTEXT, 0, b""),
    ]
    return [
        {
            "name": name,
            "content_key": other.hex(),
            "context": shown(context),
            "number": str(number),
            "sealed": data.hex(),
            "refused": refused("sealed", open_part, other, context, number, data),
        }
        for name, other, context, number, data in cases
    ]


def flipped(data: bytes, place: int) -> bytes:
    """The same with another lowest bit in one byte."""
    altered = bytearray(data)
    altered[place] ^= 1
    return bytes(altered)
