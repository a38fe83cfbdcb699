"""Contributions: encrypting a vector under a contributor's own key, adding contributions up, and checking the sum.

Two engines make and add the same contributions: `tenseal` lets SEAL encrypt and add, `vectorised` computes the same in
compiled code over many blocks at once. Relies on the caller to make one contribution for a label and key, and no more:
the noise is a function of both.
"""

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hefed.crypto import masking, packing, ring, sampling
from hefed.crypto.buffer import Buffer
from hefed.crypto.errors import CheckError, MalformedError, ParameterError, SeedError
from hefed.crypto.hashing import DIGEST_SIZE, tagged_hash
from hefed.crypto.keys import ContributorKey
from hefed.crypto.label import Label, Use
from hefed.crypto.parameters import MAX_CONTRIBUTORS, Precision, Profile
from hefed.crypto.ring import LANES, Floats

Engine = Literal["tenseal", "vectorised"]
ENGINES: tuple[Engine, ...] = ("tenseal", "vectorised")

CHECK_REPETITIONS = 3
_READ = 8  # compiled code reads eight bytes at a time


# --- Encrypting -----------------------------------------------------------------------------------


def encrypt(
    precision: Precision,
    key: ContributorKey,
    label: Label,
    values: ArrayLike,
    engine: Engine = "vectorised",
    threads: int = 1,
) -> bytes:
    """The contribution c = m + e - a_L s, packed: `label.profile.packed_size(label.values)` bytes.

    `values` has shape (K,), float64, |values[j]| <= 2**exponents[j]. The vectorised engine works with that many
    threads; the bytes are the same.
    Raises RangeError for a value out of range, SeedError for a key of another study, ParameterError for parameters
    that do not fit together.
    """
    masks = _Masks(precision, key, label, engine, threads)
    messages = _Encoded(precision, label, _vector(label, values))
    return masking.masked(label, masks.start, masks.noise_key, masks.variance, messages, masks.threads)


class Mask:
    """Made ahead: e - a_L s, packed, all of a contribution that does not depend on its values. For one contribution.

    It is secret, as it turns that contribution into the values: it has no repr, cannot be pickled and can be erased.
    """

    __slots__ = ("_label", "_packed", "_precision")

    def __init__(
        self,
        precision: Precision,
        key: ContributorKey,
        label: Label,
        engine: Engine = "vectorised",
        threads: int = 1,
    ) -> None:
        """Raises SeedError and ParameterError as `encrypt`."""
        masks = _Masks(precision, key, label, engine, threads)
        self._precision, self._label = precision, label
        # BytesIO holds the only reference to these bytes, so that they are written to in place.
        self._packed: BytesIO | None = BytesIO(
            masking.masked(label, masks.start, masks.noise_key, masks.variance, None, masks.threads)
        )

    def encrypt(self, values: ArrayLike) -> bytes:
        """The contribution of these values: with the vectorised engine the bytes that `encrypt` gives.

        The mask is used up, by an error as well. Raises RangeError for a value out of range, ParameterError for
        another number of values, and when the mask was used or erased.
        """
        packed, self._packed = self._packed, None
        if packed is None:
            raise ParameterError("a mask is for one contribution; this one is used or erased")
        try:
            vector = _vector(self._label, values)
            _add_values(self._precision, self._label, vector, np.frombuffer(packed.getbuffer(), np.uint8))
        except BaseException:
            _overwrite(packed)
            raise
        return packed.getvalue()

    def erase(self) -> None:
        """Overwrite the mask with zeros."""
        packed, self._packed = self._packed, None
        if packed is not None:
            _overwrite(packed)

    def __repr__(self) -> str:
        return "<Mask>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a mask cannot be pickled")


def _overwrite(packed: BytesIO) -> None:
    np.frombuffer(packed.getbuffer(), np.uint8).fill(0)


def _add_values(precision: Precision, label: Label, values: Floats, packed: NDArray[np.uint8]) -> None:
    """Add the encoded values to a packed vector, in place, group by group."""
    from hefed.crypto import kernels

    profile = label.profile
    moduli, widths, rows = np.array(profile.primes, np.float64), packing.widths_of(profile), ring.block_rows(profile)
    data = packed if packed.size >= _READ else np.append(packed, np.zeros(_READ, np.uint8))
    for block, used in masking.groups(label):
        first = block * profile.ring_degree
        packing.encode(precision, label, values, first, rows, used)
        count = min(label.values - first, used * profile.ring_degree)
        kernels.add_messages(rows.ravel(), moduli, widths, first, count, data)
    if data is not packed:
        packed[:] = data[: packed.size]


class _Masks:
    """What hides the values: polynomials for `masking`, from any block on, and the noise. Secret."""

    def __repr__(self) -> str:
        return "<_Masks>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("masks cannot be pickled")

    def __init__(self, precision: Precision, key: ContributorKey, label: Label, engine: Engine, threads: int) -> None:
        check_agreement(precision, label)
        if key.study != label.study:
            raise SeedError(f"the key of {key.dealer} was dealt for another study than the label's")
        if (key.keyholders, key.threshold) != (precision.keyholders, precision.threshold):
            raise ParameterError(f"the key of {key.dealer} is dealt {key.threshold} of {key.keyholders}, not as stated")
        _check_engine(engine)
        self.noise_key, self.variance = key.noise_key(label.digest), precision.variance_contribution
        self.threads = 1 if engine == "tenseal" else threads
        self._label, self._residues = label, key.secret_residues(label.profile)
        self._negated: ring.RingKey | None = None
        if engine == "vectorised":
            self._negated = ring.RingKey(label.profile, ring.negated(label.profile, self._residues))

    def start(self, first_block: int) -> masking.Masks:
        """The masks from a block on."""
        if self._negated is None:
            return _SealMasks(self._label, self._residues)
        return masking.PublicProducts(self._label, self._negated, first_block)


def _vector(label: Label, values: ArrayLike) -> Floats:
    vector = np.ascontiguousarray(values, np.float64)
    if vector.shape != (label.values,):
        raise ParameterError(f"{vector.shape} values for a label of {label.values}")
    return vector


def check_agreement(precision: Precision, label: Use) -> None:
    """Raise ParameterError unless precision and label state the same profile and number of contributors."""
    if precision.profile != label.profile or precision.contributors != label.contributors:
        raise ParameterError("precision and label state different profiles or numbers of contributors")


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise ParameterError(f"engine {engine!r}; it must be one of {', '.join(ENGINES)}")


class _Encoded:
    """The messages of a vector of values."""

    def __init__(self, precision: Precision, label: Label, values: Floats) -> None:
        self._precision, self._label, self._values = precision, label, values

    def fill(self, first: int, rows: Floats, used: int) -> None:
        packing.encode(self._precision, self._label, self._values, first, rows, used)


class _SealMasks:
    """The masks c_0 + (c_1 - a_L) s, where SEAL encrypted zero to (c_0, c_1) under s. SEAL computes them too."""

    def __init__(self, label: Label, secret: NDArray[np.uint64]) -> None:
        from hefed.crypto import seal

        self._label, self._profile = label, label.profile
        self._masker = seal.Masker(seal.context_of(label.profile), secret)
        self._masks: list[NDArray[np.uint64]] = []
        self._masks_for = -1

    def fill(self, k: int, group: Floats, first_block: int, used: int) -> None:
        lone = ring.is_lone(self._profile, group)
        if self._masks_for != first_block:
            public = self._lone_public() if lone else self._public(first_block, used)
            self._masks, self._masks_for = [self._masker.mask(a) for a in public], first_block
        if lone:
            group.reshape(-1)[:] = self._masks[0][k]
        else:
            for lane, mask in enumerate(self._masks):
                group[:, lane] = mask[k]
        ring.inverse_stages(self._profile, k, group)

    def _public(self, first_block: int, used: int) -> NDArray[np.uint64]:
        return sampling.uniform_polynomials(self._profile, self._label.public_key, first_block, used)

    def _lone_public(self) -> NDArray[np.uint64]:
        polynomial = np.empty((len(self._profile.primes), self._profile.ring_degree))
        for k, row in enumerate(polynomial):
            sampling.UniformSource(self._profile, self._label.public_key, k).fill_lone(row.reshape(-1, LANES))
        return polynomial[None].astype(np.uint64)


# --- Adding up ------------------------------------------------------------------------------------


class RunningSum:
    """The sum of contributions for one label; memory does not grow with their number.

    With the engine `tenseal`, SEAL's Evaluator adds the c_i to the ciphertext (0, a_L), as plaintexts.
    """

    def __init__(self, profile: Profile, label: Use, engine: Engine = "vectorised") -> None:
        _check_engine(engine)
        if profile != label.profile:
            raise ParameterError("profile and label state different profiles")
        self.count = 0
        self._label = label
        self._total: _VectorTotal | _SealTotal = _SealTotal(label) if engine == "tenseal" else _VectorTotal(label)

    def add(self, packed: Buffer) -> None:
        """Add a contribution. Raises MalformedError, and leaves the sum as it was, if it is not well packed."""
        self.add_checked(packing.checked(self._label.profile, packed, self._label.values))

    def add_checked(self, data: NDArray[np.uint8]) -> None:
        """Add a contribution that `packing.checked` has looked at."""
        if self.count == MAX_CONTRIBUTORS:
            raise ParameterError(f"a sum has at most {MAX_CONTRIBUTORS} contributions")
        self._total.add(data)
        self.count += 1

    def packed(self) -> bytes:
        """The sum so far, packed as a contribution."""
        return self._total.packed()

    @property
    def ciphertexts(self) -> tuple[Any, ...]:
        """SEAL's ciphertext of each block, under the sum of the keys; only with the engine `tenseal`."""
        return self._total.ciphertexts


class _VectorTotal:
    """A sum of packed vectors, held packed."""

    def __init__(self, label: Use) -> None:
        self._sum = packing.PackedSum(label.profile, label.values)

    @property
    def ciphertexts(self) -> tuple[Any, ...]:
        raise ParameterError("the vectorised engine holds no SEAL ciphertexts")

    def add(self, data: NDArray[np.uint8]) -> None:
        self._sum.add(data)

    def packed(self) -> bytes:
        return self._sum.packed()


class _SealTotal:
    """A sum in SEAL ciphertexts (c, a_L), one a block."""

    def __init__(self, label: Use) -> None:
        from hefed.crypto import seal

        self._label, self._profile, self._values = label, label.profile, label.values
        context = seal.context_of(label.profile)
        self._adder = seal.Adder(context)
        self._lone = label.profile.blocks(label.values) == 1
        self._ciphertexts: list[Any] = []
        for first, used in masking.groups(label):
            public = sampling.uniform_polynomials(label.profile, label.public_key, first, used)
            self._ciphertexts += [seal.ciphertext(context, context.zeros, a) for a in public]

    @property
    def ciphertexts(self) -> tuple[Any, ...]:
        return tuple(self._ciphertexts)

    def add(self, data: NDArray[np.uint8]) -> None:
        for first, used in masking.groups(self._label):
            for block, residues in enumerate(self._transformed(data, first, used), first):
                self._adder.add(self._ciphertexts[block], residues)

    def _transformed(self, data: NDArray[np.uint8], first: int, used: int) -> NDArray[np.uint64]:
        """Blocks of a packed vector in transform form, shape (used, primes, N)."""
        degree, primes = self._profile.ring_degree, self._profile.primes
        if self._lone:
            coefficients = packing.residue_array(self._profile, degree)
            packing.add_packed(self._profile, data, self._values, coefficients)
            for k, row in enumerate(coefficients):
                ring.forward_transform(self._profile, k, row.reshape(-1, LANES))
            return coefficients.astype(np.uint64)[None]
        left = self._values - first * degree
        lanes = packing.unpack_lanes(self._profile, data, first * degree, min(left, LANES * degree))
        for k in range(len(primes)):
            ring.forward_transform(self._profile, k, lanes[k])
        return np.ascontiguousarray(lanes.transpose(2, 0, 1)[:used]).astype(np.uint64)

    def packed(self) -> bytes:
        if self._lone:
            return self._packed_lone()
        packer = packing.Packer(self._profile, self._values)
        lanes = np.zeros((len(self._profile.primes), self._profile.ring_degree, LANES))
        for first, used in masking.groups(self._label):
            for lane, item in enumerate(self._ciphertexts[first : first + used]):
                lanes[:, :, lane] = self._adder.first(item)
            for k in range(len(self._profile.primes)):
                ring.inverse_transform(self._profile, k, lanes[k])
            packer.add(lanes.transpose(2, 0, 1))
        return packer.finish()

    def _packed_lone(self) -> bytes:
        from hefed.crypto import kernels

        profile = self._profile
        blocks = self._adder.first(self._ciphertexts[0]).astype(np.float64).reshape(len(profile.primes), -1, LANES)
        for k in range(len(profile.primes)):
            ring.inverse_stages(profile, k, blocks[k])
        nothing = np.zeros(profile.ring_degree)  # neither noise nor a message
        what = (blocks, *ring.twists_of(profile), nothing, nothing)
        how = (False, np.array(profile.primes, np.float64), packing.widths_of(profile))
        packed = np.empty(profile.packed_size(profile.ring_degree), np.uint8)
        kernels.finish_lone(*what, *how, self._values, packed)
        return packing.cut(profile, packed, self._values).tobytes()


# --- The check of a sum ---------------------------------------------------------------------------


def check_value(profile: Profile, packed: Buffer, values: int, list_digest: bytes) -> bytes:
    """The check value of a contribution, or of a sum, under the hash of the signed list of contributions.

    Three residues for each prime, each a u64. Nobody can find another sum with the same check value before the list
    is fixed; it is linear, so a right sum has the sum of the contributions' check values.
    Raises MalformedError if `packed` is not well packed.
    """
    data = packing.checked(profile, packed, values)
    return _check_residues(profile, data, values, list_digest).astype("<u8").tobytes()


def verify_checks(
    profile: Profile, total: Buffer, values: int, list_digest: bytes, check_values: Sequence[bytes]
) -> None:
    """Raise CheckError unless the check value of `total` is the sum of these; MalformedError for malformed bytes."""
    primes = np.array(profile.primes, np.uint64)
    size = 8 * CHECK_REPETITIONS * len(profile.primes)
    expected = np.zeros((CHECK_REPETITIONS, len(profile.primes)), np.uint64)
    for i, check in enumerate(check_values):
        if len(check) != size:
            raise MalformedError(f"check value {i} has {len(check)} bytes; {size} are right")
        residues = np.frombuffer(check, "<u8").reshape(expected.shape)
        if np.any(residues >= primes):
            raise MalformedError(f"check value {i} has a residue that is not below its prime")
        expected = (expected + residues) % primes
    if check_value(profile, total, values, list_digest) != expected.tobytes():
        raise CheckError("the sum is not that of the listed contributions: their check values do not add up to its own")


def _check_residues(profile: Profile, data: NDArray[np.uint8], values: int, list_digest: bytes) -> NDArray[np.uint64]:
    from hefed.crypto import packing_kernels as kernels

    blocks = profile.blocks(values)
    used = profile.ring_degree if blocks > 1 else -(-values // LANES) * LANES
    x, y = _check_factors(profile, blocks, used, list_digest)
    moduli = np.array(profile.primes, np.float64)
    sums = np.zeros((CHECK_REPETITIONS, len(profile.primes), LANES))
    per_prime = moduli[:, None]
    kernels.check_sums(data, packing.widths_of(profile), values, x, x / per_prime, y, y / per_prime, moduli, sums)
    totals: NDArray[np.float64] = sums.sum(axis=-1) % moduli
    return totals.astype(np.uint64)


@lru_cache(maxsize=2)
def _check_factors(profile: Profile, blocks: int, used: int, list_digest: bytes) -> tuple[Floats, Floats]:
    """x (3, primes, blocks) and y (3, primes, used), centred: all contributions of a round need the same. `used`
    coefficients of a polynomial, the first ones, hold values.
    """
    if len(list_digest) != DIGEST_SIZE:
        raise ParameterError(f"the hash of a list of contributions has {DIGEST_SIZE} bytes")

    def factors(tag: str, count: int) -> Floats:
        keys = [tagged_hash(tag, list_digest, s) for s in range(CHECK_REPETITIONS)]
        return ring.centred(profile, np.stack([sampling.uniform_residues(profile, key, count) for key in keys]))

    return factors("check x", blocks), factors("check y", used)
