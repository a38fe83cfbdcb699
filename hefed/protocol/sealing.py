"""Sealing to one recipient (HPKE, RFC 9180) and under a content key (AES-256-GCM, part by part).

The key encapsulation is the hybrid of X25519 and ML-KEM-768, so that a recorded wire stays closed to a later quantum
computer. Every seal binds a `context`: what it is for, which study, from whom, to whom. What was sealed for one
purpose does not open for another.
"""

import secrets

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from numpy.typing import NDArray

from hefed.crypto.buffer import Buffer
from hefed.crypto.hashing import encode_parts, prf
from hefed.protocol.errors import SealError

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_MLKEM_PUBLIC, _X25519_PUBLIC = 1184, 32
PUBLIC_KEY_SIZE = _MLKEM_PUBLIC + _X25519_PUBLIC
_MLKEM_SEED = 64
CONTENT_KEY_SIZE = 32
CONTENT_TAG = 16
"""Bytes by which a sealed part is longer."""


class SealingKey:
    """A private key that opens what was sealed to `public`. Without a repr; `to_bytes` is for storage that is itself
    encrypted.
    """

    __slots__ = ("_key", "_secret", "public")

    def __init__(self, secret: bytes) -> None:
        """From 96 bytes: the seed of ML-KEM-768 (64), then the private key of X25519 (32)."""
        if len(secret) != _MLKEM_SEED + 32:
            raise SealError("a sealing key of the wrong length")
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(secret[:_MLKEM_SEED])
        curve = x25519.X25519PrivateKey.from_private_bytes(secret[_MLKEM_SEED:])
        self._secret = secret
        self._key = MLKEM768X25519PrivateKey(kem, curve)
        self.public = _raw(kem.public_key()) + _raw(curve.public_key())

    @staticmethod
    def new_secret() -> bytes:
        """96 fresh bytes from the operating system."""
        return secrets.token_bytes(_MLKEM_SEED + 32)

    def __repr__(self) -> str:
        return "SealingKey(...)"

    def __reduce__(self) -> str:
        raise TypeError("a sealing key is not pickled")

    def open(self, sealed: bytes, context: tuple[bytes | str | int, ...]) -> bytes:
        """What was sealed to this key in this context. Raises SealError otherwise."""
        try:
            return _SUITE.decrypt(sealed, self._key, info=encode_parts(*context))
        except (InvalidTag, ValueError) as error:
            raise SealError("it was not sealed to this key for this purpose, or was altered on the way") from error


def _raw(key: mlkem.MLKEM768PublicKey | x25519.X25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def public_key(public: bytes) -> MLKEM768X25519PublicKey:
    """The public key in 1216 bytes. Raises SealError when they are none."""
    if len(public) != PUBLIC_KEY_SIZE:
        raise SealError(f"a public key of {len(public)} bytes; {PUBLIC_KEY_SIZE} are expected")
    try:
        return MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC]),
            x25519.X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]),
        )
    except ValueError as error:
        raise SealError("a public key that the key encapsulation refuses") from error


def seal(plaintext: bytes, public: bytes, context: tuple[bytes | str | int, ...]) -> bytes:
    """Seals to the public key of 1216 bytes. Raises SealError when `public` is no key."""
    try:
        return _SUITE.encrypt(plaintext, public_key(public), info=encode_parts(*context))
    except ValueError as error:
        raise SealError("a public key that nothing can be sealed to") from error


class ContentCipher:
    """AES-256-GCM for what one content key seals in one context, in numbered parts: no other part opens in a part's
    place. One plaintext a context and number, hence the number as nonce.

    A keyholder that is set back to an old snapshot and is then asked something else has another context, so no nonce
    is ever used twice under one key.
    """

    def __init__(self, content_key: bytes, context: tuple[bytes | str | int, ...]) -> None:
        self._cipher = AESGCM(prf(content_key, "content", *context))

    def __repr__(self) -> str:
        return "ContentCipher(...)"

    def seal_into(self, number: int, plaintext: Buffer, sealed: NDArray[np.uint8]) -> None:
        """Write a part, sealed, to as many bytes and CONTENT_TAG more."""
        self._cipher.encrypt_into(_nonce(number), plaintext, None, sealed.data)

    def open(self, number: int, sealed: Buffer) -> bytes:
        """A part. Raises SealError when key, context, number or bytes are not the ones sealed."""
        try:
            return self._cipher.decrypt(_nonce(number), sealed, None)
        except InvalidTag as error:
            raise SealError(_OTHERS) from error

    def open_into(self, number: int, sealed: Buffer, plaintext: NDArray[np.uint8]) -> None:
        """The same, to CONTENT_TAG bytes fewer."""
        try:
            self._cipher.decrypt_into(_nonce(number), sealed, None, plaintext.data)
        except InvalidTag as error:
            raise SealError(_OTHERS) from error


_OTHERS = "it was not sealed under this keyholder's content key for this use, or was altered"


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")
