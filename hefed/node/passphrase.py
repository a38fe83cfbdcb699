"""A passphrase: where it comes from, and the identity sealed under it.

From, in this order: the file `hefed-passphrase` in $CREDENTIALS_DIRECTORY (systemd's LoadCredential), the file that
$HEFED_PASSPHRASE_FILE names, the terminal. The key is Argon2id's, derived once a process for each home. A wrong
passphrase and an altered file are told in the same words. No passphrase is in an error.
"""

import getpass
import os
import secrets
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hefed.node.errors import NodeError
from hefed.node.files import read_private
from hefed.node.wrapping import PROTECTED
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError

CREDENTIAL = "hefed-passphrase"
CREDENTIALS, NAMED = "CREDENTIALS_DIRECTORY", "HEFED_PASSPHRASE_FILE"
LEAST, MOST = 12, 1024
"""Characters of a new passphrase, and bytes of any."""

Ask = Callable[[Path], bytes]
"""Gives the passphrase of a home."""


class _Header(BaseModel):
    """What stands before the sealed identity. The bounds keep an altered file from taking the machine's memory."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    kdf: Literal["argon2id"] = "argon2id"
    memory: Annotated[int, Field(ge=2**13, le=2**20)] = 2**16
    """KiB. With the passes and lanes the second choice of RFC 9106, section 4."""
    iterations: Annotated[int, Field(ge=1, le=16)] = 3
    lanes: Annotated[int, Field(ge=1, le=16)] = 4
    salt: Annotated[bytes, Field(min_length=16, max_length=16)]

    def bound(self) -> bytes:
        return PROTECTED + codec.encode(self.model_dump())

    def derive(self, passphrase: bytes) -> bytes:
        kdf = Argon2id(salt=self.salt, length=32, iterations=self.iterations, lanes=self.lanes, memory_cost=self.memory)
        return kdf.derive(passphrase)


class _File(BaseModel):
    """What follows PROTECTED."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    header: _Header
    nonce: Annotated[bytes, Field(min_length=12, max_length=12)]
    sealed: bytes


_derived: dict[_Header, bytes] = {}


def protected(content: bytes, passphrase: bytes) -> bytes:
    """An identity file with that content under a passphrase, with a salt of its own."""
    header = _Header(salt=secrets.token_bytes(16))
    _derived[header] = header.derive(passphrase)
    return _under(header, content)


def under_the_same(data: bytes, content: bytes) -> bytes:
    """An identity file with other content under the passphrase of one that this process has opened."""
    return _under(_File.model_validate(codec.decode(data.removeprefix(PROTECTED))).header, content)


def _under(header: _Header, content: bytes) -> bytes:
    nonce = secrets.token_bytes(12)
    box = ChaCha20Poly1305(_derived[header]).encrypt(nonce, content, header.bound())
    return PROTECTED + codec.encode({"header": header.model_dump(), "nonce": nonce, "sealed": box})


def opened(path: Path, data: bytes) -> bytes:
    """The content of an identity file under a passphrase, which is asked for once a process. Raises NodeError."""
    try:
        file = _File.model_validate(codec.decode(data.removeprefix(PROTECTED)))
    except (EncodingError, ValidationError) as error:
        raise NodeError(f"{path} is not an identity of hefed; restore it from its backup") from error
    key = _derived.get(file.header)
    if key is None:
        key = file.header.derive(passphrase_of(path.parent))
    try:
        content = ChaCha20Poly1305(key).decrypt(file.nonce, file.sealed, file.header.bound())
    except (InvalidTag, ValueError):
        raise NodeError(
            f"{path} does not open: the passphrase is another one, or the file was altered; "
            "try again, or restore the file from its backup"
        ) from None
    _derived[file.header] = key
    return content


def passphrase_of(home: Path) -> bytes:
    """The passphrase of a home, from wherever it comes. Raises NodeError when there is none and nobody to ask."""
    given = _from_file()
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise NodeError(
            f"{home} is under a passphrase and nobody is there to be asked for it; write it to a file for its owner "
            f"only and set {NAMED}=FILE, or give it to the service: LoadCredential={CREDENTIAL}:FILE"
        )
    return _normal(_typed(f"Passphrase of {home}: "), "the passphrase")


def is_asked_for() -> bool:
    """Whether a passphrase comes from a person at a terminal here."""
    folder = os.environ.get(CREDENTIALS)
    given = os.environ.get(NAMED) or (folder and (Path(folder) / CREDENTIAL).exists())
    return not given and sys.stdin.isatty()


def new_passphrase(home: Path) -> bytes:
    """A passphrase for a home that has none yet. Raises NodeError for one that is too short."""
    given = _from_file()
    if given is None:
        if not sys.stdin.isatty():
            raise NodeError(
                f"nobody is there to be asked for a passphrase; set {NAMED}=FILE, a file for its owner only"
            )
        given = _twice(home)
    return _long_enough(given)


def other_passphrase(home: Path) -> bytes:
    """The passphrase that takes the place of the one there is; always from the terminal. Raises NodeError."""
    if not sys.stdin.isatty():
        raise NodeError("another passphrase is asked for on a terminal; run the command on one")
    return _long_enough(_twice(home))


def _twice(home: Path) -> bytes:
    first = _typed(f"New passphrase of {home}: ")
    if first != _typed("Once more: "):
        raise NodeError("the two passphrases differ; nothing was done, so try again")
    return _normal(first, "the passphrase")


def _typed(prompt: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt)
    except getpass.GetPassWarning:
        raise NodeError(f"this terminal would show the passphrase; take another one, or set {NAMED}=FILE") from None
    except (EOFError, UnicodeDecodeError):
        raise NodeError("no passphrase was typed; try again") from None


def _long_enough(passphrase: bytes) -> bytes:
    if len(passphrase.decode()) < LEAST:
        raise NodeError(f"a passphrase has at least {LEAST} characters; take six words that nobody put together before")
    return passphrase


def _from_file() -> bytes | None:
    folder, named = os.environ.get(CREDENTIALS), os.environ.get(NAMED)
    if folder and (path := Path(folder) / CREDENTIAL).exists():
        return _normal(_credential(path), str(path))
    if named:
        return _normal(read_private(Path(named), most=MOST, remedy=f"check the name in {NAMED}"), named)
    return None


def _credential(path: Path) -> bytes:
    # systemd gives the file to the service's user by an access list, whose mask stands where the group's rights do.
    return read_private(path, most=MOST, others=0o037)


def _normal(given: bytes | str, where: str) -> bytes:
    """The same bytes however a keyboard composes letters, without the line's end."""
    try:
        text = given.decode() if isinstance(given, bytes) else given
        passphrase = unicodedata.normalize("NFC", text.removesuffix("\n").removesuffix("\r")).encode()
    except UnicodeError:
        raise NodeError(f"{where} is not text in UTF-8; write it again") from None
    if not passphrase or len(passphrase) > MOST:
        raise NodeError(f"{where} is empty or longer than {MOST} bytes; write the passphrase alone into it")
    return passphrase
