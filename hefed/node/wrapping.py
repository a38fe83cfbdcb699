"""The wrapping keys of the protected homes that this process has opened, and what is sealed under them: the key files
of studies, and the identity that is to follow.

A home is protected when its identity file begins with PROTECTED. Its wrapping key stands in that file, under the
passphrase, so a passphrase is changed in one file and derived from once. Relies on ChaCha20-Poly1305 of `cryptography`.
Must not write anything, and no secret is in an error.
"""

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hefed.node.errors import NodeError

IDENTITY, NEXT, STUDY_KEYS = "identity.key", "identity.key.next", "study-keys"
PROTECTED = b"hefed identity under a passphrase, form 1\n"
SEALED = b"hefed key under the key of its home, form 1\n"

_opened: dict[Path, bytes] = {}


def is_protected(home: Path) -> bool:
    """Whether the identity in a home is under a passphrase. Raises NodeError when it cannot be looked at."""
    try:
        with (home / IDENTITY).open("rb") as file:
            return file.read(len(PROTECTED)) == PROTECTED
    except FileNotFoundError:
        return False
    except OSError as error:
        raise NodeError(f"{home / IDENTITY} cannot be read: {(error.strerror or 'unknown reason').lower()}") from error


def remember(home: Path, key: bytes | None) -> None:
    """The wrapping key of a home, until this process ends; None for a home without a passphrase."""
    if key is None:
        _opened.pop(home.resolve(), None)
    else:
        _opened[home.resolve()] = key


def sealed(path: Path, secret: bytes) -> bytes:
    """What is to be written for a secret: as it is, or sealed where it is such a key in a protected home. Raises
    NodeError when that home is not open.
    """
    home = _home(path)
    if home is None or not (is_protected(home) or home.resolve() in _opened):
        return secret
    nonce = secrets.token_bytes(12)
    return SEALED + nonce + ChaCha20Poly1305(_key(home)).encrypt(nonce, secret, SEALED + path.name.encode())


def unsealed(path: Path, data: bytes) -> bytes:
    """The secret in what was read of a file; data that is not sealed is the secret itself. Raises NodeError."""
    if not data.startswith(SEALED):
        return data
    home, nonce_end = _home(path), len(SEALED) + 12
    if home is None:
        raise NodeError(f"{path} is sealed and lies in no home; put it back where it was")
    try:
        return ChaCha20Poly1305(_key(home)).decrypt(
            data[len(SEALED) : nonce_end], data[nonce_end:], SEALED + path.name.encode()
        )
    except (InvalidTag, ValueError) as error:  # the second where not even a nonce is left of it
        raise NodeError(
            f"{path} was altered, or belongs to another identity than {home / IDENTITY}; put back the identity that it "
            "was made under, or remove it and give up what it was for"
        ) from error


def _home(path: Path) -> Path | None:
    if path.name == NEXT:
        return path.parent
    return path.parent.parent if path.parent.name == STUDY_KEYS else None


def _key(home: Path) -> bytes:
    try:
        return _opened[home.resolve()]
    except KeyError:
        raise NodeError(f"{home} is under a passphrase, and this process has not opened it") from None
