"""Every message of a study: its kinds, what each says, and how it is signed.

`protocols/messages.cddl` is the schema of the bytes; the classes here are the same, as types. A message is a signed
envelope

[body, signature]    body = the CBOR map of `Body`, signature = Ed25519 over "hefed/1 message" and the body

Long vectors are attachments: frames beside the envelope, bound by their hash and length in the body.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hefed.crypto.buffer import Buffer
from hefed.crypto.hashing import encode_parts, tagged_hash
from hefed.protocol import codec, limits
from hefed.protocol.errors import EncodingError, SignatureError
from hefed.protocol.roster import NAME, Roster
from hefed.protocol.sealing import PUBLIC_KEY_SIZE
from hefed.wording import quoted

PROTOCOL_VERSION: Literal[2] = 2
MAX_ATTACHMENT, MAX_ATTEMPTS, MAX_WORDS = limits.MAX_ATTACHMENT, limits.MAX_ATTEMPTS, limits.MAX_WORDS
_MOST_FAULTS = 1000
"""Of the form of a message, that are looked at one by one."""
ZERO_HASH = bytes(32)
"""Stands where there is no previous message, or no previous round."""

Digest = Annotated[bytes, Field(min_length=32, max_length=32)]
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Names = Annotated[list[Name], Field(max_length=limits.MAX_MEMBERS)]
PublicKey = Annotated[bytes, Field(min_length=PUBLIC_KEY_SIZE, max_length=PUBLIC_KEY_SIZE)]
Digests = Annotated[dict[Name, Digest], Field(max_length=limits.MAX_MEMBERS)]
Sealed = Annotated[bytes, Field(max_length=limits.MAX_SEALED)]
SealedToEach = Annotated[dict[Name, Sealed], Field(max_length=limits.MAX_MEMBERS)]
Round = Annotated[int, Field(ge=0, le=limits.MAX_ROUND)]


def printable(words: str) -> str:
    """Words as they may stand in a message, on a terminal and in a log: no control characters, at most MAX_WORDS."""
    return "".join(letter if letter.isprintable() else "?" for letter in words[:MAX_WORDS])


def _require_printable(words: str) -> str:
    if not words.isprintable():
        raise ValueError("words with control characters")
    return words


Words = Annotated[str, Field(max_length=MAX_WORDS), AfterValidator(_require_printable)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Content(_Strict):
    """What a message says; the subclasses are the kinds."""

    kind: ClassVar[str]


class Invitation(Content):
    """The analyst asks for a study. Its hash is the study's: definition, nonce, roster, result key and deadline are
    fixed by it.
    """

    kind: ClassVar[str] = "invitation"
    definition: dict[str, Any]
    nonce: Digest
    roster: Digest
    result_key: PublicKey
    expires: Annotated[int, Field(ge=0, le=2**40)]  # seconds since 1970; after it everybody destroys the study's keys


class Approval(Content):
    """A member takes part: a salted commitment to its frozen table (contributors), a key for each dealer
    (keyholders), a reading key (readers).
    """

    kind: ClassVar[str] = "approval"
    commitment: Digest | None
    dealing_keys: Annotated[dict[Name, PublicKey], Field(max_length=1024)]
    reading_key: PublicKey | None


class Refusal(Content):
    """A member ends the study, in its own words."""

    kind: ClassVar[str] = "refusal"
    words: Words


class Dealing(Content):
    """The aggregator: these approved, so the contributors deal their keys to these keyholders."""

    kind: ClassVar[str] = "dealing"
    approvals: Digests
    keyholders: Names


class Deal(Content):
    """A contributor's key: the hash of each seed, and to each keyholder its seeds, sealed."""

    kind: ClassVar[str] = "deal"
    hashes: Annotated[list[Digest], Field(min_length=1, max_length=2**14)]
    sealed: SealedToEach


class Acknowledgement(Content):
    """A keyholder found its own seeds of every deal right; and its content key, sealed to each reader."""

    kind: ClassVar[str] = "acknowledgement"
    deals: Digests
    content_keys: SealedToEach


class Complaint(Content):
    """A keyholder names a dealer whose seeds do not match what it signed. Opens nothing; ends the study."""

    kind: ClassVar[str] = "complaint"
    dealer: Name
    words: Words


class Proposal(Content):
    """The aggregator: the keyholders that acknowledged. With the approvals and deals this fixes the cohort."""

    kind: ClassVar[str] = "proposal"
    acknowledgements: Digests


class CohortSignature(Content):
    """A contributor stands to one cohort a study."""

    kind: ClassVar[str] = "cohort"
    cohort: Digest


class Contribution(Content):
    """A contributor's encrypted vector (the attachment) for one label."""

    kind: ClassVar[str] = "contribution"
    round: Round
    purpose: Annotated[str, Field(pattern="^[a-z ]{1,64}$")]
    label: Digest
    values: Annotated[int, Field(ge=1, le=10**8)]


class Open(Content):
    """The aggregator: all contributions are there, this is the hash of their sum, and these keyholders are at hand.

    The sum is fixed here, before the factors that it will be checked with, since those follow from this hash too. A
    later attempt names other keyholders and the same sum.
    """

    kind: ClassVar[str] = "open"
    round: Round
    attempt: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)]
    total: Digest
    keyholders: Names


class Check(Content):
    """A contributor signs one list of contributions a round, and the check value of its own."""

    kind: ClassVar[str] = "check"
    round: Round
    list: Digest
    value: Annotated[bytes, Field(min_length=24, max_length=24 * 8)]


class Answer(Content):
    """A keyholder's share answers and hashes (the attachment), under its content key."""

    kind: ClassVar[str] = "answer"
    round: Round
    attempt: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)]
    list: Digest


class Sum(Content):
    """The aggregator closes a round: the sum (first attachment), after all answers.

    `absent` are the contributors that signed no check value; their contributions follow as further attachments, in
    that order.
    """

    kind: ClassVar[str] = "sum"
    round: Round
    absent: Names


class Closing(Content):
    """A reader closes the study: its last V, its decisions, and the result sealed to the analyst."""

    kind: ClassVar[str] = "closing"
    last: Digest
    decisions: Digest
    outcome: Literal["result", "error"]
    sealed: Sealed


class End(Content):
    """The aggregator gives up: the deadline, or somebody's fault. `missing` names whom it waited for."""

    kind: ClassVar[str] = "end"
    words: Words
    missing: Names


KINDS: dict[str, type[Content]] = {
    content.kind: content
    for content in (
        Invitation, Approval, Refusal, Dealing, Deal, Acknowledgement, Complaint, Proposal, CohortSignature,
        Contribution, Open, Check, Answer, Sum, Closing, End,
    )
}  # fmt: skip


class Attachment(_Strict):
    """Binds a frame that travels beside the envelope."""

    sha256: Digest
    size: Annotated[int, Field(ge=0, le=MAX_ATTACHMENT)]

    @classmethod
    def of(cls, data: Buffer) -> "Attachment":
        """The binding of these bytes."""
        return cls(sha256=hashlib.sha256(data).digest(), size=len(data))

    def matches(self, data: Buffer) -> bool:
        """Whether these are the bytes."""
        return len(data) == self.size and hashlib.sha256(data).digest() == self.sha256


class Body(_Strict):
    """What is signed, whatever the kind. `previous` is the hash of the sender's last message in this study: a chain a
    sender.
    """

    version: Literal[2]
    federation: Annotated[str, Field(min_length=1, max_length=128)]
    study: Digest
    sender: Name
    previous: Digest
    kind: str
    content: dict[str, Any]
    attachments: Annotated[list[Attachment], Field(max_length=1025)]


@dataclass(frozen=True)
class Message:
    """A message whose signature has been verified, or that we signed ourselves."""

    body: Body
    content: Content
    envelope: bytes
    digest: bytes

    @property
    def sender(self) -> str:
        """Who signed it."""
        return self.body.sender

    @property
    def size(self) -> int:
        """Bytes of the envelope and its attachments."""
        return len(self.envelope) + sum(attachment.size for attachment in self.body.attachments)


C = TypeVar("C", bound=Content)


def _signed_bytes(body: bytes) -> bytes:
    return encode_parts("hefed/1 message", body)


def _digest(envelope: bytes) -> bytes:
    return tagged_hash("message", envelope)


class Signer:
    """A member's Ed25519 identity key. Deterministic: the same message signed again is the same bytes."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "Signer(...)"

    def __reduce__(self) -> str:
        raise TypeError("an identity key is not pickled")

    def sign(
        self,
        content: Content,
        *,
        federation: str,
        study: bytes,
        sender: str,
        previous: bytes,
        attachments: tuple[Buffer, ...] = (),
    ) -> Message:
        """The signed message."""
        body = Body(
            version=PROTOCOL_VERSION,
            federation=federation,
            study=study,
            sender=sender,
            previous=previous,
            kind=content.kind,
            content=content.model_dump(),
            attachments=[Attachment.of(data) for data in attachments],
        )
        encoded = codec.encode(body.model_dump())
        envelope = codec.encode([encoded, self._key.sign(_signed_bytes(encoded))])
        return Message(body, content, envelope, _digest(envelope))


def read_message(envelope: bytes, roster: Roster, sender: str | None = None) -> Message:
    """The message in these bytes; of `sender`'s, where it is known whose connection it came over. Raises EncodingError
    for its form, SignatureError for its sender, RosterError for a stranger.
    """
    value = codec.decode(envelope)
    if not (isinstance(value, list) and len(value) == 2 and all(isinstance(part, bytes) for part in value)):
        raise EncodingError("an envelope is an array of a body and a signature")
    encoded, signature = value
    plain = codec.decode(encoded)
    # The signature comes first: only a member can make us look at the rest.
    _require_signature(plain, encoded, signature, roster, sender)
    if plain.get("version") != PROTOCOL_VERSION:
        raise EncodingError(
            f"a message of {plain['sender']} in another version of the protocol than {PROTOCOL_VERSION}; "
            "install the same version of hefed everywhere"
        )
    try:
        body = Body.model_validate(plain)
        content = KINDS[body.kind].model_validate(body.content)
    except KeyError:
        raise EncodingError(
            f"a message of {plain['sender']} of a kind that this version of the protocol does not know"
        ) from None
    except ValidationError as error:
        raise EncodingError(f"a message of {plain['sender']} that does not have its form ({_faults(error)})") from None
    return Message(body, content, envelope, _digest(envelope))


def _faults(error: ValidationError) -> str:
    if error.error_count() > _MOST_FAULTS:  # to list them would take longer than anything else about a message
        return f"{error.error_count()} faults"
    faults = error.errors(include_url=False, include_context=False, include_input=False)[:3]
    return "; ".join(f"{quoted('.'.join(map(str, fault['loc'])))}: {fault['msg']}" for fault in faults)


def _require_signature(plain: Any, encoded: bytes, signature: bytes, roster: Roster, over: str | None) -> None:
    sender, federation = (plain.get("sender"), plain.get("federation")) if isinstance(plain, dict) else (None, None)
    if not isinstance(sender, str) or not isinstance(federation, str):
        raise EncodingError("a message that names no sender or no federation")
    if over not in (None, sender):
        raise SignatureError(f"{over} sent a message of {sender}")
    if federation != roster.federation:
        raise SignatureError(f"a message of another federation arrived in {roster.federation}")
    key = Ed25519PublicKey.from_public_bytes(roster.member(sender).identity)
    try:
        key.verify(signature, _signed_bytes(encoded))
    except InvalidSignature:
        raise SignatureError(f"a message that says it is {sender}'s does not carry {sender}'s signature") from None


def study_hash(invitation: Invitation, analyst: str) -> bytes:
    """32 bytes that stand for the study: everything the regions approve."""
    return tagged_hash("study", analyst, codec.encode(invitation.model_dump()))
