"""What can go wrong in the protocol, as types.

`ProtocolError` is somebody else's fault: a message that must not be there, or says something it must not.
`StudyEnded` is nobody's fault in particular: the study is over and says why. Words in these errors name members and
messages, never a value of a patient.
"""


class ProtocolError(Exception):
    """A message breaks the protocol; the sentence says whose message, what is wrong with it, and what follows."""


class EncodingError(ProtocolError):
    """Bytes that are not deterministic CBOR of plain values within the bounds."""


class SignatureError(ProtocolError):
    """A message whose signature, sender or chain does not hold."""


class SealError(ProtocolError):
    """Something sealed that does not open for this recipient."""


class RosterError(ProtocolError):
    """A roster that contradicts itself, or a name that is not on it."""


class EquivocationError(ProtocolError):
    """Members were shown different things, or one member signed two: whoever relays or signs is at fault."""


class UnfitError(ProtocolError):
    """A message that no record of its study could hold: its signer's fault alone."""


class RepeatedError(EquivocationError):
    """A member signed two messages where one has a place."""


class MisplacedError(EquivocationError):
    """A message where it has no place: out of order, again, or after one that is missing. Whoever orders the record is
    at fault, or whoever shows it.
    """


class TranscriptError(ProtocolError):
    """A transcript that is not as its party signed it."""
