"""What is sealed opens for one key in one context; what is no key is refused with a type."""

import pytest

from hefed.protocol.errors import SealError
from hefed.protocol.sealing import PUBLIC_KEY_SIZE, SealingKey, public_key, seal

CONTEXT = ("a context", b"of bytes", 7)


def test_what_was_sealed_opens_with_its_key_in_its_context_alone() -> None:
    key, other = SealingKey(SealingKey.new_secret()), SealingKey(SealingKey.new_secret())
    sealed = seal(b"seeds", key.public, CONTEXT)
    assert key.open(sealed, CONTEXT) == b"seeds"
    for who, what, context in (
        (other, sealed, CONTEXT),
        (key, sealed, ("a context", b"of bytes", 8)),
        (key, sealed[:-1] + bytes([sealed[-1] ^ 1]), CONTEXT),
        (key, sealed[:10], CONTEXT),
        (key, b"", CONTEXT),
    ):
        with pytest.raises(SealError, match="not sealed to this key for this purpose"):
            who.open(what, context)


@pytest.mark.parametrize("size", [0, 95, 97, 192])
def test_a_secret_of_another_length_is_no_key(size: int) -> None:
    assert len(SealingKey.new_secret()) == 96
    with pytest.raises(SealError, match="a sealing key of the wrong length"):
        SealingKey(bytes(size))


@pytest.mark.parametrize("size", [0, 32, PUBLIC_KEY_SIZE - 1, PUBLIC_KEY_SIZE + 1])
def test_a_public_key_of_another_length_is_refused(size: int) -> None:
    for use in (public_key, lambda public: seal(b"", public, CONTEXT)):
        with pytest.raises(SealError, match=f"a public key of {size} bytes; {PUBLIC_KEY_SIZE} are expected"):
            use(bytes(size))


def test_nothing_is_sealed_to_a_point_that_every_secret_takes_to_zero() -> None:
    """Its form is right, so it is a key for `public_key`; but all the world would share the secret."""
    public = SealingKey(SealingKey.new_secret()).public[:-32]
    for point in (bytes(32), (1).to_bytes(32, "little")):
        public_key(public + point)
        with pytest.raises(SealError, match="a public key that nothing can be sealed to"):
            seal(b"seeds", public + point, CONTEXT)
