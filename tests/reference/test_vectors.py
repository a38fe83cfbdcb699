"""`hefed.crypto` against every vector of the encryption below the level of a round.

Relies on the committed vectors, never on the reference that wrote them. `test_round_vectors.py` goes on from here.
"""

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from hefed.crypto import packing, ring, sampling
from hefed.crypto.errors import MalformedError, ParameterError, SeedError
from hefed.crypto.hashing import encode_parts, prf, tagged_hash
from hefed.crypto.keys import (
    ContributorKey,
    DealtSeeds,
    Seed,
    ShareKeys,
    mask_of,
    open_seeds,
    share_polynomial,
    subsets,
)
from hefed.crypto.label import Label, public_polynomial
from hefed.crypto.parameters import Precision
from tests.reference.vectors import (
    assert_bytes,
    assert_polynomial,
    label_of,
    precision_of,
    profile_of,
    read,
    seeds_in_order,
    with_field,
)

# --- Hashing --------------------------------------------------------------------------------------


def part_of(shown):
    ((kind, text),) = shown.items()
    return {"hex": bytes.fromhex, "text": str, "u64": int}[kind](text)


@pytest.mark.parametrize("entry", read("hashing")["hashes"])
def test_hashes(entry):
    parts = [part_of(shown) for shown in entry["parts"]]
    key = bytes.fromhex(read("hashing")["key"])
    assert encode_parts(*parts).hex() == entry["enc"]
    assert tagged_hash(entry["tag"], *parts).hex() == entry["H"]
    assert prf(key, entry["tag"], *parts).hex() == entry["PRF"]


@pytest.mark.parametrize("entry", read("hashing")["streams"])
def test_streams(entry):
    out = np.empty(48, np.uint8)
    key = bytes.fromhex(read("hashing")["key"])
    sampling.Keystream(key, entry["lane"], int(entry["offset"])).fill(out)
    assert out.tobytes().hex() == entry["first_48_bytes"]


# --- Labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", read("labels")["labels"])
def test_labels(entry):
    assert label_of(entry).digest.hex() == entry["digest"]


@pytest.mark.parametrize("bad", read("labels")["bad"], ids=lambda bad: bad["name"])
def test_bad_labels(bad):
    assert bad["refused"] == "parameter"
    label = label_of(read("labels")["labels"][0])
    with pytest.raises(ParameterError):
        with_field(label, bad["field"], bad["value"])


# --- Polynomials ----------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", read("uniform")["uniform"])
def test_uniform_polynomials(entry):
    profile, key = profile_of(entry["profile"]), bytes.fromhex(read("uniform")["key"])
    block, before = int(entry["block"]), min(int(entry["block"]), 3)
    for made in (
        sampling.uniform_polynomials(profile, key, block, 1)[0],
        sampling.uniform_polynomials(profile, key, block - before, 5)[before],
    ):
        assert_polynomial(made[entry["k"]], entry["polynomial"])


@pytest.mark.parametrize("entry", read("uniform")["public"])
def test_public_polynomials(entry):
    label = label_of(entry["label"])
    together = public_polynomial(label, 0, 9)
    for one in entry["polynomials"]:
        assert_polynomial(together[one["block"], one["k"]], one["polynomial"])
        assert_polynomial(public_polynomial(label, one["block"], 1)[0, one["k"]], one["polynomial"])


@pytest.mark.parametrize("entry", read("uniform")["rejections"])
def test_words_that_are_replaced(entry):
    label = label_of(entry["label"])
    k = [str(p) for p in label.profile.primes].index(entry["prime"])
    made = public_polynomial(label, 0, 1)[0, k]
    assert [str(made[one["position"]]) for one in entry["replaced"]] == [one["value"] for one in entry["replaced"]]
    assert_polynomial(made, entry["polynomial"])


@pytest.mark.parametrize("entry", read("transform")["transforms"])
def test_transforms(entry):
    profile, k = profile_of(entry["profile"]), entry["k"]
    assert str(ring.smallest_root(profile.ring_degree, profile.primes[k])) == entry["psi"]
    group = ring.lane_group(profile)
    group[1, :] = 1
    ring.forward_transform(profile, k, group)
    for lane in range(8):
        assert_polynomial(group[:, lane], entry["X"])
    source = entry["form"]["uniform"]
    form = sampling.uniform_polynomials(profile, bytes.fromhex(source["key"]), int(source["block"]), 1)[0, k]
    assert_polynomial(form, entry["form"])
    group[:] = form[:, None]
    ring.inverse_transform(profile, k, group)
    for lane in range(8):
        assert_polynomial(group[:, lane], entry["coefficients"])


# --- Noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", read("gaussian")["tables"], ids=lambda entry: entry["variance"])
def test_gaussian_tables(entry):
    thresholds = sampling.noise_table(Fraction(entry["variance"])).thresholds
    assert len(thresholds) == entry["bound"]
    assert_bytes(b"".join(c.to_bytes(16, "little") for c in (*thresholds, 2**127)), entry["table"])


class GivenWords:
    """A stream that gives the words of samples, in place of the cipher's."""

    def __init__(self, words):
        self.words = np.array(words, "<u8")

    def fill(self, out):
        words = np.zeros(out.size // 8, "<u8")
        words[: self.words.size] = self.words
        out[:] = words.view(np.uint8)


@pytest.mark.parametrize("which", ["ties", "samples"])
@pytest.mark.parametrize("entry", read("gaussian")["tables"], ids=lambda entry: entry["variance"])
def test_gaussian_samples(entry, which):
    profile, samples = profile_of("compact-2048-48"), entry[which]
    words = [[int(one["words"][lane]) for one in samples] for lane in (0, 1)]
    source = sampling.NoiseSource(
        profile, bytes(32), Fraction(entry["variance"]), lambda key, lane, offset: GivenWords(words[lane])
    )
    rows = ring.block_rows(profile)
    source.fill(rows, 1)
    assert rows[0, : len(samples)].tolist() == [one["sample"] for one in samples]


@pytest.mark.parametrize("entry", read("gaussian")["noise"])
def test_gaussian_noise(entry):
    profile = profile_of(entry["profile"])
    source = sampling.NoiseSource(profile, bytes.fromhex(entry["key"]), Fraction(entry["variance"]))
    rows = ring.block_rows(profile)
    source.fill(rows, 8)  # blocks 0 to 7
    noise = rows[entry["block"]].astype("<i8")
    assert noise[:8].tolist() == entry["first"]
    assert hashlib.sha256(noise.tobytes()).hexdigest() == entry["sha256_int64"]


def test_noise_keys():
    v = read("noise_keys")
    study, cohort, digest = (bytes.fromhex(v[name]) for name in ("study", "cohort", "label_digest"))
    key = ContributorKey.deal(study, "anybody", 3, 2)
    key.noise_secret = Seed(bytes.fromhex(v["noise_secret"]))
    assert key.noise_key(digest).hex() == v["contribution_noise_key"]
    subset = tuple(v["subset"])
    deals = {
        dealer: DealtSeeds(study, dealer, 0, 4, 3, {T: Seed(bytes.fromhex(seed)) for T in subsets(4, 3) if 0 not in T})
        for dealer, seed in v["seeds"].items()
    }
    shares = ShareKeys.combine(profile_of("compact-2048-48"), study, cohort, deals)
    assert shares.noise_key(subset, digest).hex() == v["answer_noise_key"]


# --- Values and packing ---------------------------------------------------------------------------


def one_value_label(precision: Precision, exponents: list[int]) -> Label:
    ids = bytes(32)
    array = np.array(exponents, np.int16)
    return Label("f", ids, ids, 1, "values", precision.profile, precision.contributors, array, ids)


@pytest.mark.parametrize("entry", read("values")["values"])
def test_values(entry):
    precision = precision_of(entry)
    assert precision.variance_opened == Fraction(entry["variance_opened"])
    assert precision.tail == entry["tail"]
    assert precision.capacity_bits == entry["capacity"]
    encoded = entry["encoded"]
    rows = ring.block_rows(precision.profile)
    label = one_value_label(precision, [one["exponent"] for one in encoded])
    packing.encode(precision, label, np.array([float(one["value"]) for one in encoded]), 0, rows, 1)
    assert [str(int(m)) for m in rows[0, : len(encoded)]] == [one["integer"] for one in encoded]
    decoded = entry["decoded"]
    label = one_value_label(precision, [one["exponent"] for one in decoded])
    limbs = b"".join(int(one["integer"]).to_bytes(16, "little", signed=True) for one in decoded)
    values = packing.decode(precision, label, np.frombuffer(limbs, "<i8").reshape(-1, 2))
    assert [repr(v) for v in values.tolist()] == [one["value"] for one in decoded]


@pytest.mark.parametrize("entry", read("values")["bad"])
def test_bad_sizes_of_a_study(entry):
    assert entry["refused"] == "parameter"
    with pytest.raises(ParameterError):
        precision_of(entry)


@pytest.mark.parametrize("entry", read("packing")["packing"], ids=lambda entry: entry["profile"])
def test_packing(entry):
    profile = profile_of(entry["profile"])
    for good in entry["good"]:
        residues = np.array(good["residues"], dtype=object).astype(np.uint64).T
        assert packing.pack(profile, residues).hex() == good["hex"]
        unpacked = packing.unpack(profile, bytes.fromhex(good["hex"]), residues.shape[1])
        assert unpacked.tolist() == residues.tolist()
    for bad in entry["bad"]:
        assert bad["refused"] == "malformed"
        with pytest.raises(MalformedError):
            packing.unpack(profile, bytes.fromhex(bad["hex"]), bad["values"])


# --- Deals ----------------------------------------------------------------------------------------


def open_bad(v, bad):
    study, seeds = bytes.fromhex(bad["study"]), bytes.fromhex(bad["seeds"])
    hashes = [bytes.fromhex(h) for h in bad["hashes"]]
    return open_seeds(study, bad["dealer"], bad["keyholder"], v["keyholders"], v["threshold"], seeds, hashes)


@pytest.mark.parametrize("v", read("deals")["deals"], ids=lambda v: v["dealer"])
def test_deals(v):
    study, n, t = bytes.fromhex(v["study"]), v["keyholders"], v["threshold"]
    sets = subsets(n, t)
    assert [list(subset) for subset in sets] == v["subsets"]
    assert [mask_of(subset) for subset in sets] == v["masks"]
    key = ContributorKey(study, v["dealer"], n, t, seeds_in_order(v), Seed(bytes(32)))
    hashes = key.seed_hashes()
    assert [hashes[subset].hex() for subset in sets] == v["hashes"]
    for j, sent in enumerate(v["sent"]):
        assert key.seeds_for(j).hex() == sent
        opened = open_seeds(study, v["dealer"], j, n, t, bytes.fromhex(sent), list(hashes.values()))
        assert dict(opened.seeds) == {subset: seed for subset, seed in seeds_in_order(v).items() if j not in subset}


@pytest.mark.parametrize("v", read("deals")["deals"], ids=lambda v: v["dealer"])
def test_shares_and_keys(v):
    study, seeds = bytes.fromhex(v["study"]), seeds_in_order(v)
    key = ContributorKey(study, v["dealer"], v["keyholders"], v["threshold"], seeds, Seed(bytes(32)))
    for entry in v["shares"]:
        profile = profile_of(entry["profile"])
        for one in entry["shares"]:
            subset = tuple(one["subset"])
            made = share_polynomial(profile, study, v["dealer"], subset, seeds[subset])
            assert_polynomial(made[one["k"]], one["polynomial"])
        for residues, polynomial in zip(key.secret_residues(profile), entry["key"], strict=True):
            assert_polynomial(residues, polynomial)


@pytest.mark.parametrize(
    ("v", "bad"), [(v, bad) for v in read("deals")["deals"] for bad in v["bad"]], ids=lambda x: x.get("name", "")
)
def test_bad_deals(v, bad):
    assert bad["refused"] == "seed"
    with pytest.raises(SeedError):
        open_bad(v, bad)
