"""What cheats have in common: messages in another's place, vectors that were altered, and what the honest say to it."""

from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from hefed.crypto import masking, packing, ring
from hefed.crypto.contribution import RunningSum
from hefed.crypto.label import Label
from hefed.crypto.opening import Opening
from hefed.crypto.parameters import Precision, Profile
from hefed.protocol import messages as m
from hefed.protocol.coordinator import Entry
from hefed.protocol.ports import Outgoing
from hefed.study import Study
from tests.protocol.federation import EXAMPLES, Federation

Frames = tuple[bytes, tuple[bytes, ...]]
NOTHING = Fraction(1, 40)
"""A variance with which samples are 0, but for one in 2^28."""
TABLES = EXAMPLES / "heart-failure"


def refusals(federation: Federation) -> dict[str, str]:
    """Who refused, and why, whether or not the aggregator passed it on."""
    found = {}
    for name, party in federation.parties.items():
        refusal = party.sent.get("refusal")
        if refusal is not None:
            content = refusal.message.content
            assert isinstance(content, m.Refusal)
            found[name] = content.words
    return found


def words(federation: Federation) -> str:
    """How the study ended, in words."""
    assert federation.board.outcome is not None
    return federation.board.outcome.words


def opened(federation: Federation) -> dict[str, int]:
    """How many rounds each reader opened."""
    machines = {name: party.machine for name, party in federation.parties.items()}
    return {name: machine.reader.rounds_opened for name, machine in machines.items() if machine.reader}


def signed(
    federation: Federation, sender: str, content: m.Content, previous: bytes, attachments: tuple[bytes, ...] = ()
) -> m.Message:
    """A message as only its sender can make it."""
    return federation.signers[sender].sign(
        content,
        federation=federation.roster.federation,
        study=federation.submission.study,
        sender=sender,
        previous=previous,
        attachments=attachments,
    )


def resign(federation: Federation, entry: Entry, content: m.Content, attachments: tuple[bytes, ...] = ()) -> Frames:
    """The aggregator signs something else in the place of one of its messages."""
    message = signed(federation, "aggregator", content, entry.message.body.previous, attachments)
    return message.envelope, attachments


def resigned(
    federation: Federation, outgoing: Outgoing, content: m.Content, attachments: tuple[bytes, ...] = ()
) -> Outgoing:
    """A member signs something else in the place of one of its messages."""
    body = outgoing.message.body
    return Outgoing(outgoing.key, signed(federation, body.sender, content, body.previous, attachments), attachments)


def tamper(federation: Federation, change: Callable[[str, Entry, tuple[bytes, ...]], Frames | None]) -> None:
    """Changes what is delivered to members; `change` returns None to leave a message as it is."""

    def deliver(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames:
        return change(name, entry, attachments) or (entry.message.envelope, attachments)

    federation.deliver = deliver


def replace(federation: Federation, sender: str, changes: Mapping[str, Callable[[Outgoing], Outgoing]]) -> None:
    """The sender's messages under those keys are others; nothing of its own machine notices."""

    def before(name: str, outgoing: Outgoing) -> Outgoing:
        if name == sender and outgoing.key in changes:
            changed = changes[outgoing.key](outgoing)
            federation.parties[name].sent[outgoing.key] = changed
            federation.parties[name].machine._last_digest = changed.message.digest
            return changed
        return outgoing

    federation.before_accept = before


def is_round(entry: Entry, kind: str, number: int) -> bool:
    """Whether this is the message of that kind and round."""
    content: Any = entry.message.content
    return content.kind == kind and content.round == number


def flipped(packed: bytes) -> bytes:
    """Another vector of the same form."""
    return bytes([packed[0] ^ 1]) + packed[1:]


def shifted(profile: Profile, packed: bytes, values: int, amount: int, place: int = 0) -> bytes:
    """A packed vector with a constant added to one coefficient."""
    residues = packing.unpack(profile, packed, values).astype(object)
    residues[:, place] = [(r + amount) % p for r, p in zip(residues[:, place], profile.primes, strict=True)]
    return packing.pack(profile, residues.astype(np.uint64))


def opened_with(precision: Precision, label: Label, packed: bytes, key: Any) -> np.ndarray[Any, Any]:
    """The values behind a contribution or a sum, for who has the whole key that it is under: its residues in transform
    form. Raises OpeningError when they are none.
    """
    secret, running = ring.RingKey(label.profile, key), RunningSum(label.profile, label)
    running.add(packed)
    running.add(
        masking.masked(label, lambda first: masking.PublicProducts(label, secret, first), bytes(32), NOTHING, None)
    )
    return Opening(precision, label).open_again(running.packed()).decode(label, precision)


def contribution(federation: Federation, sender: str, number: int) -> bytes:
    """What a contributor sent in a round: the aggregator has it."""
    return federation.parties[sender].sent[f"contribution {number}"].attachments[0]


def wider_study(
    folder: Path, *, contributors: Collection[str], others: Collection[str] = (), threshold: int = 2
) -> Study:
    """As `small_study`, with these regions; `skane` has the table of kronoberg, the others here have none."""
    tables = {name: TABLES / f"{name if name != 'skane' else 'kronoberg'}.csv" for name in contributors}
    regions = [f'[regions.{name}]\ndata = "{table}"' for name, table in tables.items()]
    path = folder / f"{len(contributors)} regions.toml"
    path.write_text(
        "\n".join(
            [
                '[study]\nid = "wider"\npurpose = "A test"',
                '[model]\nkind = "logistic"\noutcome = "DEATH_EVENT"\ncovariates = ["age"]',
                f"[security]\nthreshold = {threshold}\nmin_contributors = {threshold + 1}",
                'engine = "vectorised"',
                *regions,
                *(f"[regions.{name}]" for name in others),
            ]
        )
    )
    return Study.load(path)
