"""The table of a study: its phases, and who may send what in them. `board` applies it; diagrams are drawn from it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Phase(StrEnum):
    """Where a study stands."""

    INVITATION = "invitation"
    APPROVAL = "approval"
    DEALING = "dealing"
    ACKNOWLEDGEMENT = "acknowledgement"
    COHORT = "cohort"
    CONTRIBUTION = "contribution"
    OPENING = "opening"
    ENDED = "ended"


Party = Literal["analyst", "aggregator", "member", "contributor", "keyholder", "reader"]
RUNNING = tuple(phase for phase in Phase if phase not in (Phase.INVITATION, Phase.ENDED))
DEALT = RUNNING[RUNNING.index(Phase.ACKNOWLEDGEMENT) :]
"""Those in which every contributor has dealt."""


@dataclass(frozen=True)
class Rule:
    """One line of the table: who may send a kind of message, in which phases, and the phase that follows once
    `complete`.

    `late` messages are also taken, without effect, in the phases after: their sender was slow, and its next message
    follows on them.
    """

    kind: str
    sender: Party
    phases: tuple[Phase, ...]
    then: Phase | None = None
    late: bool = False


P = Phase
RULES: dict[str, Rule] = {
    rule.kind: rule
    for rule in (
        #     kind             sender         in                           then, once complete         late
        Rule("invitation",      "analyst",     (P.INVITATION,),             P.APPROVAL),
        Rule("approval",        "member",      (P.APPROVAL,),               None,                       late=True),
        Rule("dealing",         "aggregator",  (P.APPROVAL,),               P.DEALING),
        Rule("deal",            "contributor", (P.DEALING,),                P.ACKNOWLEDGEMENT),
        Rule("acknowledgement", "keyholder",   (P.ACKNOWLEDGEMENT,),        None,                       late=True),
        Rule("complaint",       "keyholder",   DEALT,                       P.ENDED),
        Rule("proposal",        "aggregator",  (P.ACKNOWLEDGEMENT,),        P.COHORT),
        Rule("cohort",          "contributor", (P.COHORT,),                 P.CONTRIBUTION),
        Rule("contribution",    "contributor", (P.CONTRIBUTION,)),
        Rule("open",            "aggregator",  (P.CONTRIBUTION, P.OPENING), P.OPENING),
        Rule("check",           "contributor", (P.OPENING,),                None,                       late=True),
        Rule("answer",          "keyholder",   (P.OPENING,),                None,                       late=True),
        Rule("sum",             "aggregator",  (P.OPENING,),                P.CONTRIBUTION),
        Rule("closing",         "reader",      (P.CONTRIBUTION,),           P.ENDED),
        Rule("refusal",         "member",      RUNNING,                     P.ENDED),
        Rule("end",             "aggregator",  RUNNING,                     P.ENDED),
    )
}  # fmt: skip
"""Every transition of a study. `deal`, `cohort` and `closing` are complete when all of their senders have sent; the
others at once.
"""
