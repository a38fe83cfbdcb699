"""The secrets of one study, sealed under its key file: destroying that file destroys them all.

Relies on ChaCha20-Poly1305 of `cryptography`, and on a store for what is sealed. No secret is in an error.
"""

import secrets
from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hefed.protocol.ports import DeclinedError


class Sealed(Protocol):
    """Where sealed secrets are kept, flushed as soon as they are."""

    def secret(self, study: bytes, name: str) -> bytes | None:
        """The sealed secret of that name, if there is one."""

    def keep_secret(self, study: bytes, name: str, sealed: bytes) -> None:
        """Keeps a new one."""


class StudyVault:
    """Implements `hefed.protocol.ports.Vault` on a store."""

    def __init__(self, store: Sealed, study: bytes, cipher: ChaCha20Poly1305 | None) -> None:
        self._store, self._study, self._cipher = store, study, cipher

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret of that name; made, encrypted and flushed at the first call. Raises DeclinedError when its key
        file is not the one, or is gone: that study cannot go on, and others can.
        """
        if self._cipher is None:
            raise DeclinedError("the keys of this study are lost; the study cannot go on here: submit it again")
        sealed = self._store.secret(self._study, name)
        bound = self._study + name.encode()
        if sealed is None:
            secret = make()
            nonce = secrets.token_bytes(12)
            self._store.keep_secret(self._study, name, nonce + self._cipher.encrypt(nonce, secret, bound))
            return secret
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], bound)
        except (InvalidTag, ValueError) as error:  # the second where not even a nonce is left of it
            raise DeclinedError(
                "a study's key file is not the one its secrets were stored under; the study cannot go on here"
            ) from error
