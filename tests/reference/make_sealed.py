"""Writes the vectors of what is sealed to one recipient: `python -m tests.reference.make_sealed`.

They are sealed with hefed itself, to keys that follow from their names. Sealing draws randomness, so the bytes are
others each time; what opens, and to what, is the same.
"""

import json
import unicodedata
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hefed.protocol.contexts import Context, content_key_context, deal_context, finding_context
from hefed.protocol.sealing import SealingKey, seal
from protocols.reference.make_vectors import DIRECTORY
from protocols.reference.primitives import enc
from protocols.reference.sealing import AEAD, ENCAPSULATION, KDF, KEM, MLKEM_CIPHERTEXT, TAG, combine, key_and_nonce
from protocols.reference.sealing_vectors import flipped, shown
from protocols.reference.vector_format import Json, brief, fixed

FILE = DIRECTORY / "sealed.json"
STUDY, DEALER, HOLDER, READER, ANALYST = fixed("study"), "orebro", "skåne", "halland", "analyst"
DEAL = deal_context(STUDY, DEALER, HOLDER)
CONTENT_KEY = content_key_context(STUDY, HOLDER, READER)
FINDING = finding_context(STUDY, READER, ANALYST)
OF_LATTICE, OF_CURVE = fixed("ML-KEM d") + fixed("ML-KEM z"), fixed("X25519")
OTHER_LATTICE, OTHER_CURVE = fixed("another ML-KEM d") + fixed("another ML-KEM z"), fixed("another X25519")
KEYS = {
    "one": OF_LATTICE + OF_CURVE,
    "another": OTHER_LATTICE + OTHER_CURVE,
    "another for ML-KEM alone": OTHER_LATTICE + OF_CURVE,
    "another for X25519 alone": OF_LATTICE + OTHER_CURVE,
}
"""Private keys; the last two share one half with the first."""

SEEDS = b"".join(fixed("seed", number) for number in range(3))
GOOD: list[tuple[str, str, Context, bytes]] = [
    ("a deal", "one", DEAL, SEEDS),
    ("a content key", "one", CONTENT_KEY, fixed("content key")),
    ("a finding", "another", FINDING, fixed("finding") * 128),
    ("an empty text", "one", DEAL, b""),
    ("one byte", "another", CONTENT_KEY, b"\0"),
    ("a longer text", "one", FINDING, bytes(range(256)) * 33 + b"end"),
]
"""Name, key, context and text."""


def document() -> Json:
    """All of the file."""
    public = {name: SealingKey(secret).public for name, secret in KEYS.items()}
    sealed = {name: seal(plain, public[key], context) for name, key, context, plain in GOOD}
    good = [
        {"name": name, "key": key, "context": shown(context), "plain": brief(plain), "sealed": sealed[name].hex()}
        for name, key, context, plain in GOOD
    ]
    return {
        "suite": {"kem": f"{KEM:04x}", "kdf": f"{KDF:04x}", "aead": f"{AEAD:04x}"},
        "keys": {name: {"secret": secret.hex(), "public": brief(public[name])} for name, secret in KEYS.items()},
        "good": good,
        "bad": [
            {"name": name, "key": key, "context": shown(context), "sealed": data.hex(), "refused": "sealed"}
            for name, key, context, data in bad(sealed, public["one"])
        ],
    }


def bad(sealed: dict[str, bytes], public: bytes) -> list[tuple[str, str, Context, bytes]]:
    """Name, key, context and what is refused of them."""
    deal, again = sealed["a deal"], seal(SEEDS, public, DEAL)
    parted = unicodedata.normalize("NFD", HOLDER)
    contexts: list[tuple[str, Context]] = [
        ("another purpose", content_key_context(STUDY, DEALER, HOLDER)),
        ("another study", deal_context(fixed("another study"), DEALER, HOLDER)),
        ("another sender", deal_context(STUDY, "halland", HOLDER)),
        ("another recipient", deal_context(STUDY, DEALER, "halland")),
        ("sender and recipient exchanged", deal_context(STUDY, HOLDER, DEALER)),
        ("the recipient in another form of Unicode", deal_context(STUDY, DEALER, parted)),
        ("a letter of the sender's in the recipient's name", deal_context(STUDY, DEALER[:-1], DEALER[-1] + HOLDER)),
        ("without the recipient", DEAL[:-1]),
        ("a part too many", (*DEAL, "")),
        ("no context", ()),
    ]
    datas = [
        ("the first byte of ML-KEM's ciphertext is another", flipped(deal, 0)),
        ("the last byte of ML-KEM's ciphertext is another", flipped(deal, MLKEM_CIPHERTEXT - 1)),
        ("the first byte of the point is another", flipped(deal, MLKEM_CIPHERTEXT)),
        ("the bit of the point that X25519 ignores is another", ignored(deal)),
        ("the point of another encapsulation to the same key", with_point(deal, again)),
        ("the encapsulation of the same text, sealed again", again[:ENCAPSULATION] + deal[ENCAPSULATION:]),
        ("the point first, then ML-KEM's ciphertext", turned(deal)),
        ("a point of small order, with which the rest is right", sealed_by_hand(SEEDS, public, DEAL)),
        ("the first bit of the text is another", flipped(deal, ENCAPSULATION)),
        ("the last bit of the text is another", flipped(deal, -TAG - 1)),
        ("the first byte of the tag is another", flipped(deal, -TAG)),
        ("the last byte of the tag is another", flipped(deal, -1)),
        ("a byte too short", deal[:-1]),
        ("a byte too long", deal + b"\0"),
        ("a byte before it", b"\0" + deal),
        ("without its tag", deal[:-TAG]),
        ("the empty text without its tag", sealed["an empty text"][:-TAG]),
        ("the empty text, its tag a byte too short", sealed["an empty text"][:-1]),
        ("the encapsulation alone", deal[:ENCAPSULATION]),
        ("the encapsulation without its last byte", deal[: ENCAPSULATION - 1]),
        ("one byte", deal[:1]),
        ("nothing", b""),
    ]
    return [
        *((f"a deal: {name}", "one", context, deal) for name, context in contexts),
        ("a content key, as a deal", "one", deal_context(STUDY, HOLDER, READER), sealed["a content key"]),
        ("a finding, as a content key", "another", content_key_context(STUDY, READER, ANALYST), sealed["a finding"]),
        *((f"a deal: with a key that is {key}", key, DEAL, deal) for key in list(KEYS)[1:]),
        *((f"a deal: {name}", "one", DEAL, data) for name, data in datas),
    ]


def with_point(sealed: bytes, other: bytes) -> bytes:
    """The same with another's point of X25519."""
    return sealed[:MLKEM_CIPHERTEXT] + other[MLKEM_CIPHERTEXT:ENCAPSULATION] + sealed[ENCAPSULATION:]


def ignored(sealed: bytes) -> bytes:
    """The same with another highest bit of the point of X25519."""
    point = sealed[MLKEM_CIPHERTEXT : ENCAPSULATION - 1] + bytes([sealed[ENCAPSULATION - 1] ^ 128])
    return sealed[:MLKEM_CIPHERTEXT] + point + sealed[ENCAPSULATION:]


def turned(sealed: bytes) -> bytes:
    """The same with the halves of its encapsulation in the other order."""
    return sealed[MLKEM_CIPHERTEXT:ENCAPSULATION] + sealed[:MLKEM_CIPHERTEXT] + sealed[ENCAPSULATION:]


def sealed_by_hand(
    plain: bytes, public: bytes, context: Context, point: bytes = bytes(32), of_curve: bytes = bytes(32)
) -> bytes:
    """What is sealed with a sender's point and the secret that it shares, by default those of small order."""
    of_lattice, ciphertext = MLKEM768PublicKey.from_public_bytes(public[:-32]).encapsulate()
    key, nonce = key_and_nonce(combine(of_lattice, of_curve, point, public[-32:]), enc(*context))
    return ciphertext + point + ChaCha20Poly1305(key).encrypt(nonce, plain, None)


def text(made: dict[str, Any]) -> str:
    """The file's text."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the file."""
    FILE.write_text(text(document()), encoding="utf-8")


if __name__ == "__main__":
    main()
