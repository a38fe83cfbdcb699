"""Vectors of whole rounds: contributions, their sum, check values, answers, opened integers, and what must be refused.

NOT FOR PRODUCTION: the "secrets" are hashes that anybody can compute. Relies on the reference alone.
"""

from dataclasses import dataclass
from functools import cached_property

from protocols.reference.encryption import (
    Precision,
    add,
    answer,
    answer_hash,
    check_value,
    contribution,
    decode_value,
    encode_value,
    open_sum,
    opened_bytes,
    pack,
    unpack,
    verify_checks,
)
from protocols.reference.keys import Label, subsets
from protocols.reference.primitives import COMPACT, PRECISE, Profile, Subset
from protocols.reference.vector_format import (
    Json,
    brief,
    fixed,
    label_fields,
    made_up_label,
    refused,
    seeds_of,
)

NAMES = ("halland", "kronoberg", "orebro", "skåne", "åre")  # two bytes for å, and sorted


@dataclass(frozen=True)
class Round:
    """What a round is made from. Value j of a contributor is entry j of its pattern, which repeats."""

    profile: Profile
    keyholders: int
    threshold: int
    label: Label
    patterns: dict[str, tuple[float, ...]]

    @property
    def precision(self) -> Precision:
        return Precision(self.profile, self.keyholders, self.threshold, self.label.contributors)

    def values(self, dealer: str) -> list[float]:
        pattern = self.patterns[dealer]
        return [pattern[j % len(pattern)] for j in range(self.label.values)]

    @cached_property
    def contributions(self) -> dict[str, bytes]:
        return {
            dealer: contribution(
                self.precision,
                self.label,
                dealer,
                seeds_of(dealer, self.keyholders, self.threshold),
                fixed("noise secret", dealer),
                self.values(dealer),
            )
            for dealer in self.patterns
        }

    @cached_property
    def answers(self) -> dict[Subset, bytes]:
        return {subset: self.answer(self.label, subset) for subset in subsets(self.keyholders, self.threshold)}

    def answer(self, label: Label, subset: Subset) -> bytes:
        dealt = {dealer: seeds_of(dealer, self.keyholders, self.threshold) for dealer in self.patterns}
        return answer(label, subset, {dealer: seeds[subset] for dealer, seeds in dealt.items()})


def a_round(
    profile: Profile,
    keyholders: int,
    threshold: int,
    exponents: tuple[int, ...],
    purpose: str,
    number: int,
    *patterns: tuple[float, ...],
) -> Round:
    label = made_up_label(profile, len(patterns), exponents, purpose, number)
    return Round(profile, keyholders, threshold, label, dict(zip(NAMES, patterns, strict=False)))


def repeated(exponents: tuple[int, ...], values: int) -> tuple[int, ...]:
    return (exponents * (values // len(exponents) + 1))[:values]


# The extremes of each range, zeros of both signs, ties of the rounding (the capacity is 45 for three contributors and
# 90 for four), a subnormal and a neighbour of 2^x.
SMALL = {
    "compact": a_round(
        COMPACT,
        3,
        2,
        (0, 0, 0, 10, -30, 30, 1),
        "logistic step",
        7,
        (1.0, 2.0**-46, 3 * 2.0**-46, 1024.0, 2.0**-30, -(2.0**30), -1.9999999999999998),
        (1.0, -(2.0**-46), -3 * 2.0**-46, 1024.0, -(2.0**-30), -(2.0**30), 5e-324),
        (-1.0, 0.5 + 2.0**-46, 0.5 + 3 * 2.0**-46, 1024.0, -0.0, -(2.0**30), 0.1),
    ),
    "precise": a_round(
        PRECISE,
        5,
        3,
        (0, 0, 0, 30, -40, 30, 1),
        "cox step",
        2**64 - 1,
        (1.0, 2.0**-91, 3 * 2.0**-91, 2.0**30, 2.0**-40, -(2.0**30), -1.9999999999999998),
        (1.0, -(2.0**-91), -3 * 2.0**-91, 2.0**30, -(2.0**-40), -(2.0**30), 5e-324),
        (-1.0, 5 * 2.0**-91, -5 * 2.0**-91, 2.0**30, -0.0, -(2.0**30), 0.1),
        (0.3, 1e-9, -1e-9, 2.0**30, 1e-13, -(2.0**30), 1.4142135623730951),
    ),
}
# Two blocks, of which the second is nearly empty, so that the order of blocks and lanes and the end of a vector count.
LARGE = {
    "compact-two-blocks": a_round(
        COMPACT,
        2,
        2,
        repeated((0, 5, -3), 2051),
        "histogram",
        1,
        (0.25, 30.0, -0.125),
        (-0.75, 31.9, 0.001, 1.0, -32.0, 0.125),
    ),
    "precise-two-blocks": a_round(
        PRECISE,
        3,
        3,
        repeated((0, 20), 4099),
        "moments",
        2,
        (0.25, 1048576.0, -0.125, 1.0),
        (-0.75, 31.9, 0.001, -31.9),
        (0.5, -1000.0),
    ),
}


def round_vector(r: Round) -> Json:
    """The good entry of one round."""
    profile, label, precision, values = r.profile, r.label, r.precision, r.label.values
    contributions = r.contributions
    total = add(profile, list(contributions.values()), values)
    the_list = fixed("list of contributions")
    checks = {dealer: check_value(profile, packed, values, the_list) for dealer, packed in contributions.items()}
    verify_checks(profile, total, values, the_list, list(checks.values()))
    answers = r.answers
    opened = open_sum(precision, label, total, answers)
    decoded = [decode_value(x, e, precision.capacity) for x, e in zip(opened, label.exponents, strict=True)]
    shown = values if values < 20 else 4
    return {
        "profile": profile.identifier,
        "keyholders": r.keyholders,
        "threshold": r.threshold,
        "label": {**label_fields(label), "exponents": repeating(label.exponents)},
        "capacity": precision.capacity,
        "tail": precision.tail,
        "contributors": [
            {
                "name": dealer,
                "noise_secret": fixed("noise secret", dealer).hex(),
                "seeds": [seed.hex() for seed in seeds_of(dealer, r.keyholders, r.threshold).values()],
                "values": {"repeat": [repr(v) for v in r.patterns[dealer]], "count": values},
                "integers": [str(m) for m in messages(r, dealer)[:shown]],
                "contribution": brief(contributions[dealer]),
                "check_value": checks[dealer].hex(),
            }
            for dealer in r.patterns
        ],
        "list": the_list.hex(),
        "sum": brief(total),
        "answers": [
            {"subset": list(T), "packed": brief(packed), "hash": answer_hash(label.digest, T, packed).hex()}
            for T, packed in answers.items()
        ],
        "opened": brief(opened_bytes(opened)),
        "opened_integers": [str(x) for x in opened[:shown]],
        "decoded": [repr(v) for v in decoded[:shown]],
        **({"edges": [edge(r, sign * precision.largest_sum) for sign in (1, -1)]} if values < 20 else {}),
    }


def edge(r: Round, target: int) -> Json:
    """A sum that opens to the largest integers that are in range."""
    total = pushed(r, target)
    return {
        "sum": brief(total),
        "opened": brief(opened_bytes(open_sum(r.precision, r.label, total, r.answers))),
    }


def pushed(r: Round, target: int) -> bytes:
    """The sum, to which is added what makes every opened integer the target."""
    profile, values = r.profile, r.label.values
    total = add(profile, list(r.contributions.values()), values)
    opened = open_sum(r.precision, r.label, total, r.answers)
    return add(profile, [total, pack(profile, [[(target - x) % p for p in profile.primes] for x in opened])], values)


def repeating(exponents: tuple[int, ...]) -> Json:
    length = next(n for n in range(1, len(exponents) + 1) if repeated(exponents[:n], len(exponents)) == exponents)
    return {"repeat": list(exponents[:length]), "count": len(exponents)}


def messages(r: Round, dealer: str) -> list[int]:
    pairs = zip(r.values(dealer), r.label.exponents, strict=True)
    return [encode_value(v, x, r.precision.capacity) for v, x in pairs]


# --- What must be refused -------------------------------------------------------------------------


def bad_values(r: Round) -> list[Json]:
    """A value of the first contributor's is replaced."""
    x = r.label.exponents[0]
    bad = [("above the range by one unit in the last place", 0, repr(2.0**x * (1 + 2.0**-52)))]
    bad += [("below the range by one unit in the last place", 0, repr(-(2.0**x) * (1 + 2.0**-52)))]
    bad += [("infinite", 1, "inf"), ("minus infinity", 1, "-inf"), ("not a number", 2, "nan"), ("largest", 6, "1e308")]
    return [
        {
            "name": name,
            "index": j,
            "value": value,
            "refused": refused("range", encode_value, float(value), r.label.exponents[j], r.precision.capacity),
        }
        for name, j, value in bad
    ]


def damaged(profile: Profile, packed: bytes, values: int) -> list[tuple[str, bytes]]:
    """Ways in which packed bytes can be malformed."""
    width, size = profile.value_bits, 8 * len(packed)
    bad = [("empty", b""), ("a byte too short", packed[:-1]), ("a byte too long", packed + b"\0")]
    bits = int.from_bytes(packed, "little")
    for k, p in enumerate(profile.primes):
        start = width * (values - 1) + sum(q.bit_length() for q in profile.primes[:k])
        room = ((1 << p.bit_length()) - 1) << start
        for what, residue in (("its prime", p), ("all ones", (1 << p.bit_length()) - 1)):
            changed = (bits & ~room) | residue << start
            bad.append((f"last residue of prime {k} is {what}", changed.to_bytes(len(packed), "little")))
    bad += [
        (f"bit {i} of the filling is set", (bits | 1 << i).to_bytes(len(packed), "little"))
        for i in range(width * values, size)
    ]
    return bad


def bad_packings(r: Round) -> list[Json]:
    """The packed contribution of the first contributor, damaged; each is refused in a sum, a check and an opening."""
    packed = next(iter(r.contributions.values()))
    profile, values = r.profile, r.label.values
    return [
        {"name": name, "hex": bad.hex(), "refused": refused("malformed", add, profile, [bad], values)}
        for name, bad in damaged(profile, packed, values)
    ]


def bad_checks(r: Round) -> list[Json]:
    """A sum and the check values that come with it, under the list of the good entry."""
    profile, values, the_list = r.profile, r.label.values, fixed("list of contributions")
    packed = list(r.contributions.values())
    total = add(profile, packed, values)
    checks = [check_value(profile, c, values, the_list) for c in packed]
    vector = unpack(profile, total, values)
    vector[-1][0] = (vector[-1][0] + 1) % profile.primes[0]
    altered_sum = pack(profile, vector)
    one_more = (int.from_bytes(checks[0][-8:], "little") + 1) % profile.primes[-1]
    wrong = checks[0][:-8] + one_more.to_bytes(8, "little")
    too_large = profile.primes[0].to_bytes(8, "little") + checks[0][8:]
    other = [check_value(profile, c, values, fixed("another list")) for c in packed]
    bad = [
        ("a value of the sum is one more", "check", altered_sum, checks),
        ("a contribution counted twice", "check", add(profile, [total, packed[0]], values), checks),
        ("a contribution left out", "check", add(profile, packed[1:], values), checks),
        ("a check value left out", "check", total, checks[1:]),
        ("the last residue of a check value is one more", "check", total, [wrong, *checks[1:]]),
        ("a check value for another list", "check", total, [other[0], *checks[1:]]),
        ("a check value a byte too short", "malformed", total, [checks[0][:-1], *checks[1:]]),
        ("a check value with a residue too many", "malformed", total, [checks[0] + bytes(8), *checks[1:]]),
        ("the first residue of a check value is its prime", "malformed", total, [too_large, *checks[1:]]),
        ("the sum a byte too short", "malformed", total[:-1], checks),
    ]
    return [
        {
            "name": name,
            "sum": bad_total.hex(),
            "check_values": [c.hex() for c in bad_checks_],
            "refused": refused(kind, verify_checks, profile, bad_total, values, the_list, bad_checks_),
        }
        for name, kind, bad_total, bad_checks_ in bad
    ]


def bad_openings(r: Round) -> list[Json]:
    """A sum and the answers that come with it, under the label of the good entry."""
    profile, values = r.profile, r.label.values
    packed = list(r.contributions.values())
    total, answers = add(profile, packed, values), r.answers
    first, last = next(iter(answers)), list(answers)[-1]
    other = made_up_label(profile, r.label.contributors, r.label.exponents, r.label.purpose, r.label.round - 1)
    without = {T: packed_answer for T, packed_answer in answers.items() if last != T}
    unknown = tuple(range(r.keyholders, r.keyholders + r.threshold - 1))
    swapped = {**without, unknown: answers[last]}
    one_too_many = {**answers, unknown: pack(profile, [[0] * len(profile.primes)] * values)}
    bad = [
        ("an answer left out", "opening", total, without),
        ("an answer for a set of unknown keyholders", "opening", total, swapped),
        ("an answer of zeros too many, for a set of unknown keyholders", "opening", total, one_too_many),
        (
            "the opened integers are the smallest that are out of range",
            "opening",
            pushed(r, r.precision.largest_sum + 1),
            answers,
        ),
        ("a contribution left out", "opening", add(profile, packed[1:], values), answers),
        ("an answer for another round", "opening", total, {**answers, first: r.answer(other, first)}),
        ("an answer for another set", "opening", total, {**answers, first: answers[last]}),
        ("an answer a byte too short", "malformed", total, {**answers, first: answers[first][:-1]}),
        ("the sum a byte too long", "malformed", total + b"\0", answers),
    ]
    bad += [
        (f"an answer's {name}", "malformed", total, {**answers, last: bytes_})
        for name, bytes_ in damaged(profile, answers[last], values)
        if "residue" in name or "filling" in name
    ]
    return [
        {
            "name": name,
            "sum": bad_total.hex(),
            "answers": [{"subset": list(T), "hex": bad_answer.hex()} for T, bad_answer in bad_answers.items()],
            "refused": refused(kind, open_sum, r.precision, r.label, bad_total, bad_answers),
        }
        for name, kind, bad_total, bad_answers in bad
    ]


def bad_round_vector(r: Round) -> Json:
    """The bad entries of one round; the rest of their inputs is the good entry's."""
    return {
        "values": bad_values(r),
        "packings": bad_packings(r),
        "checks": bad_checks(r),
        "openings": bad_openings(r),
    }
