"""SEAL, through TenSEAL: its contexts, its own encryption, addition and decryption, and its serial form.

TenSEAL's `sealapi` reads and writes objects by path only and always compresses (it offers no mode to choose), so
objects pass through anonymous files in memory (`memfd_create`, Linux) and are unpacked with zstandard. Only objects of
this process are parsed here; bytes from outside never are.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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


def _load(context: Context, kind: Any, data: bytes) -> Any:
    descriptor = os.memfd_create("seal")
    try:
        os.pwrite(descriptor, data, 0)
        item = kind()
        item.load(context.native, f"/proc/self/fd/{descriptor}")
        return item
    finally:
        os.close(descriptor)


def _framed(body: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, _HEADER.size, *_VERSION, _PLAIN, 0, _HEADER.size + len(body)) + body


def _body(data: bytes) -> bytes:
    magic, size, _, _, compression, _, total = _HEADER.unpack_from(data)
    if magic != _MAGIC or size != _HEADER.size or total != len(data) or compression not in (_PLAIN, _ZSTD):
        raise ParameterError("this TenSEAL writes another serial form; install the version in requirements.txt")
    body = data[_HEADER.size :]
    return zstandard.ZstdDecompressor().decompressobj().decompress(body) if compression == _ZSTD else body


def _array(residues: Residues) -> bytes:
    return _framed(_COUNT.pack(residues.size) + residues.astype("<u8").tobytes())


def _residues(body: bytes, start: int, count: int) -> Residues:
    return np.frombuffer(body, "<u8", count, offset=start + _HEADER.size + _COUNT.size)


# --- Keys, ciphertexts, plaintexts ----------------------------------------------------------------


def secret_key(context: Context, residues: Residues) -> Any:
    """A SEAL secret key from residues in transform form, shape (primes, N): SEAL takes any key, not only ternary ones.

    Its part modulo the special prime, which no operation used here reads, is zero.
    """
    profile = context.profile
    if profile.special_prime is not None:
        residues = np.concatenate([residues, np.zeros((1, profile.ring_degree), np.uint64)])
    head = _PLAINTEXT.pack(*context.native.key_parms_id(), residues.size, 1.0)
    return _load(context, sealapi.SecretKey, _framed(head + _array(residues)))


def ciphertext(context: Context, first: Residues, second: Residues) -> Any:
    """The ciphertext (first, second): residues in transform form, shape (primes, N) each."""
    primes, degree = first.shape
    head = _CIPHERTEXT.pack(*context.native.first_parms_id(), 1, 2, degree, primes, _SCALE, 1)
    return _load(context, sealapi.Ciphertext, _framed(head + _array(np.stack([first, second]))))


def ciphertext_residues(item: Any) -> Residues:
    """The polynomials of a ciphertext in transform form, shape (2, primes, N)."""
    body = _body(_save(item))
    *_, polynomials, degree, primes, _, _ = _CIPHERTEXT.unpack_from(body)
    residues = _residues(body, _CIPHERTEXT.size, polynomials * primes * degree)
    return residues.reshape(polynomials, primes, degree)


def encrypt_zero(context: Context, key: Any) -> Residues:
    """A fresh encryption of zero under a secret key, made by SEAL with its own randomness; shape (2, primes, N)."""
    item = sealapi.Ciphertext()
    sealapi.Encryptor(context.native, key).encrypt_zero_symmetric(item)
    return ciphertext_residues(item)


def add(context: Context, total: Any, item: Any) -> None:
    """Let SEAL's Evaluator add a ciphertext to a running total, in place."""
    sealapi.Evaluator(context.native).add_inplace(total, item)


def decrypt(context: Context, key: Any, item: Any) -> Residues:
    """What SEAL's Decryptor gives under a key: residues in transform form, shape (primes, N)."""
    plain = sealapi.Plaintext()
    sealapi.Decryptor(context.native, key).decrypt(item, plain)
    body = _body(_save(plain))
    *_, count, _ = _PLAINTEXT.unpack_from(body)
    return _residues(body, _PLAINTEXT.size, count).reshape(-1, context.profile.ring_degree)
