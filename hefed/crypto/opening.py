"""Answers of keyholders, and what a reader does with them.

An answer for a set T is the label's public polynomials times the contributors' shares for T, with noise that every
holder of T derives alike: whoever answers, and however often, the bits are the same. Relies on the caller to open only
what all contributors signed.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from hefed.crypto import masking, packing
from hefed.crypto.buffer import Buffer
from hefed.crypto.contribution import check_agreement
from hefed.crypto.errors import MalformedError, OpeningError, ParameterError, SeedError
from hefed.crypto.hashing import Pieces, tagged_hash
from hefed.crypto.keys import ShareKeys, Subset, mask_of, subsets
from hefed.crypto.label import Label, Use
from hefed.crypto.parameters import Precision
from hefed.crypto.ring import Floats, RingKey


def answer(precision: Precision, share_keys: ShareKeys, subset: Subset, label: Use, threads: int = 1) -> bytes:
    """h_T = a_L * (sum of the contributors' shares for T) + noise, packed; by that many threads, with the same bytes.

    Raises SeedError for shares of another study or cohort, or a set that this keyholder has no share for,
    ParameterError for parameters that do not fit together.
    """
    share, noise_key = _share_for(precision, share_keys, subset, label)
    return masking.masked(
        label,
        lambda first: masking.PublicProducts(label, share, first),
        noise_key,
        precision.variance_answer,
        None,
        threads,
    )


def answer_groups(precision: Precision, share_keys: ShareKeys, subset: Subset, label: Use) -> Iterator[Buffer]:
    """The bytes of `answer` in the groups of `packing.group_sizes`, each made when it is asked for.

    A group stands only until the next is asked for. Raises as `answer`, at once.
    """
    share, noise_key = _share_for(precision, share_keys, subset, label)
    return masking.masked_groups(label, masking.PublicProducts(label, share), noise_key, precision.variance_answer)


def _share_for(precision: Precision, share_keys: ShareKeys, subset: Subset, label: Use) -> tuple[RingKey, bytes]:
    """The share of a set and the key of its answer's noise, after every check."""
    check_agreement(precision, label)
    if share_keys.study != label.study or share_keys.cohort != label.cohort:
        raise SeedError(f"the shares of keyholder {share_keys.keyholder} are of another study or cohort than the label")
    if share_keys.profile != label.profile or len(share_keys.dealers) != label.contributors:
        raise ParameterError("shares and label state different profiles or numbers of contributors")
    if (share_keys.keyholders, share_keys.threshold) != (precision.keyholders, precision.threshold):
        raise ParameterError("shares and precision state different sharings")
    return share_keys.share(subset), share_keys.noise_key(subset, label.digest)


def answer_digest(label: Use, subset: Subset, packed: bytes | Iterable[Buffer]) -> bytes:
    """The hash by which other holders of the same set confirm an answer, whole or in groups."""
    if not isinstance(packed, bytes):
        packed = Pieces(label.profile.packed_size(label.values), iter(packed))
    return tagged_hash("answer", label.digest, mask_of(subset), packed)


class OpenedIntegers:
    """The opened integers X of one round: the sums times 2**(C - x), plus noise."""

    __slots__ = ("_of",)

    def __init__(self, of: NDArray[np.int64] | packing.PackedSum) -> None:
        """Limbs, or a sum that stands for them, to which nothing more is added."""
        self._of = of

    def _parts(self) -> Iterator[NDArray[np.int64]]:
        if isinstance(self._of, packing.PackedSum):
            return (limbs for limbs, _ in self._of.integers(self._of.profile.modulus))
        return iter([self._of])

    @property
    def limbs(self) -> NDArray[np.int64]:
        """Shape (K, 2): the lower and the upper 64 bits of each integer in two's complement; or (K, 1), the lower."""
        return np.concatenate(list(self._parts()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpenedIntegers) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # holds an array

    def to_bytes(self) -> bytes:
        """16 bytes an integer, little-endian two's complement."""
        limbs = self.limbs
        if limbs.shape[1] == 1:
            limbs = np.concatenate([limbs, limbs >> 63], axis=1)
        return limbs.astype("<i8").tobytes()

    def as_python(self) -> list[int]:
        """The integers, one by one: for tests and for people."""
        data = self.to_bytes()
        return [int.from_bytes(data[i : i + 16], "little", signed=True) for i in range(0, len(data), 16)]

    def decode(self, label: Label, precision: Precision) -> Floats:
        """The sums, shape (K,): the float64 nearest to X * 2**(x - C)."""
        check_agreement(precision, label)
        count = self._of.values if isinstance(self._of, packing.PackedSum) else len(self._of)
        if count != label.values:
            raise ParameterError(f"{count} opened integers for a label of {label.values}")
        values, first = np.empty(count), 0
        for limbs in self._parts():
            values[first : first + len(limbs)] = packing.decode(precision, label, limbs, first)
            first += len(limbs)
        return values


class Opening:
    """A sum that is being opened: answers are added as they come, and none is kept.

    What failed half-way opens nothing any more: every call raises OpeningError.
    """

    def __init__(self, precision: Precision, label: Use) -> None:
        check_agreement(precision, label)
        self._precision, self._label = precision, label
        self._needed = subsets(precision.keyholders, precision.threshold)
        self._added: set[Subset] = set()
        self._sum: packing.PackedSum | None = None
        self._digest: bytes | None = None
        self._packed: bytes | None = None
        self._usable = True

    def add(self, subset: Subset, groups: Iterable[Buffer]) -> bytes:
        """Look at an answer, in the groups of `packing.group_sizes`, and return its hash. The first one for a set is
        added.

        Raises OpeningError for a set that is none of these, MalformedError if the answer is not well packed. An
        error, and one of `groups` too, makes the whole opening unusable.
        """
        if subset not in self._needed:
            raise OpeningError(f"an answer for the set {subset}, which no key was dealt for")
        self._require_usable()
        self._usable = False
        running, adds = self._running_sum(), subset not in self._added

        def taken() -> Iterator[Buffer]:
            for group, data, first, count in self._checked(groups):
                if adds:
                    running.add_values(data, first, count)
                yield group

        digest = answer_digest(self._label, subset, taken())
        self._added.add(subset)
        self._usable = True
        return digest

    def open(self, total: Buffer, *, keep: bool = False) -> OpenedIntegers:
        """The integers that a sum holds, once there is an answer for every set; to be called once.

        `keep` says whether `packed` is wanted afterwards.

        Raises OpeningError if an answer is missing, or if an integer is outside the range of right sums,
        MalformedError if the sum is not well packed.
        """
        missing = [t for t in self._needed if t not in self._added]
        if missing:
            raise OpeningError(f"no answer for the sets {missing}; a keyholder outside each of them has to give one")
        return self._open(total, keep)

    def open_again(self, opened: bytes) -> OpenedIntegers:
        """The integers of a sum that somebody has opened before, from what they are modulo Q; needs no answer, and is
        called in place of `add` and `open`.

        Raises OpeningError and MalformedError as `open`.
        """
        if self._added:
            raise OpeningError("a sum that is opened again needs no answer")
        return self._open(opened, keep=False)

    def _open(self, total: Buffer, keep: bool) -> OpenedIntegers:
        self._require_usable()
        self._usable = False
        profile, running = self._label.profile, self._running_sum()
        groups = (
            running.add_values(data, first, count).data
            for _, data, first, count in self._checked(packing.in_groups(profile, total))
        )
        digest = tagged_hash("opened", Pieces(profile.packed_size(self._label.values), groups))
        self._sum = None
        largest = self._precision.largest_opened
        opened = OpenedIntegers(running)
        for limbs, beyond in running.integers(largest):
            if beyond >= 0:
                raise OpeningError(
                    f"opened integer {beyond} is outside the range of right sums: "
                    "a contribution, the sum or an answer is wrong"
                )
            if self._label.values <= packing.AT_ONCE:
                opened = OpenedIntegers(limbs)  # of a longer vector only the packed sum is kept
        self._digest, self._packed = digest, running.packed() if keep else None
        return opened

    @property
    def packed(self) -> bytes:
        """The opened integers modulo Q, packed as a contribution: what `open_again` takes. Raises OpeningError before
        `open`, and when they were not to be kept.
        """
        if self._packed is None:
            raise OpeningError("this sum is not opened, or was not to be kept")
        return self._packed

    @property
    def digest(self) -> bytes:
        """The hash of the opened integers, packed modulo Q: the same for all readers. Raises OpeningError before
        `open`.
        """
        if self._digest is None:
            raise OpeningError("this sum is not opened")
        return self._digest

    def _require_usable(self) -> None:
        if not self._usable:
            raise OpeningError("this sum was opened already, or an answer to it was wrong")

    def _running_sum(self) -> packing.PackedSum:
        if self._sum is None:
            self._sum = packing.PackedSum(self._label.profile, self._label.values)
        return self._sum

    def _checked(self, groups: Iterable[Buffer]) -> Iterator[tuple[Buffer, NDArray[np.uint8], int, int]]:
        """Each group as it is, its bytes after every check, the place of its first value, and how many there are."""
        profile, values, first = self._label.profile, self._label.values, 0
        for group in groups:
            count = min(packing.group_values(profile), values - first)
            if count <= 0:
                raise MalformedError(f"more bytes than those of {values} values of profile {profile.name}")
            yield group, packing.checked(profile, group, count, first), first, count
            first += count
        if first < values:
            raise MalformedError(f"bytes for {first} values of profile {profile.name}, not for {values}")


def open_sum(precision: Precision, label: Use, total: bytes, answers: Mapping[Subset, bytes]) -> OpenedIntegers:
    """The integers that a sum holds, given the answer for every set of threshold - 1 keyholders.

    Answers are asked for one after another and not kept: a mapping that fetches them bounds the memory.

    Raises OpeningError if an answer is missing or too many, or if an integer is outside the range of right sums,
    MalformedError if the sum or an answer is not well packed.
    """
    opening = Opening(precision, label)
    for subset in answers:
        opening.add(subset, packing.in_groups(label.profile, answers[subset]))
    return opening.open(total)
