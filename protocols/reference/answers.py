"""The known answer and the sealed answers of a round, as `protocols/round.md` defines them.

NOT FOR PRODUCTION. Relies on the rest of the reference and on the standard library; must not import hefed.
"""

import hashlib
from collections.abc import Sequence

from protocols.reference import cbor
from protocols.reference.encryption import Precision, answer_hash, open_sum
from protocols.reference.keys import Label, subsets
from protocols.reference.primitives import Profile, RefusedError, Subset, enc, words
from protocols.reference.sealing import TAG, open_part

Came = tuple[int, dict[Subset, bytes], dict[Subset, bytes]]
"""A keyholder's number, and its answers and hashes by their sets."""


class AnswerError(RefusedError):
    """Answers that are refused, and whom that names: the keyholders of each side, or the one."""

    def __init__(self, kind: str, sides: list[list[int]], reason: str) -> None:
        super().__init__(kind, reason)
        self.sides = sides


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


def open_round(precision: Precision, label: Label, total: bytes, came: Sequence[Came]) -> tuple[list[int], bool]:
    """
    The opened integers, and whether the round is checked, from what keyholders sent to all questions of the round, in
    that order. Refused: what `cross_check` and then `open_sum` refuse.

    Pre-conditions:

        - those of `open_sum`
    """
    checked = cross_check(label.digest, precision.keyholders, precision.threshold, came)
    answers: dict[Subset, bytes] = {}
    for _, whole, _ in came:
        answers |= whole  # which are all alike
    return open_sum(precision, label, total, answers), checked


def cross_check(label: bytes, keyholders: int, threshold: int, came: Sequence[Came]) -> bool:
    """
    Whether at least `threshold` holders confirmed every answer. Refused: an answer for a set that its keyholder does
    not hold, two different ones of one keyholder, holders that differ.

    Pre-conditions:

        - `len(label) == 32`
        - `2 <= threshold <= keyholders`
    """
    every = subsets(keyholders, threshold)
    said: dict[Subset, dict[int, bytes]] = {subset: {} for subset in every}
    for keyholder, answers, hashes in came:
        if any(subset not in every or keyholder in subset for subset in (*answers, *hashes)):
            raise AnswerError("malformed", [[keyholder]], "an answer for a set that it does not hold")
        own = {subset: answer_hash(label, subset, packed) for subset, packed in answers.items()}
        for subset, digest in (own | hashes).items():
            if said[subset].setdefault(keyholder, digest) != digest:
                raise AnswerError("equivocation", [[keyholder]], "two different answers of one keyholder")
    for of_holders in said.values():
        sides: dict[bytes, list[int]] = {}
        for keyholder, digest in sorted(of_holders.items()):
            sides.setdefault(digest, []).append(keyholder)
        if len(sides) > 1:
            raise AnswerError("equivocation", list(sides.values()), "the holders of a set do not agree")
    return all(len(of_holders) >= threshold for of_holders in said.values())
