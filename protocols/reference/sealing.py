"""What is sealed, as `protocols/messages.md` defines it: to one recipient with HPKE (RFC 9180, base mode) over the
hybrid of ML-KEM-768 and X25519, and in parts under a content key.

NOT FOR PRODUCTION. Relies on `primitives.py`, the standard library, and on `cryptography` for ML-KEM, X25519 and the
two ciphers, not for HPKE; must not import hefed. To one recipient it does not seal, as that draws randomness.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from protocols.reference.primitives import PRF, Part, RefusedError, enc

KEM, KDF, AEAD = 0x647A, 0x0001, 0x0003
SUITE = b"HPKE" + KEM.to_bytes(2, "big") + KDF.to_bytes(2, "big") + AEAD.to_bytes(2, "big")
MLKEM_CIPHERTEXT = 1088
ENCAPSULATION = MLKEM_CIPHERTEXT + 32
TAG = 16


# --- To one recipient -----------------------------------------------------------------------------


def open_sealed(secret: bytes, sealed: bytes, context: tuple[Part, ...]) -> bytes:
    """
    What was sealed to this key in this context. Refused: all else.

    Pre-conditions:

        - `len(secret) == 96`: the seed of ML-KEM-768 (d, then z), then the private key of X25519
    """
    if len(sealed) < ENCAPSULATION + TAG:
        raise RefusedError("sealed", "shorter than an encapsulation and a tag")
    shared = decapsulate(secret, sealed[:ENCAPSULATION])
    key, nonce = key_and_nonce(shared, enc(*context))
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed[ENCAPSULATION:], b"")
    except InvalidTag:
        raise RefusedError("sealed", "not sealed to this key in this context, or altered") from None


def decapsulate(secret: bytes, encapsulation: bytes) -> bytes:
    """
    The secret that an encapsulation shares. A ciphertext of ML-KEM that nobody made for this key gives another secret
    and no error (FIPS 203). Refused: a point of X25519 that makes the shared point zero (RFC 7748, section 6.1).

    Pre-conditions:

        - `len(secret) == 96`
        - `len(encapsulation) == ENCAPSULATION`
    """
    ciphertext, point = encapsulation[:MLKEM_CIPHERTEXT], encapsulation[MLKEM_CIPHERTEXT:]
    curve = X25519PrivateKey.from_private_bytes(secret[64:])
    try:
        of_curve = curve.exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:
        raise RefusedError("sealed", "a point of small order") from None
    of_lattice = MLKEM768PrivateKey.from_seed_bytes(secret[:64]).decapsulate(ciphertext)
    return combine(of_lattice, of_curve, point, curve.public_key().public_bytes_raw())


def combine(of_lattice: bytes, of_curve: bytes, point: bytes, recipient: bytes) -> bytes:
    """
    The combiner of X-Wing: one secret of two, bound to the sender's and the recipient's points of X25519.

    Pre-conditions:

        - each of them has 32 bytes
    """
    return hashlib.sha3_256(of_lattice + of_curve + point + recipient + b"\\.//^\\").digest()


def key_and_nonce(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """
    The key and the first nonce of HPKE's key schedule, in base mode: without a key shared before.

    Pre-conditions:

        - `len(shared) == 32`
    """
    base_mode, no_key, no_name = b"\0", b"", b""
    context = base_mode + extract(b"", b"psk_id_hash", no_name) + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", no_key)
    return expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)


def extract(salt: bytes, label: bytes, data: bytes) -> bytes:
    """`LabeledExtract` of RFC 9180, section 4. An empty salt is as 32 zeros, which HMAC fills a short key up with."""
    return hmac.digest(salt, b"HPKE-v1" + SUITE + label + data, "sha256")


def expand(key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """
    `LabeledExpand` of RFC 9180, section 4, whose first block of HKDF is enough here.

    Pre-conditions:

        - `length <= 32`
    """
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info
    return hmac.digest(key, labelled + b"\1", "sha256")[:length]


# --- In parts, under a content key ----------------------------------------------------------------


def part_key(content_key: bytes, context: tuple[Part, ...]) -> bytes:
    """
    The key of AES-256-GCM for all parts of one context.

    Pre-conditions:

        - `len(content_key) == 32`
    """
    return PRF(content_key, "content", *context)


def nonce_of(number: int) -> bytes:
    """
    Pre-conditions:

        - `number in range(2**96)`
    """
    return number.to_bytes(12, "little")


def seal_part(content_key: bytes, context: tuple[Part, ...], number: int, plain: bytes) -> bytes:
    """
    Pre-conditions:

        - `len(content_key) == 32`
        - no other part is sealed under this number, with this key in this context
    """
    return AESGCM(part_key(content_key, context)).encrypt(nonce_of(number), plain, None)


def open_part(content_key: bytes, context: tuple[Part, ...], number: int, sealed: bytes) -> bytes:
    """
    The part with that number. Refused: all that was not sealed as it, under this key and in this context.

    Pre-conditions:

        - `len(content_key) == 32`
    """
    try:
        return AESGCM(part_key(content_key, context)).decrypt(nonce_of(number), sealed, None)
    except InvalidTag:
        raise RefusedError("sealed", "a part that does not open") from None
