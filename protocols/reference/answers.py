"""The known answer and the sealed answers of a round, as `protocols/round.md` defines them.

NOT FOR PRODUCTION. Relies on the rest of the reference and on the standard library; must not import hefed.
"""

import hashlib

from protocols.reference import cbor
from protocols.reference.primitives import Profile, RefusedError, Subset, enc, words
from protocols.reference.sealing import TAG, open_part


def known_vector(label: bytes, name: str) -> list[float]:
    """What a contributor gives in round 0."""
    stream = hashlib.shake_256(enc("hefed/1 known answer", label, name)).digest(8 * 64)
    signed = [w - 2**64 if w >= 2**63 else w for w in words(stream, 8)]
    return [(w >> 23) * 2.0 ** ((-20, 0, 20)[j % 3] - 40) for j, w in enumerate(signed)]


def read_answers(
    profile: Profile, values: int, label: bytes, keyholder: str, question: bytes, content_key: bytes, sealed: bytes
) -> tuple[dict[Subset, bytes], dict[Subset, bytes]]:
    """
    Answers and hashes, each by its set, in the attachment of a keyholder's `answer` to the `open` with the digest
    `question`. Refused: another form or length, a part that does not open, a set that stands twice.

    Pre-conditions:

        - `len(label) == len(question) == len(content_key) == 32`
    """
    context = ("answer", label, keyholder, question)

    def part(number: int, data: bytes) -> bytes:
        return open_part(content_key, context, number, data)

    place = 4 + int.from_bytes(sealed[:4], "little")
    header = cbor.decode(part(0, sealed[4:place]))
    subsets = [tuple(subset) for subset in header["answers"]]
    hashes = {tuple(one["share"]): one["digest"] for one in header["hashes"]}
    if len({*subsets, *hashes}) != len(header["answers"]) + len(header["hashes"]):
        raise RefusedError("malformed", "a set stands twice")
    size, group = profile.packed_size(values), profile.packed_size(8 * profile.ring_degree)
    answers, number = {}, 1
    for subset in subsets:
        answers[subset] = b""
        while len(answers[subset]) < size:
            length = min(group, size - len(answers[subset])) + TAG
            answers[subset] += part(number, sealed[place : place + length])
            number, place = number + 1, place + length
    if place != len(sealed):
        raise RefusedError("malformed", "a wrong length")
    return answers, hashes
