"""SEAL, through TenSEAL: its contexts, its own encryption, addition and decryption, and its serial form.

TenSEAL's `sealapi` reads and writes objects by path only and always compresses (it offers no mode to choose), so
objects pass through anonymous files in memory (`memfd_create`, Linux) and are unpacked with zstandard. What goes in is
not compressed; what comes out is one polynomial, where one is enough. Only objects of this process are parsed here;
bytes from outside never are.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import tenseal.sealapi as sealapi
import zstandard
from numpy.typing import NDArray

from hefed.crypto.errors import ParameterError
from hefed.crypto.parameters import Profile

Residues = NDArray[np.uint64]

# SEAL's serial form: this header, then a body, which is a struct followed by an array with a header of its own.
_HEADER = struct.Struct("<HBBBBHQ")  # magic, header size, version (major, minor), compression, reserved, total size
_MAGIC, _VERSION, _PLAIN, _ZSTD = 0xA15E, (4, 3), 0, 2
_PARAMETERS_ID = struct.Struct("<4Q")
_CIPHERTEXT = struct.Struct("<4QB3QdQ")  # parameters, transform form, polynomials, N, primes, scale, correction factor
_PLAINTEXT = struct.Struct("<4QQd")  # parameters, coefficients, scale
_COUNT = struct.Struct("<Q")
_SCALE = 1.0  # hefed keeps its scale outside SEAL, which compares but never uses it here


@dataclass(frozen=True)
class Context:
    """A SEAL context that accepted a profile at its 128-bit level."""

    profile: Profile
    native: Any

    @cached_property
    def key_head(self) -> bytes:
        """What a secret key begins with in SEAL's serial form."""
        primes = len(self.profile.primes) + (self.profile.special_prime is not None)
        count = primes * self.profile.ring_degree
        return _head(_PLAINTEXT.pack(*self.native.key_parms_id(), count, _SCALE), count)

    @cached_property
    def plaintext_head(self) -> bytes:
        """What a plaintext in transform form begins with."""
        count = len(self.profile.primes) * self.profile.ring_degree
        return _head(_PLAINTEXT.pack(*self.native.first_parms_id(), count, _SCALE), count)

    @cached_property
    def ciphertext_head(self) -> bytes:
        """What a ciphertext of two polynomials in transform form begins with."""
        primes, degree = len(self.profile.primes), self.profile.ring_degree
        fields = _CIPHERTEXT.pack(*self.native.first_parms_id(), 1, 2, degree, primes, _SCALE, 1)
        return _head(fields, 2 * primes * degree)

    @cached_property
    def zeros(self) -> Residues:
        """The polynomial 0, shape (primes, N); not to be written to."""
        zeros = np.zeros((len(self.profile.primes), self.profile.ring_degree), np.uint64)
        zeros.flags.writeable = False
        return zeros

    @cached_property
    def zero_key(self) -> Any:
        """The secret key 0, under which SEAL's Decryptor gives the first polynomial of a ciphertext."""
        return secret_key(self, self.zeros)


def _parameters(degree: int, widths: Sequence[int]) -> Any:
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(degree)
    parameters.set_coeff_modulus(sealapi.CoeffModulus.Create(degree, list(widths)))
    return parameters


def primes_of(degree: int, widths: Sequence[int]) -> list[int]:
    """The primes that SEAL chooses for N = degree and these bit lengths."""
    return [modulus.value() for modulus in _parameters(degree, widths).coeff_modulus()]


@lru_cache(maxsize=4)
def context_of(profile: Profile) -> Context:
    """The context of a profile. Raises ParameterError unless SEAL accepts it at its 128-bit level."""
    chain = [*profile.primes] if profile.special_prime is None else [*profile.primes, profile.special_prime]
    parameters = _parameters(profile.ring_degree, [p.bit_length() for p in chain])
    native = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
    if not native.parameters_set():
        raise ParameterError(
            f"profile {profile.name}: SEAL does not accept it at 128 bits: {native.parameters_error_message()}"
        )
    return Context(profile, native)


# --- Objects to bytes and back --------------------------------------------------------------------


def _save(item: Any) -> bytes:
    descriptor = os.memfd_create("seal")
    try:
        item.save(f"/proc/self/fd/{descriptor}")
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def _load(context: Context, kind: Any, head: bytes, *polynomials: Residues) -> Any:
    descriptor = os.memfd_create("seal")
    try:
        os.writev(descriptor, [head, *(np.ascontiguousarray(x, "<u8").data for x in polynomials)])
        item = kind()
        item.load(context.native, f"/proc/self/fd/{descriptor}")
        return item
    finally:
        os.close(descriptor)


def _head(fields: bytes, count: int) -> bytes:
    """All that stands before `count` residues, not compressed."""
    array = _size_head(_COUNT.size + 8 * count) + _COUNT.pack(count)
    return _size_head(len(fields) + len(array) + 8 * count) + fields + array


def _size_head(size: int) -> bytes:
    return _HEADER.pack(_MAGIC, _HEADER.size, *_VERSION, _PLAIN, 0, _HEADER.size + size)


def _body(data: bytes) -> bytes:
    magic, size, _, _, compression, _, total = _HEADER.unpack_from(data)
    if magic != _MAGIC or size != _HEADER.size or total != len(data) or compression not in (_PLAIN, _ZSTD):
        raise ParameterError("this TenSEAL writes another serial form; install the version in requirements.txt")
    body = data[_HEADER.size :]
    return zstandard.ZstdDecompressor().decompressobj().decompress(body) if compression == _ZSTD else body


def _residues(body: bytes, start: int, count: int) -> Residues:
    return np.frombuffer(body, "<u8", count, offset=start + _HEADER.size + _COUNT.size)


# --- Keys, ciphertexts, plaintexts ----------------------------------------------------------------


def secret_key(context: Context, residues: Residues) -> Any:
    """A SEAL secret key from residues in transform form, shape (primes, N): SEAL takes any key, not only ternary ones.

    Its part modulo the special prime, which no operation used here reads, is zero.
    """
    special = () if context.profile.special_prime is None else (context.zeros[0],)
    return _load(context, sealapi.SecretKey, context.key_head, residues, *special)


def ciphertext(context: Context, first: Residues, second: Residues) -> Any:
    """The ciphertext (first, second): residues in transform form, shape (primes, N) each."""
    return _load(context, sealapi.Ciphertext, context.ciphertext_head, first, second)


def plaintext(context: Context, residues: Residues) -> Any:
    """The plaintext with these residues in transform form, shape (primes, N)."""
    return _load(context, sealapi.Plaintext, context.plaintext_head, residues)


def ciphertext_residues(item: Any) -> Residues:
    """The polynomials of a ciphertext in transform form, shape (2, primes, N)."""
    body = _body(_save(item))
    *_, polynomials, degree, primes, _, _ = _CIPHERTEXT.unpack_from(body)
    residues = _residues(body, _CIPHERTEXT.size, polynomials * primes * degree)
    return residues.reshape(polynomials, primes, degree)


def decrypt(context: Context, key: Any, item: Any) -> Residues:
    """What SEAL's Decryptor gives under a key: residues in transform form, shape (primes, N)."""
    return _decrypted(context, sealapi.Decryptor(context.native, key), item)


def _decrypted(context: Context, decryptor: Any, item: Any) -> Residues:
    plain = sealapi.Plaintext()
    decryptor.decrypt(item, plain)
    body = _body(_save(plain))
    *_, count, _ = _PLAINTEXT.unpack_from(body)
    return _residues(body, _PLAINTEXT.size, count).reshape(-1, context.profile.ring_degree)


# --- What the engine does with them ---------------------------------------------------------------


class Masker:
    """SEAL's Encryptor, Evaluator and Decryptor at work for one contributor. Secret."""

    __slots__ = ("_context", "_decryptor", "_encryptor", "_evaluator")

    def __init__(self, context: Context, secret: Residues) -> None:
        key = secret_key(context, secret)
        self._context = context
        self._encryptor = sealapi.Encryptor(context.native, key)
        self._evaluator = sealapi.Evaluator(context.native)
        self._decryptor = sealapi.Decryptor(context.native, key)

    def __repr__(self) -> str:
        return "<Masker>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a masker cannot be pickled")

    def encrypt_zero(self) -> Any:
        """A fresh encryption of zero, a ciphertext (c_0, c_1), made by SEAL with its own randomness."""
        item = sealapi.Ciphertext()
        self._encryptor.encrypt_zero_symmetric(item)
        return item

    def mask(self, public: Residues) -> Residues:
        """c_0 + (c_1 - a) s for a fresh encryption of zero and a polynomial a, all of it computed by SEAL.

        SEAL's Evaluator subtracts the ciphertext (0, a), and its Decryptor decrypts what is left. Residues in transform
        form, shape (primes, N).
        """
        item = self.encrypt_zero()
        self._evaluator.sub_inplace(item, ciphertext(self._context, self._context.zeros, public))
        return _decrypted(self._context, self._decryptor, item)


class Adder:
    """SEAL's Evaluator, which adds to ciphertexts (c, a), and its Decryptor under the key 0, which gives c."""

    __slots__ = ("_context", "_decryptor", "_evaluator")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._evaluator = sealapi.Evaluator(context.native)
        self._decryptor = sealapi.Decryptor(context.native, context.zero_key)

    def add(self, total: Any, first: Residues) -> None:
        """Add (first, 0), which SEAL calls a plaintext, to a running total, in place."""
        self._evaluator.add_plain_inplace(total, plaintext(self._context, first))

    def first(self, total: Any) -> Residues:
        """The first polynomial c of a ciphertext (c, a): c + a * 0. In transform form, shape (primes, N)."""
        return _decrypted(self._context, self._decryptor, total)
