"""Executable reference of the record of a study, until it ends: what `protocols/messages.md`, `invitation.md`,
`dealing.md`, `round.md` and `closing.md` say that everybody refuses, and whom `transcript.md` says that this names.

NOT FOR PRODUCTION, for the reasons that `encryption.py` gives. Relies on the rest of the reference and on the standard
library; must not import hefed.

Not looked at here: whether bodies have the form of `messages.cddl` and definitions that of a study, which are
pre-conditions, and what is sealed.
"""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, NoReturn

from protocols.reference import cbor
from protocols.reference.encryption import add, check_value, unpack, verify_checks
from protocols.reference.envelopes import BreachError, Message, read
from protocols.reference.keys import Label, subsets
from protocols.reference.primitives import COMPACT, PRECISE, H, Profile, RefusedError

PROFILES = {"compact": COMPACT, "precise": PRECISE}
RUNNING = ("approval", "dealing", "acknowledgement", "cohort", "contribution", "opening")
PHASES = ("invitation", *RUNNING, "ended")
DEALT = ("acknowledgement", "cohort", "contribution", "opening")
# Who may send a kind, in which phases; and whether it is also taken, without effect, after them.
PLACES = {
    "invitation": ("analyst", ("invitation",), False),
    "approval": ("member", ("approval",), True),
    "dealing": ("aggregator", ("approval",), False),
    "deal": ("contributor", ("dealing",), False),
    "acknowledgement": ("keyholder", ("acknowledgement",), True),
    "complaint": ("keyholder", DEALT, False),
    "proposal": ("aggregator", ("acknowledgement",), False),
    "cohort": ("contributor", ("cohort",), False),
    "contribution": ("contributor", ("contribution",), False),
    "open": ("aggregator", ("contribution", "opening"), False),
    "check": ("contributor", ("opening",), True),
    "answer": ("keyholder", ("opening",), True),
    "sum": ("aggregator", ("opening",), False),
    "closing": ("reader", ("contribution",), False),
    "refusal": ("member", RUNNING, False),
    "end": ("aggregator", RUNNING, False),
}


@dataclass
class Round:
    number: int
    contributions: dict[str, Message] = field(default_factory=dict)
    opens: list[Message] = field(default_factory=list)
    checks: dict[str, bytes] = field(default_factory=dict)
    answers: dict[tuple[str, int], Message] = field(default_factory=dict)
    has_checked: set[str] = field(default_factory=set)
    has_answered: set[tuple[str, int]] = field(default_factory=set)
    sum: Message | None = None

    @property
    def first(self) -> dict[str, Any]:
        """What all contributions of the round say."""
        return next(iter(self.contributions.values())).content

    @property
    def list_digest(self) -> bytes:
        parts: list[bytes | str] = []
        for name, message in sorted(self.contributions.items()):
            parts += [name, message.bound[0]["sha256"]]
        return H("contributions", self.first["label"], self.opens[0].content["total"], *parts)


class Record:
    """The record of a study as `party` shows it. `take` takes the next message, or raises `BreachError`."""

    def __init__(self, party: str, roster: bytes, study: bytes) -> None:
        self.party, self.roster, self.study = party, roster, study
        self.listed = cbor.decode(roster)
        self.members = {member["name"]: member for member in self.listed["members"]}
        self.aggregator = next(name for name, member in self.members.items() if "aggregator" in member["roles"])
        self.phase = "invitation"
        self.last: dict[str, bytes] = {}
        self.definition: dict[str, Any] = {}
        self.said: dict[str, dict[str, Message]] = {kind: {} for kind in ("approval", "deal", "acknowledgement")}
        self.dealing: dict[str, Any] = {}
        self.proposal: dict[str, Any] = {}
        self.signed: set[str] = set()
        self.rounds: list[Round] = []
        self.labels: set[bytes] = set()
        self.closings: dict[str, dict[str, Any]] = {}

    # --- Whom a breach names ----------------------------------------------------------------------

    def unfit(self, message: Message, reason: str) -> NoReturn:
        """No record could hold that message: its signer."""
        raise BreachError("message", (message.sender,), reason)

    def misplaced(self, reason: str) -> NoReturn:
        """It has no place where it stands: who ordered the record, or who shows it."""
        raise BreachError("message", (self.aggregator, self.party), reason)

    def contrary(self, message: Message, reason: str) -> NoReturn:
        """It does not fit the messages before it: its signer, or those who ordered and show the record."""
        raise BreachError("message", (message.sender, self.aggregator, self.party), reason)

    # --- The next message -------------------------------------------------------------------------

    def take(self, envelope: bytes, attachments: list[bytes]) -> None:
        message = read(self.party, self.listed, envelope, attachments)
        who, phases, late = PLACES[message.kind]
        if message.study != self.study:
            raise BreachError("message", (self.party,), "of another study")
        if message.kind == "invitation" and message.content["roster"] != H("roster", self.roster):
            raise BreachError("message", (self.party,), "made under another roster")
        if message.previous != self.last.get(message.sender, bytes(32)):
            self.misplaced("it does not follow on its sender's last message")
        if self.phase == "invitation" and message.kind != "invitation":
            self.misplaced("it comes before the invitation")
        if message.sender not in self.having(who):
            self.unfit(message, f"only a {who} sends that")
        if self.phase not in phases and not (late and self.has_passed(message.kind, phases)):
            self.misplaced(f"it has no place in the phase {self.phase}")
        getattr(self, f"take_{message.kind}")(message)
        self.last[message.sender] = message.digest

    def having(self, who: str) -> set[str]:
        if who in ("analyst", "aggregator"):
            return {name for name, member in self.members.items() if who in member["roles"]}
        if who == "member":
            return self.contributors | self.keyholders | self.readers
        return {"contributor": self.contributors, "keyholder": self.keyholders, "reader": self.readers}[who]

    def has_passed(self, kind: str, phases: tuple[str, ...]) -> bool:
        later = PHASES.index(self.phase) > PHASES.index(phases[-1])
        return self.phase != "ended" and (later or kind in ("check", "answer"))

    # --- What follows from the record -------------------------------------------------------------

    @property
    def contributors(self) -> set[str]:
        return set(self.definition["contributors"])

    @property
    def keyholders(self) -> set[str]:
        return set(self.definition["security"]["keyholders"])

    @property
    def readers(self) -> set[str]:
        return set(self.definition["security"]["readers"])

    @property
    def threshold(self) -> int:
        threshold: int = self.definition["security"]["threshold"]
        return threshold

    @property
    def profile(self) -> Profile:
        return PROFILES[self.definition["security"]["profile"]]

    @property
    def dealt(self) -> list[str]:
        """The keyholders, in the order of their numbers."""
        return list(self.dealing["keyholders"])

    @property
    def cohort(self) -> bytes:
        def digests(kind: str, names: Any) -> list[list[Any]]:
            return [[name, self.said[kind][name].digest] for name in sorted(names)]

        return H(
            "cohort",
            cbor.encode(
                {
                    "federation": self.listed["federation"],
                    "roster": H("roster", self.roster),
                    "study": self.study,
                    "profile": self.profile.identifier,
                    "threshold": self.threshold,
                    "contributors": sorted(self.contributors),
                    "keyholders": sorted(self.proposal["acknowledgements"]),
                    "dealt_keyholders": self.dealt,
                    "readers": sorted(self.readers),
                    "approvals": digests("approval", self.dealing["approvals"]),
                    "deals": digests("deal", self.contributors),
                    "acknowledgements": digests("acknowledgement", self.proposal["acknowledgements"]),
                }
            ),
        )

    @property
    def known_answer_label(self) -> Label:
        """The label of round 0."""
        exponents = tuple((-20, 0, 20)[j % 3] for j in range(64))
        names = (self.listed["federation"], self.study, self.cohort)
        return Label(*names, 0, "known answer", self.profile, len(self.contributors), exponents, bytes(32))

    # --- One method a kind ------------------------------------------------------------------------

    def take_invitation(self, message: Message) -> None:
        if H("study", message.sender, cbor.encode(message.content)) != self.study:
            self.contrary(message, "it is not the study that it is sent as")
        self.definition = message.content["definition"]
        least = self.listed["least_threshold"], self.listed["least_min_contributors"]
        asked = self.threshold, self.definition["security"]["min_contributors"]
        roles = (("contributor", self.contributors), ("keyholder", self.keyholders), ("reader", self.readers))
        if any(role not in self.members[name]["roles"] for role, names in roles for name in names):
            self.contrary(message, "a member in a role that the roster does not give it")
        if asked[0] < least[0] or asked[1] < least[1]:
            self.contrary(message, "it goes below what the roster allows")
        self.phase = "approval"

    def take_approval(self, message: Message) -> None:
        name, content = message.sender, message.content
        self.once(message)
        if (
            (content["commitment"] is not None) != (name in self.contributors)
            or set(content["dealing_keys"]) != (self.contributors if name in self.keyholders else set())
            or (content["reading_key"] is not None) != (name in self.readers)
        ):
            self.unfit(message, "an approval without what its sender's roles need, or with more")
        self.said["approval"][name] = message

    def take_dealing(self, message: Message) -> None:
        names = message.content["keyholders"]
        needed = self.contributors | self.readers | set(names)
        if not self.are_known("approval", message.content["approvals"], needed):
            self.contrary(message, "it names other approvals")
        if names != sorted(set(names) & self.keyholders) or len(names) < self.threshold:
            self.contrary(message, "keyholders that are not the study's, or too few")
        self.dealing, self.phase = message.content, "dealing"

    def take_deal(self, message: Message) -> None:
        self.once(message)
        sets = math.comb(len(self.dealt), self.threshold - 1)
        if len(message.content["hashes"]) != sets or set(message.content["sealed"]) != set(self.dealt):
            self.contrary(message, "it is not a deal for these keyholders")
        self.said["deal"][message.sender] = message
        if set(self.said["deal"]) == self.contributors:
            self.phase = "acknowledgement"

    def take_acknowledgement(self, message: Message) -> None:
        self.once(message)
        if message.sender not in self.dealt:
            self.contrary(message, "it was not dealt to")
        if not self.are_known("deal", message.content["deals"], self.contributors):
            self.contrary(message, "it names other deals")
        if set(message.content["content_keys"]) != self.readers:
            self.unfit(message, "not one content key for each reader")
        self.said["acknowledgement"][message.sender] = message

    def take_proposal(self, message: Message) -> None:
        named = message.content["acknowledgements"]
        if not self.are_known("acknowledgement", named, set(named)) or len(named) < self.threshold:
            self.contrary(message, "other acknowledgements, or too few")
        self.proposal, self.phase = message.content, "cohort"

    def take_cohort(self, message: Message) -> None:
        if message.sender in self.signed:
            self.unfit(message, "a second cohort")
        if message.content["cohort"] != self.cohort:
            self.contrary(message, "another cohort")
        self.signed.add(message.sender)
        if self.signed == self.contributors:
            self.begin_round()

    def begin_round(self) -> None:
        self.rounds.append(Round(len(self.rounds)))
        self.phase = "contribution"

    def take_contribution(self, message: Message) -> None:
        here, content = self.rounds[-1], message.content
        if message.sender in self.closings:
            self.contrary(message, "it has closed the study")
        if [one["size"] for one in message.bound] != [self.profile.packed_size(content["values"])]:
            self.unfit(message, "a wrong length")
        if content["round"] != here.number:
            self.contrary(message, "another round")
        if message.sender in here.contributions:
            self.unfit(message, "a second contribution")
        if here.contributions and content != here.first:
            self.contrary(message, "another label")
        if not here.contributions and content["label"] in self.labels:
            raise BreachError("label", (message.sender,), "a label is used again")
        self.labels.add(content["label"])
        try:
            unpack(self.profile, message.attachments[0], content["values"])
        except RefusedError:
            self.unfit(message, "it is not well packed")
        here.contributions[message.sender] = message

    def take_open(self, message: Message) -> None:
        here, content = self.rounds[-1], message.content
        names = content["keyholders"]
        if (content["round"], content["attempt"]) != (here.number, len(here.opens) + 1):
            self.contrary(message, "a question out of order")
        if set(here.contributions) != self.contributors:
            self.contrary(message, "not all have contributed")
        if names != sorted(set(names) & set(self.proposal["acknowledgements"])) or len(names) < self.threshold:
            self.contrary(message, "keyholders that are not in the cohort, or too few")
        if here.opens and content["total"] != here.opens[0].content["total"]:
            self.contrary(message, "another sum than that of the first attempt")
        if hashlib.sha256(self.total(here)).digest() != content["total"]:
            raise BreachError("sum", (message.sender,), "not the sum of the contributions")
        here.opens.append(message)
        self.phase = "opening"

    def total(self, here: Round) -> bytes:
        """The sum of the contributions."""
        packed = [message.attachments[0] for message in here.contributions.values()]
        return add(self.profile, packed, here.first["values"])

    def opened_round(self, message: Message) -> Round:
        number: int = message.content["round"]
        if number >= len(self.rounds) or not self.rounds[number].opens:
            self.misplaced("its round is not open yet")
        return self.rounds[number]

    def take_check(self, message: Message) -> None:
        here, value = self.opened_round(message), message.content["value"]
        if message.sender in here.has_checked:
            self.unfit(message, "a second check value")
        if message.content["list"] != here.list_digest:
            self.contrary(message, "another list of contributions")
        if len(value) != 24 * len(self.profile.primes):
            self.unfit(message, "a wrong length")
        here.has_checked.add(message.sender)
        if here.sum is not None:
            return
        packed = here.contributions[message.sender].attachments[0]
        if value != check_value(self.profile, packed, here.first["values"], here.list_digest):
            raise BreachError("check value", (message.sender,), "not that of its contribution")
        here.checks[message.sender] = value

    def take_answer(self, message: Message) -> None:
        here, attempt = self.opened_round(message), message.content["attempt"]
        if (message.sender, attempt) in here.has_answered:
            self.unfit(message, "a second answer")
        asked = attempt <= len(here.opens) and message.sender in here.opens[attempt - 1].content["keyholders"]
        if not asked or len(message.bound) != 1 or message.bound[0]["size"] > self.longest_answer(message.sender, here):
            self.contrary(message, "an answer that was not asked for, or is too long")
        if message.content["list"] != here.list_digest:
            self.contrary(message, "another list of contributions")
        here.has_answered.add((message.sender, attempt))
        if here.sum is None:
            here.answers[message.sender, attempt] = message

    def longest_answer(self, name: str, here: Round) -> int:
        number = self.dealt.index(name)
        held = sum(number not in subset for subset in subsets(len(self.dealt), self.threshold))
        values = here.first["values"]
        groups = -(-values // (8 * self.profile.ring_degree))
        return 128 + held * (self.profile.packed_size(values) + 16 * groups + 64 + 2 * (self.threshold - 1))

    def take_sum(self, message: Message) -> None:
        here, absent = self.rounds[-1], sorted(self.contributors - set(self.rounds[-1].checks))
        size = self.profile.packed_size(here.first["values"])
        sizes = [one["size"] for one in message.bound]
        if (message.content["round"], message.content["absent"]) != (here.number, absent):
            self.contrary(message, "another round, or other absent contributors")
        if sizes != [size] * (1 + len(absent)) or message.bound[0]["sha256"] != here.opens[0].content["total"]:
            self.contrary(message, "not the sum that was named")
        if message.bound[1:] != [here.contributions[name].bound[0] for name in absent]:
            self.contrary(message, "not what the absent ones signed")
        if len({name for name, _ in here.answers}) < self.threshold:
            raise BreachError("message", (message.sender, self.party), "too few have answered")
        gone = [
            check_value(self.profile, data, here.first["values"], here.list_digest) for data in message.attachments[1:]
        ]
        verify_checks(
            self.profile,
            message.attachments[0],
            here.first["values"],
            here.list_digest,
            [*here.checks.values(), *gone],
        )
        here.sum = message
        self.begin_round()

    def take_closing(self, message: Message) -> None:
        if message.sender in self.closings:
            self.unfit(message, "a second closing")
        told = {key: message.content[key] for key in ("last", "decisions", "outcome")}
        if any(told != {key: other[key] for key in told} for other in self.closings.values()):
            self.contrary(message, "other sums or decisions than the closings before it")
        self.closings[message.sender] = message.content
        if set(self.closings) == self.readers:
            self.phase = "ended"

    def take_complaint(self, message: Message) -> None:
        if message.sender not in self.dealt or message.content["dealer"] not in self.contributors:
            self.contrary(message, "a complaint about a key that was not dealt to it")
        if message.sender in self.said["acknowledgement"]:
            self.unfit(message, "a complaint about a key that it acknowledged")
        self.phase = "ended"

    def take_refusal(self, message: Message) -> None:
        self.phase = "ended"

    take_end = take_refusal

    def once(self, message: Message) -> None:
        if message.sender in self.said[message.kind]:
            self.unfit(message, f"a second {message.kind}")

    def are_known(self, kind: str, digests: dict[str, bytes], needed: set[str]) -> bool:
        """Whether these are the digests of the messages of that kind, of those who are needed."""
        known = self.said[kind]
        return set(digests) == needed and all(name in known and known[name].digest == d for name, d in digests.items())
