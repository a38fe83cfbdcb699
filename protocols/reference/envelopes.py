"""Envelopes, as `protocols/messages.md` defines them: who signed what.

NOT FOR PRODUCTION. Relies on `cbor.py`, `primitives.py`, the standard library and on `cryptography` for Ed25519; must
not import hefed.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocols.reference import cbor
from protocols.reference.primitives import H, enc

VERSION = 2
LONGEST_ENVELOPE = 4 * 2**20
LONGEST_ATTACHMENT = 900 * 10**6


class BreachError(Exception):
    """A broken rule, and the party that it names; several with "or" between them where it may be any of them."""

    def __init__(self, rule: str, parties: tuple[str, ...], reason: str) -> None:
        self.rule, self.party, self.reason = rule, " or ".join(dict.fromkeys(parties)), reason
        super().__init__(f"{rule}: {self.party}: {reason}")


@dataclass(frozen=True)
class Message:
    sender: str
    kind: str
    study: bytes
    previous: bytes
    content: dict[str, Any]
    bound: list[dict[str, Any]]
    attachments: list[bytes]
    digest: bytes


def read(party: str, roster: dict[str, Any], envelope: bytes, attachments: list[bytes]) -> Message:
    """
    A message that `party` shows, whose signature holds under a roster, with the attachments that it binds; an answer
    may be shown without its attachment, as nobody keeps one that came after the sum.

    Pre-conditions:

        - the body has the form of `messages.cddl`, but for version, federation and the sizes of attachments
    """
    if len(envelope) > LONGEST_ENVELOPE:
        raise BreachError("transcript", (party,), "an envelope that is too long")
    body_bytes, signature = cbor.decode(envelope)
    body = cbor.decode(body_bytes)
    if body["federation"] != roster["federation"]:
        raise BreachError("transcript", (party,), "another federation")
    identities = {member["name"]: member["identity"] for member in roster["members"]}
    if body["sender"] not in identities:
        raise BreachError("transcript", (party,), "a sender that is not on the roster")
    try:
        key = Ed25519PublicKey.from_public_bytes(identities[body["sender"]])
        key.verify(signature, enc("hefed/1 message", body_bytes))
    except InvalidSignature:
        raise BreachError("transcript", (party,), "a signature that is not its sender's") from None
    if body["version"] != VERSION:
        raise BreachError("transcript", (party,), "another version of the protocol")
    if any(one["size"] > LONGEST_ATTACHMENT for one in body["attachments"]):
        raise BreachError("transcript", (party,), "an attachment that is too long")
    bound = body["attachments"]
    came = [{"sha256": hashlib.sha256(data).digest(), "size": len(data)} for data in attachments]
    if bound != came and (attachments or body["kind"] != "answer"):
        raise BreachError("transcript", (party,), "an attachment that is not the one that was signed")
    where = (body["study"], body["previous"], body["content"], bound, attachments)
    return Message(body["sender"], body["kind"], *where, H("message", envelope))
