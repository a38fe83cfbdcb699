"""Vectors of deals: seeds, their hashes, what each keyholder gets, shares and keys, and what a keyholder must refuse.

NOT FOR PRODUCTION: the "seeds" are hashes that anybody can compute. Relies on the reference alone.
"""

from protocols.reference.keys import open_seeds, secret_key, seed_hash, seeds_for, share, subsets
from protocols.reference.primitives import COMPACT, PRECISE, mask
from protocols.reference.vector_format import Json, fixed, polynomial, refused, seeds_of

PROFILES = (COMPACT, PRECISE)


def deals() -> Json:
    return {"deals": [deal(3, 2, "orebro"), deal(4, 3, "skåne"), deal(2, 2, "a")]}


def deal(keyholders: int, threshold: int, dealer: str) -> Json:
    study, seeds = fixed("study"), seeds_of(dealer, keyholders, threshold)
    hashes = [seed_hash(study, dealer, subset, seed) for subset, seed in seeds.items()]
    sent = {j: seeds_for(j, seeds) for j in range(keyholders)}
    for j, data in sent.items():
        open_seeds(study, dealer, j, keyholders, threshold, data, hashes)
    return {
        "dealer": dealer,
        "study": study.hex(),
        "keyholders": keyholders,
        "threshold": threshold,
        "subsets": [list(subset) for subset in subsets(keyholders, threshold)],
        "masks": [mask(subset) for subset in seeds],
        "seeds": [seed.hex() for seed in seeds.values()],
        "hashes": [seed_hash_.hex() for seed_hash_ in hashes],
        "sent": [data.hex() for data in sent.values()],
        "shares": [
            {
                "profile": profile.identifier,
                "shares": [
                    {"subset": list(T), "k": k, "polynomial": polynomial(share(profile, seed, dealer, study, T, k))}
                    for T, seed in seeds.items()
                    for k in range(len(profile.primes))
                ],
                "key": [polynomial(secret_key(profile, seeds, dealer, study, k)) for k in range(len(profile.primes))],
            }
            for profile in PROFILES
        ],
        "bad": bad_deals(keyholders, threshold, dealer),
    }


def bad_deals(keyholders: int, threshold: int, dealer: str) -> list[Json]:
    """What keyholder 0 must refuse."""
    study, seeds = fixed("study"), seeds_of(dealer, keyholders, threshold)
    hashes = [seed_hash(study, dealer, subset, seed) for subset, seed in seeds.items()]
    data, other = seeds_for(0, seeds), fixed("another study")
    another_dealers = seeds_for(0, seeds_of("malmö", keyholders, threshold))
    last_bit = data[:-1] + bytes([data[-1] ^ 1])
    other_study = [seed_hash(other, dealer, subset, seed) for subset, seed in seeds.items()]
    other_dealer = [seed_hash(study, "malmö", subset, seed) for subset, seed in seeds.items()]
    cases = [
        ("seeds and hashes of another dealer, passed on", study, "malmö", data, hashes),
        (
            "seeds of another dealer, under this dealer's hashes",
            study,
            dealer,
            another_dealers,
            hashes,
        ),
        ("the seeds of keyholder 1", study, dealer, seeds_for(1, seeds), hashes),
        ("hashes made under another name", study, dealer, data, other_dealer),
        ("hashes made for another study", study, dealer, data, other_study),
        ("seeds of another study, passed on", other, dealer, data, hashes),
        ("the last bit of the seeds is another", study, dealer, last_bit, hashes),
        ("a byte too short", study, dealer, data[:-1], hashes),
        ("a seed too many", study, dealer, data + fixed("seed too many"), hashes),
        ("no seeds", study, dealer, b"", hashes),
        ("a hash too few", study, dealer, data, hashes[:-1]),
        ("a hash too many", study, dealer, data, [*hashes, hashes[-1]]),
        ("the hashes in another order", study, dealer, data, hashes[::-1]),
    ]
    if keyholders > 2:
        cases.append(("the seeds in another order", study, dealer, data[32:] + data[:32], hashes))
    return [
        {
            "name": name,
            "study": study_.hex(),
            "dealer": dealer_,
            "keyholder": 0,
            "seeds": data_.hex(),
            "hashes": [h.hex() for h in hashes_],
            "refused": refused("seed", open_seeds, study_, dealer_, 0, keyholders, threshold, data_, hashes_),
        }
        for name, study_, dealer_, data_, hashes_ in cases
    ]
