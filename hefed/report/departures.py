"""What a message says and who can read it, in words for somebody who answers for data protection and knows no protocol.

Relies on the kinds of `protocol.messages`. Words of others are cut and made printable; nothing that a message holds
sealed or encrypted is shown, only how much of it there is.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hefed.protocol import known_answer
from hefed.protocol import messages as m
from hefed.wording import counted


@dataclass(frozen=True)
class Reading:
    """What a message says (`what`), and for whom it is (`to`) beside the aggregator, which has every message.

    `sealed_to` are the only ones who can read what is sealed in it; empty when nothing is.
    """

    what: str
    to: str
    sealed_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Around:
    """Who is who in the study that a message belongs to; None or empty when that is not known here."""

    aggregator: str
    analyst: str | None
    readers: tuple[str, ...]


def read(content: m.Content | None, around: Around) -> Reading:
    """A message in words; None is one that cannot be read."""
    everybody = "all members of the study"
    match content:
        case m.Approval():
            return Reading(_approval(content), everybody)
        case m.Refusal(words=words):
            return Reading(f"refusal: {m.printable(words)}", everybody)
        case m.Deal(sealed=sealed):
            what = f"a key of its own for this study, in shares to {counted(len(sealed), 'keyholder')}"
            return _sealed(what, "keyholders", sealed)
        case m.Acknowledgement(content_keys=keys):
            return _sealed("its shares of the keys are right; a key for its later share answers", "readers", keys)
        case m.Complaint(dealer=dealer, words=words):
            return Reading(f"complaint about the shares of {dealer}: {m.printable(words)}", everybody)
        case m.CohortSignature():
            return Reading("signature under the list of those who take part", everybody)
        case m.Contribution():
            return Reading(_contribution(content), f"{around.aggregator}, to be added; opened in the sum only")
        case m.Check(round=number):
            return Reading(f"signature under the list of contributions to round {number}, and a check value", everybody)
        case m.Answer(round=number, attempt=attempt):
            again = f", attempt {attempt}" if attempt > 1 else ""
            return _sealed(f"share answers for the sum of round {number}{again}", "readers", around.readers)
        case m.Closing(outcome=outcome):
            found = "the result" if outcome == "result" else "that there is no result, and why"
            analyst = around.analyst or "the analyst"
            return Reading(found, f"sealed to {analyst}, who asked for the study", (analyst,))
    return _of_the_aggregator(content)


def _of_the_aggregator(content: m.Content | None) -> Reading:
    everybody = "all members of the study"
    match content:
        case m.Dealing(keyholders=keyholders):
            return Reading(f"asks to deal keys to {', '.join(keyholders)}", everybody)
        case m.Proposal():
            return Reading("proposes who takes part", everybody)
        case m.Open(round=number, keyholders=keyholders):
            return Reading(f"asks {', '.join(keyholders)} to open the sum of round {number}", everybody)
        case m.Sum(round=number):
            return Reading(f"the encrypted sum of round {number}", "the readers of the study")
        case m.End(words=words):
            return Reading(f"ends the study: {m.printable(words)}", everybody)
    return Reading("a message that this version of hefed cannot read", "unknown")


def _approval(content: m.Approval) -> str:
    parts = ["approval: takes part"]
    if content.commitment is not None:
        parts.append("a salted fingerprint of its table")
    if content.dealing_keys or content.reading_key:
        parts.append("public keys to seal to it with")
    return "; ".join(parts)


def _contribution(content: m.Contribution) -> str:
    what = f"contribution to round {content.round} ({content.purpose}): {counted(content.values, 'encrypted number')}"
    return what + (", none from a patient" if content.purpose == known_answer.PURPOSE else "")


def _sealed(what: str, role: str, names: Iterable[str]) -> Reading:
    readers = tuple(sorted(names))
    return Reading(what, f"sealed to the {role} {', '.join(readers)}", readers)
