"""Vectors of what keyholders answer in a round: when it is checked, and which answers a reader must refuse.

NOT FOR PRODUCTION: the "secrets" are hashes that anybody can compute. Relies on the reference alone.
"""

from protocols.reference.answers import AnswerError, Came, open_round
from protocols.reference.encryption import add, answer_hash, open_sum, pack, unpack
from protocols.reference.keys import subsets
from protocols.reference.primitives import RefusedError, Subset
from protocols.reference.round_vectors import Round, pushed
from protocols.reference.vector_format import Json, made_up_label, refused

Asked = list[list[int]]
Changed = list[Json]
"""What a keyholder sends for one set: attempt, keyholder, subset, and `packed`, `hash`, or neither for nothing."""


def total(r: Round) -> bytes:
    return add(r.profile, list(r.contributions.values()), r.label.values)


def held(r: Round, keyholder: int) -> list[Subset]:
    return [subset for subset in subsets(r.keyholders, r.threshold) if keyholder not in subset]


def came(r: Round, asked: Asked, changed: Changed) -> list[Came]:
    """What the keyholders that are asked send, attempt by attempt."""
    sent: dict[tuple[int, int], Came] = {}
    for attempt, keyholders in enumerate(asked, 1):
        for j in keyholders:
            whole = [T for T in held(r, j) if j == min(set(keyholders) - set(T))]
            hashes = {T: answer_hash(r.label.digest, T, r.answers[T]) for T in held(r, j) if T not in whole}
            sent[attempt, j] = (j, {T: r.answers[T] for T in whole}, hashes)
    for one in changed:
        subset = tuple(one["subset"])
        _, answers, hashes = sent[one["attempt"], one["keyholder"]]
        answers.pop(subset, None)
        hashes.pop(subset, None)
        if "packed" in one:
            answers[subset] = bytes.fromhex(one["packed"])
        if "hash" in one:
            hashes[subset] = bytes.fromhex(one["hash"])
    return list(sent.values())


def altered(r: Round, subset: Subset) -> bytes:
    """An answer whose first residue is one more."""
    vector = unpack(r.profile, r.answers[subset], r.label.values)
    vector[0][0] = (vector[0][0] + 1) % r.profile.primes[0]
    return pack(r.profile, vector)


def change(attempt: int, keyholder: int, subset: Subset, **sent: bytes) -> Json:
    return {"attempt": attempt, "keyholder": keyholder, "subset": list(subset)} | {k: v.hex() for k, v in sent.items()}


def answered(r: Round) -> Json:
    """Good answers: whether the round is checked with them."""
    n, t = r.keyholders, r.threshold
    everybody, enough, last = list(range(n)), list(range(t)), list(range(n - t, n))
    subset = held(r, n - 1)[0]
    cases: list[tuple[str, Asked, Changed]] = [
        ("all keyholders", [everybody], []),
        ("as many as the threshold, the first ones", [enough], []),
        ("as many as the threshold, the last ones", [last], []),
        ("all, and again without one", [everybody, everybody[1:]], []),
        ("some, and then all", [last, everybody], []),
        ("the first ones, and then the last ones", [enough, last], []),
        ("an answer where a hash is enough", [everybody], [change(1, n - 1, subset, packed=r.answers[subset])]),
        ("a hash left out", [everybody], [change(1, n - 1, subset)]),
    ]
    if n - 1 > t:
        cases.append(("all but one", [everybody[:-1]], []))
    entries = []
    for name, asked, changed in cases:
        opened, checked = open_round(r.precision, r.label, total(r), came(r, asked, changed))
        if opened != open_sum(r.precision, r.label, total(r), r.answers):
            raise AssertionError(f"{name} opens to another sum")
        entries.append({"name": name, "asked": asked, "changed": changed, "checked": checked})
    return {"answered": entries}


def badly_answered(r: Round) -> Json:
    """Answers that a reader must refuse, and the keyholders that this names."""
    n, t, everybody = r.keyholders, r.threshold, list(range(r.keyholders))
    every = subsets(n, t)
    first, last = every[0], every[-1]
    holders, of_last = ([j for j in everybody if j not in T] for T in (first, last))
    low, top, rest = holders[0], holders[-1], holders[1:]
    wrong = {T: answer_hash(r.label.digest, T, altered(r, T)) for T in every}
    right = {T: answer_hash(r.label.digest, T, r.answers[T]) for T in every}
    label = r.label
    other = made_up_label(r.profile, label.contributors, label.exponents, label.purpose, label.round - 1).digest
    other_round = answer_hash(other, first, r.answers[first])
    other_set = answer_hash(label.digest, last, r.answers[first])
    differs = change(1, top, first, hash=wrong[first])
    one_against_rest = [holders[:-1], [top]]
    nothing = [change(1, j, last) for j in of_last]
    two_attempts, without = [everybody, everybody[1:]], everybody[1:]
    # With and without keyholder 0: of `twice` keyholder 1 gives the answer both times, of `once` first its hash.
    twice, once = (next(T for T in every if 1 not in T and (0 in T) is both) for both in (True, False))
    between = tuple(range(1, t))
    of_both = [[j for j in (0, *range(n - t, n)) if j not in between and j != t], [t]]
    differing: list[tuple[str, Asked, Changed, list[list[int]]]] = [
        ("the last holder of the first set has another hash", [everybody], [differs], one_against_rest),
        (
            "the last holder of the last set has another hash",
            [everybody],
            [change(1, of_last[-1], last, hash=wrong[last])],
            [of_last[:-1], of_last[-1:]],
        ),
        (
            "an answer is another than all its hashes",
            [everybody],
            [change(1, low, first, packed=altered(r, first))],
            [[low], rest],
        ),
        (
            "two holders give different answers",
            [everybody],
            [change(1, top, first, packed=altered(r, first))],
            one_against_rest,
        ),
        (
            "a hash for the label of another round",
            [everybody],
            [change(1, top, first, hash=other_round)],
            one_against_rest,
        ),
        ("a hash for another set", [everybody], [change(1, top, first, hash=other_set)], one_against_rest),
        (
            "holders differ that answered different questions",
            [list(range(t)), list(range(n - t, n))],
            [change(2, t, between, packed=altered(r, between))],
            of_both,
        ),
        ("holders differ, and a set has no answer", [everybody], [differs, *nothing], one_against_rest),
        (
            "a keyholder gives another answer when asked again",
            two_attempts,
            [change(2, 1, twice, packed=altered(r, twice))],
            [[1]],
        ),
        (
            "a keyholder gives the right answer when asked again, and another before",
            two_attempts,
            [change(1, 1, twice, packed=altered(r, twice))],
            [[1]],
        ),
        (
            "a keyholder gives another hash when asked again",
            two_attempts,
            [change(2, top, first, hash=wrong[first])],
            [[top]],
        ),
        (
            "a keyholder gives a hash, and then another answer",
            two_attempts,
            [change(2, 1, once, packed=altered(r, once))],
            [[1]],
        ),
        (
            "a keyholder gives an answer, and then the hash of another",
            [without, everybody],
            [change(2, 1, once, hash=wrong[once])],
            [[1]],
        ),
        (
            "a keyholder gives another hash when asked a third time",
            [everybody, without, everybody],
            [change(3, top, first, hash=wrong[first])],
            [[top]],
        ),
    ]
    if len(holders) > 2:
        three = [change(1, holders[1], first, hash=other_round), differs]
        alike = [change(1, j, first, hash=wrong[first]) for j in rest]
        differing.append(("all holders have different hashes", [everybody], three, [[j] for j in holders]))
        differing.append(("all holders have one hash, which is not the answer's", [everybody], alike, [[low], rest]))
    cases: list[tuple[str, str, bytes, Asked, Changed, list[list[int]]]] = [
        *((name, "equivocation", total(r), *rest_of_case) for name, *rest_of_case in differing),
        (
            "holders differ, and the opened integers are out of range",
            "equivocation",
            pushed(r, r.precision.largest_sum + 1),
            [everybody],
            [differs],
            one_against_rest,
        ),
        ("a set without answer and hashes", "opening", total(r), [everybody], nothing, []),
        (
            "a set of which all holders give the hash",
            "opening",
            total(r),
            [everybody],
            [change(1, low, first, hash=right[first])],
            [],
        ),
        (
            "an answer for a set that its keyholder is in",
            "malformed",
            total(r),
            [everybody],
            [change(1, 0, first, packed=r.answers[first])],
            [[0]],
        ),
        (
            "a hash for a set that its keyholder is in",
            "malformed",
            total(r),
            [everybody],
            [change(1, 0, first, hash=right[first])],
            [[0]],
        ),
        (
            "a hash for a set of too few keyholders",
            "malformed",
            total(r),
            [everybody],
            [change(1, top, first[:-1], hash=right[first])],
            [[top]],
        ),
        (
            "a hash for a set of an unknown keyholder",
            "malformed",
            total(r),
            [everybody],
            [change(1, top, (*first[:-1], n), hash=right[first])],
            [[top]],
        ),
    ]
    return {
        "answered": [
            {
                "name": name,
                "sum": bad_total.hex(),
                "asked": asked,
                "changed": changed,
                "refused": refused(kind, open_round, r.precision, r.label, bad_total, came(r, asked, changed)),
                "named": named(r, bad_total, came(r, asked, changed), sides),
            }
            for name, kind, bad_total, asked, changed, sides in cases
        ]
    }


def named(r: Round, bad_total: bytes, came_: list[Came], sides: list[list[int]]) -> list[list[int]]:
    """`sides`, after trying that the reference names these keyholders."""
    try:
        open_round(r.precision, r.label, bad_total, came_)
    except RefusedError as error:
        found = error.sides if isinstance(error, AnswerError) else []
        if found == sides:
            return sides
        raise AssertionError(f"the reference names {found}, not {sides}") from error
    raise AssertionError("nothing is refused")
