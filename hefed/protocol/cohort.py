"""The cohort: what every contributor signs, once a study, before its first round."""

from dataclasses import asdict, dataclass
from functools import cached_property

from hefed.crypto.hashing import tagged_hash
from hefed.protocol import codec


@dataclass(frozen=True)
class Cohort:
    """Everything that the sums of a study depend on, by hash where it is long.

    An approval carries a member's keys for this study, so the hash of the approval fixes them. A contributor signs
    one cohort a study and a keyholder serves one, so no honest region is ever in two, and nobody can be taken out by
    a retry.
    """

    federation: str
    roster: bytes
    study: bytes
    profile: str
    threshold: int
    contributors: tuple[str, ...]
    keyholders: tuple[str, ...]
    dealt_keyholders: tuple[str, ...]
    readers: tuple[str, ...]
    approvals: tuple[tuple[str, bytes], ...]
    deals: tuple[tuple[str, bytes], ...]
    acknowledgements: tuple[tuple[str, bytes], ...]

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that stand for this cohort; part of every label."""
        fields = asdict(self)
        plain = {key: _plain(value) for key, value in fields.items()}
        return tagged_hash("cohort", codec.encode(plain))


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
