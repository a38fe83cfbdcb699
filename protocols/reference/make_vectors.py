"""Writes `protocols/vectors/*.json` with the reference: `python -m protocols.reference.make_vectors`, from the root.

NOT FOR PRODUCTION: every "secret" in a vector is a hash that anybody can compute. Relies on the reference alone and on
no randomness, so that the same files come out everywhere. What a file's entries mean stands in
`protocols/vectors/README.md`. Every bad entry is tried here first: an input that the reference does not refuse in the
stated way stops the program.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from protocols.reference.answer_vectors import answered, badly_answered
from protocols.reference.deal_vectors import deals
from protocols.reference.encryption import Precision, decode_value, encode_value, pack, unpack
from protocols.reference.frame_vectors import frames
from protocols.reference.keys import (
    Label,
    answer_noise_key,
    combined_answer_noise_key,
    contribution_noise_key,
    public_polynomial,
)
from protocols.reference.primitives import (
    COMPACT,
    PRECISE,
    PRF,
    VARIANCE_CONTRIBUTION,
    H,
    Part,
    Profile,
    enc,
    gaussian,
    gaussian_sample,
    gaussian_table,
    inverse_transform,
    mask,
    psi,
    stream,
    transform,
    uniform,
    variance_answer,
    words,
)
from protocols.reference.round_vectors import LARGE, SMALL, Round, bad_round_vector, damaged, round_vector
from protocols.reference.sealing_vectors import sealed_parts
from protocols.reference.vector_format import (
    Json,
    brief,
    fixed,
    label_fields,
    made_up_label,
    polynomial,
    refused,
)

DIRECTORY = Path(__file__).parent.parent / "vectors"
PROFILES = (COMPACT, PRECISE)


def hashing() -> Json:
    lists: list[tuple[str, list[Part]]] = [
        ("empty", []),
        ("text", ["ab", "c"]),
        ("text", ["a", "bc"]),
        ("text", ["abc", ""]),
        ("text", ["skåne"]),
        ("integers", [0, 1, 2**64 - 1]),
        ("bytes", [bytes(8), (1).to_bytes(8, "little")]),
        ("mixed", ["round", 7, fixed("study")]),
    ]
    key = fixed("key")

    def shown(part: Part) -> Json:
        if isinstance(part, bytes):
            return {"hex": part.hex()}
        return {"text": part} if isinstance(part, str) else {"u64": str(part)}

    return {
        "key": key.hex(),
        "hashes": [
            {
                "tag": tag,
                "parts": [shown(part) for part in parts],
                "enc": enc(*parts).hex(),
                "H": H(tag, *parts).hex(),
                "PRF": PRF(key, tag, *parts).hex(),
            }
            for tag, parts in lists
        ],
        "streams": [
            {"lane": lane, "offset": str(offset), "first_48_bytes": stream(key, lane, offset, 48).hex()}
            for lane, offset in [
                (0, 0),
                (0, 1),
                (1, 0),
                (3, 768),
                (2, 2**32 - 1),
                (7, 2**95),
                (0, 2**64 - 1),
            ]
        ],
    }


def labels() -> Json:
    """A label, and others that each differ from it in one field: all digests differ."""
    label = made_up_label(COMPACT, 3, (0, 10, -30), "logistic step", 7)
    variations: list[Label] = [
        label,
        replace(label, federation="nordi"),
        replace(label, federation="nordicl", purpose="ogistic step"),
        replace(label, study=fixed("another study")),
        replace(label, cohort=fixed("another cohort")),
        replace(label, round=8),
        replace(label, round=2**64 - 1),
        replace(label, purpose="cox step"),
        replace(label, profile=PRECISE),
        replace(label, contributors=4),
        replace(label, exponents=(0, 10)),
        replace(label, exponents=(0, 10, -30, 0)),
        replace(label, exponents=(0, 10, 30)),
        replace(label, previous=bytes(32)),
    ]
    if len({variation.digest for variation in variations}) != len(variations):
        raise AssertionError("two labels have one digest")
    return {
        "labels": [label_fields(variation) for variation in variations],
        "bad": [bad_label(label, *change) for change in BAD_LABELS],
    }


BAD_LABELS: list[tuple[str, Json]] = [
    ("a study hash of 31 bytes", {"study": fixed("study")[:-1]}),
    ("no cohort", {"cohort": b""}),
    ("a previous hash of 33 bytes", {"previous": bytes(33)}),
    ("a round below 0", {"round": -1}),
    ("a round above a u64", {"round": 2**64}),
    ("no contributors", {"contributors": 0}),
    ("too many contributors", {"contributors": 4097}),
    ("no values", {"exponents": ()}),
    ("an exponent too large", {"exponents": (0, 901)}),
    ("an exponent too small", {"exponents": (-901, 0)}),
]


def bad_label(label: Label, name: str, change: Json) -> Json:
    def changed() -> Label:
        return replace(label, **change)

    ((field, value),) = change.items()
    shown = value.hex() if isinstance(value, bytes) else list(value) if isinstance(value, tuple) else str(value)
    return {"name": name, "field": field, "value": shown, "refused": refused("parameter", changed)}


# Rounds for which the first polynomial of the label contains a word that is not below its prime, found by trying one
# after another (about 2^15 of them for the prime of 46 bits, 2^19 for 47 and 2^23 for 48).
REJECTIONS = [(COMPACT, 0, 4594622), (PRECISE, 0, 17959), (PRECISE, 1, 330664)]


# Blocks of the key of `uniform` with such words: where the replacements of a later block start.
BLOCKS_WITH_REJECTIONS = {(PRECISE, 0): (127412,), (PRECISE, 1): (274865,)}


def rejection_label(profile: Profile, number: int) -> Label:
    return made_up_label(profile, 3, (0,), "rejection", number)


def rejected(profile: Profile, key: bytes, block: int, k: int) -> list[int]:
    """The positions of the words of a block that are replaced, of which there must be some."""
    n, p = profile.ring_degree, profile.primes[k]
    drawn = words(stream(key, 2 * k, block * 6 * n // 16, 6 * n), 6)
    positions = [j for j, w in enumerate(drawn) if w % (1 << p.bit_length()) >= p]
    if not positions:
        raise AssertionError("this block was to contain a word that is replaced")
    return positions


def rejection(profile: Profile, k: int, number: int) -> Json:
    label = rejection_label(profile, number)
    positions = rejected(profile, H("public polynomial", label.digest), 0, k)
    a = public_polynomial(profile, label.digest, 0, k)
    return {
        "label": label_fields(label),
        "prime": str(profile.primes[k]),
        "replaced": [{"position": j, "value": str(a[j])} for j in positions],
        "polynomial": polynomial(a),
    }


def uniform_polynomials() -> Json:
    key = fixed("uniform")
    expanded = [
        {
            "profile": profile.identifier,
            "block": str(block),
            "k": k,
            "polynomial": polynomial(uniform(profile, key, block, k)),
        }
        for profile in PROFILES
        for k in range(len(profile.primes))
        for block in (0, 1, 9, 2**33, *BLOCKS_WITH_REJECTIONS.get((profile, k), ()))
    ]
    for (profile, k), blocks in BLOCKS_WITH_REJECTIONS.items():
        for block in blocks:
            rejected(profile, key, block, k)
    public = []
    for profile in PROFILES:
        label = made_up_label(profile, 3, (0,), "public", 1)
        polynomials = [
            {"block": block, "k": k, "polynomial": polynomial(public_polynomial(profile, label.digest, block, k))}
            for block in (0, 1, 8)
            for k in range(len(profile.primes))
        ]
        public.append({"label": label_fields(label), "polynomials": polynomials})
    return {
        "key": key.hex(),
        "uniform": expanded,
        "public": public,
        "rejections": [rejection(*case) for case in REJECTIONS],
    }


def transforms() -> Json:
    entries = []
    for profile in PROFILES:
        n = profile.ring_degree
        for k, p in enumerate(profile.primes):
            form = uniform(profile, fixed("transform"), 0, k)
            coefficients = inverse_transform(form, p)
            monomial = transform([0, 1] + [0] * (n - 2), p)
            entries.append(
                {
                    "profile": profile.identifier,
                    "k": k,
                    "prime": str(p),
                    "psi": str(psi(n, p)),
                    "X": polynomial(monomial),
                    "form": {"uniform": {"key": fixed("transform").hex(), "block": "0"}, **polynomial(form)},
                    "coefficients": polynomial(coefficients),
                }
            )
    return {"transforms": entries}


def gaussians() -> Json:
    variances = [VARIANCE_CONTRIBUTION, *(variance_answer(contributors) for contributors in (1, 3, 32))]
    return {
        "tables": [gaussian_vector(variance) for variance in variances],
        "noise": [
            {
                "profile": profile.identifier,
                "key": fixed("gaussian").hex(),
                "variance": str(variance),
                "block": block,
                "first": noise[:8],
                "sha256_int64": brief(b"".join(e.to_bytes(8, "little", signed=True) for e in noise))["sha256"],
            }
            for profile in PROFILES
            for variance in variances[:3:2]
            for block in (0, 5)
            for noise in [gaussian(profile, fixed("gaussian"), variance, block, profile.ring_degree)]
        ],
    }


def gaussian_vector(variance: Fraction) -> Json:
    """The table and single samples. `ties` are those where the first word alone does not decide."""
    table = gaussian_table(variance)
    bound = len(table) - 1
    ties = []
    for k in sorted({0, 1, bound // 4, bound // 2, 3 * bound // 4, bound - 2, bound - 1}):
        upper, lower = divmod(table[k], 2**64)
        for second in {max(lower - 1, 0), lower, 0, 2**64 - 1}:
            ties += [(upper << 1, second), (upper << 1 | 1, second)]
    plain = [(word, 0) for word in (0, 1, 2, 2**63, 2**64 - 2, 2**64 - 1)]
    drawn = words(stream(fixed("samples"), 0, 0, 8 * 32), 8)
    plain += list(zip(drawn[::2], drawn[1::2], strict=True))
    return {
        "variance": str(variance),
        "bound": bound,
        "table": brief(b"".join(c.to_bytes(16, "little") for c in table)),
        "ties": [samples(variance, pair) for pair in sorted(ties)],
        "samples": [samples(variance, pair) for pair in plain],
    }


def samples(variance: Fraction, pair: tuple[int, int]) -> Json:
    return {"words": [str(word) for word in pair], "sample": gaussian_sample(variance, *pair)}


def values() -> Json:
    entries = []
    for profile, keyholders, threshold, contributors in [
        (COMPACT, 2, 2, 1),
        (COMPACT, 3, 2, 3),
        (COMPACT, 9, 5, 32),
        (PRECISE, 3, 2, 3),
        (PRECISE, 3, 2, 32),
        (PRECISE, 12, 5, 100),
    ]:
        precision = Precision(profile, keyholders, threshold, contributors)
        c = precision.capacity
        cases = [(1.0, 0), (-1.0, 0), (0.0, 0), (-0.0, 0), (2.0**-c, 0), (0.1, 0), (-0.1, 0), (5e-324, 0), (0.1, -3)]
        cases += [(half * 2.0 ** -(c + 1), 0) for half in (-5, -3, -1, 1, 3, 5)]
        cases += [(2.0**30, 30), (-(2.0**30), 30), (2.0**29 + 2.0**-23, 30), (1 / 3, 2), (1e-9, 60), (2.0**-40, -40)]
        entries.append(
            {
                "profile": profile.identifier,
                "keyholders": keyholders,
                "threshold": threshold,
                "contributors": contributors,
                "variance_opened": str(precision.variance_opened),
                "tail": precision.tail,
                "capacity": c,
                "encoded": [{"value": repr(v), "exponent": x, "integer": str(encode_value(v, x, c))} for v, x in cases],
                "decoded": [
                    {"integer": str(m), "exponent": x, "value": repr(decode_value(m, x, c))}
                    for m in (0, 1, -1, 2**53 + 1, 2**53 + 3, -(2**53) - 1, precision.largest_sum)
                    for x in (0, 30, -40)
                ],
            }
        )
    bad = [(1, 1, 3), (2, 1, 3), (3, 4, 3), (17, 2, 3), (16, 8, 3), (3, 2, 0), (3, 2, 4097), (0, 0, 1), (3, -1, 3)]
    return {
        "values": entries,
        "bad": [
            {
                "profile": COMPACT.identifier,
                "keyholders": n,
                "threshold": t,
                "contributors": contributors,
                "refused": refused("parameter", Precision, COMPACT, n, t, contributors),
            }
            for n, t, contributors in bad
        ],
    }


def packing() -> Json:
    entries = []
    for profile in PROFILES:
        largest = [p - 1 for p in profile.primes]
        vectors = [[[1] * len(profile.primes)], [largest], [largest, [0] * len(profile.primes), largest]]
        drawn = [uniform(profile, fixed("packing"), 0, k) for k in range(len(profile.primes))]
        vectors += [[list(residues) for residues in zip(*drawn, strict=True)][:9]]
        packed = pack(profile, vectors[-2])
        entries.append(
            {
                "profile": profile.identifier,
                "good": [
                    {"residues": [[str(r) for r in residues] for residues in v], "hex": pack(profile, v).hex()}
                    for v in vectors
                ],
                "bad": [
                    {
                        "name": name,
                        "values": len(vectors[-2]),
                        "hex": bad.hex(),
                        "refused": refused("malformed", unpack, profile, bad, len(vectors[-2])),
                    }
                    for name, bad in damaged(profile, packed, len(vectors[-2]))
                ],
            }
        )
    return {"packing": entries}


def noise_keys() -> Json:
    label, names = made_up_label(COMPACT, 3, (0,), "noise", 1).digest, ("halland", "orebro", "skåne")
    seeds = {name: fixed("seed", name, mask((1, 2))) for name in names}
    combined = combined_answer_noise_key(seeds, (1, 2), fixed("cohort"))
    return {
        "study": fixed("study").hex(),
        "cohort": fixed("cohort").hex(),
        "label_digest": label.hex(),
        "noise_secret": fixed("noise secret").hex(),
        "contribution_noise_key": contribution_noise_key(fixed("noise secret"), fixed("study"), label).hex(),
        "subset": [1, 2],
        "seeds": {name: seed.hex() for name, seed in seeds.items()},
        "combined_answer_noise_key": combined.hex(),
        "answer_noise_key": answer_noise_key(combined, label).hex(),
    }


def small_round(r: Round) -> Json:
    return round_vector(r) | answered(r)


def bad_small_round(r: Round) -> Json:
    return bad_round_vector(r) | badly_answered(r)


VECTORS: dict[str, Callable[[], Json]] = {
    "hashing": hashing,
    "labels": labels,
    "uniform": uniform_polynomials,
    "transform": transforms,
    "gaussian": gaussians,
    "noise_keys": noise_keys,
    "values": values,
    "packing": packing,
    "deals": deals,
    "sealed_parts": sealed_parts,
    "frames": frames,
    **{f"round_{name}": partial(round_vector, r) for name, r in LARGE.items()},
    **{f"round_{name}": partial(small_round, r) for name, r in SMALL.items()},
    **{f"round_{name}_bad": partial(bad_small_round, r) for name, r in SMALL.items()},
}


def text(name: str) -> str:
    """What the file `name`.json has to contain."""
    return json.dumps(VECTORS[name](), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for name in VECTORS:
        (DIRECTORY / f"{name}.json").write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
