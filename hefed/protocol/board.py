"""A study as everybody can see it: the public record of its messages, and the one table of what may come next.

The aggregator relays every message to every member in one order. `Board` is what follows from that sequence alone;
the aggregator, the regions, the analyst and an auditor all keep one, so all of them refuse the same messages. What a
member does about it is in `member`, what the aggregator does in `coordinator`. A board holds nothing secret and never
looks at a clock.

Nobody has to trust the relay: a member that was shown another sequence computes another cohort, another list or
another label, and the study stops.
"""

from functools import cached_property

from hefed.crypto.keys import subsets
from hefed.crypto.label import SignedUse
from hefed.crypto.parameters import PROFILES, Precision, Profile
from hefed.protocol import messages as m
from hefed.protocol.answers import most_bytes
from hefed.protocol.cohort import Cohort
from hefed.protocol.errors import (
    EquivocationError,
    MisplacedError,
    ProtocolError,
    RepeatedError,
    SealError,
    SignatureError,
    UnfitError,
)
from hefed.protocol.messages import Message
from hefed.protocol.record import Outcome, RoundRecord
from hefed.protocol.roster import NEWEST_FIRST, Roster
from hefed.protocol.rules import RULES, Party, Phase, Rule
from hefed.protocol.sealing import public_key
from hefed.study import Study, StudyError


class Board:
    """The public record of one study. `post` takes the next message or raises; nothing changes when it raises."""

    def __init__(self, roster: Roster, study_digest: bytes) -> None:
        self.roster = roster
        self.study_digest = study_digest
        self.phase = Phase.INVITATION
        self.invitation: m.Invitation
        self.study: Study
        self.analyst: str
        self.approvals: dict[str, Message] = {}
        self.dealing: m.Dealing | None = None
        self.deals: dict[str, Message] = {}
        self.acknowledgements: dict[str, Message] = {}
        self.proposal: m.Proposal | None = None
        self.cohort_signatures: set[str] = set()
        self.rounds: list[RoundRecord] = []
        self.closings: dict[str, m.Closing] = {}
        self.outcome: Outcome | None = None
        self.last_digest: dict[str, bytes] = {}

    # --- what follows from the record --------------------------------------------------------------------------------

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Everybody with a part in the study but the analyst and the aggregator, sorted."""
        return tuple(sorted({*self.study.contributors, *self.study.keyholders, *self.study.readers}))

    @property
    def profile(self) -> Profile:
        """The parameter set of the study."""
        return PROFILES[self.study.security.profile]

    @property
    def threshold(self) -> int:
        """How many keyholders must act together."""
        return self.study.security.threshold

    @property
    def dealt_keyholders(self) -> tuple[str, ...]:
        """The keyholders that seeds were dealt to, in the order of their numbers."""
        if self.dealing is None:
            raise ProtocolError("nothing has been dealt yet")
        return tuple(self.dealing.keyholders)

    @cached_property
    def subsets(self) -> tuple[tuple[int, ...], ...]:
        """The sets T, one seed each."""
        return subsets(len(self.dealt_keyholders), self.threshold)

    @cached_property
    def precision(self) -> Precision:
        """Scale and noise of this study's sums."""
        return Precision(self.profile, len(self.dealt_keyholders), self.threshold, len(self.study.contributors))

    @property
    def cohort_keyholders(self) -> tuple[str, ...]:
        """The keyholders that acknowledged every deal."""
        if self.proposal is None:
            raise ProtocolError("no cohort has been proposed yet")
        return tuple(sorted(self.proposal.acknowledgements))

    @cached_property
    def cohort(self) -> Cohort:
        """What all contributors sign before the first round. Defined once it has been proposed."""
        if self.dealing is None or self.proposal is None:
            raise ProtocolError("no cohort has been proposed yet")
        return Cohort(
            federation=self.roster.federation,
            roster=self.roster.digest,
            study=self.study_digest,
            profile=self.profile.identifier,
            threshold=self.threshold,
            contributors=tuple(sorted(self.study.contributors)),
            keyholders=self.cohort_keyholders,
            dealt_keyholders=self.dealt_keyholders,
            readers=tuple(sorted(self.study.readers)),
            approvals=tuple(sorted((name, self.approvals[name].digest) for name in self.dealing.approvals)),
            deals=tuple(sorted((name, message.digest) for name, message in self.deals.items())),
            acknowledgements=tuple(sorted(self.proposal.acknowledgements.items())),
        )

    @property
    def round(self) -> RoundRecord:
        """The round under way."""
        return self.rounds[-1]

    def use(self, content: m.Contribution) -> SignedUse:
        """What a contribution is for, as those know it who cannot compute its label."""
        return SignedUse(
            study=self.study_digest,
            cohort=self.cohort.digest,
            profile=self.profile,
            contributors=len(self.study.contributors),
            values=content.values,
            digest=content.label,
        )

    def approval(self, name: str) -> m.Approval:
        """What a member said when it approved."""
        content = self.approvals[name].content
        assert isinstance(content, m.Approval)  # noqa: S101
        return content

    def deal(self, name: str) -> m.Deal:
        """What a contributor dealt."""
        content = self.deals[name].content
        assert isinstance(content, m.Deal)  # noqa: S101
        return content

    def acknowledgement(self, name: str) -> m.Acknowledgement:
        """What a keyholder acknowledged."""
        content = self.acknowledgements[name].content
        assert isinstance(content, m.Acknowledgement)  # noqa: S101
        return content

    def covers(self, keyholders: set[str]) -> bool:
        """Whether these keyholders hold every share: any `threshold` of those dealt to do."""
        return len(keyholders & set(self.dealt_keyholders)) >= self.threshold

    def missing(self) -> tuple[str, ...]:
        """Whom the study waits for, as far as the record tells."""
        match self.phase:
            case Phase.APPROVAL:
                waiting = set(self.members) - set(self.approvals)
            case Phase.DEALING:
                waiting = set(self.study.contributors) - set(self.deals)
            case Phase.ACKNOWLEDGEMENT:
                waiting = set(self.dealt_keyholders) - set(self.acknowledgements)
            case Phase.COHORT:
                waiting = set(self.study.contributors) - self.cohort_signatures
            case Phase.CONTRIBUTION if self.closings:
                waiting = set(self.study.readers) - set(self.closings)
            case Phase.CONTRIBUTION:
                waiting = set(self.study.contributors) - set(self.round.contributions)
            case Phase.OPENING:
                asked = self.round.opens[-1]
                waiting = set(asked.keyholders) - self.answered(asked.attempt)
                waiting |= set(self.study.contributors) - set(self.round.checks)
            case _:
                return ()
        return tuple(sorted(waiting))

    def answered(self, attempt: int) -> set[str]:
        """The keyholders that answered this attempt of the round under way."""
        return {name for name, attempts in self.round.answers.items() if attempt in attempts}

    def keeps_attachments(self, message: Message) -> bool:
        """Whether a reader keeps what is bound to a message that is about to be posted: to the sum that is waited for,
        or to an answer before it. What shows that others were given something else, of a length that may be, counts
        too: it is evidence.
        """
        content = message.content
        if self.phase is not Phase.OPENING:
            return False
        try:
            if isinstance(content, m.Answer) and content.round == self.round.number:
                self._require_answer(message, content)
                return True
            if isinstance(content, m.Sum):
                self._require_sum(message, content)
                return True
        except ProtocolError as error:
            return isinstance(error, EquivocationError) and not isinstance(error, RepeatedError)
        return False

    # --- the next message --------------------------------------------------------------------------------------------

    def post(self, message: Message) -> None:
        """Takes the next message of the study. Raises ProtocolError (and leaves the record as it is) when it may not
        come.
        """
        body = message.body
        if body.study != self.study_digest:
            raise ProtocolError(f"a message of {body.sender} belongs to another study")
        if body.previous != self.last_digest.get(body.sender, m.ZERO_HASH):
            raise MisplacedError(
                f"a '{body.kind}' of {body.sender} does not follow on its last message: one was lost, or it signed two"
            )
        rule = RULES[body.kind]
        self._require_sender(rule, body.sender)
        if self.phase not in rule.phases and not (rule.late and self._is_past(rule)):
            raise MisplacedError(f"'{body.kind}' of {body.sender} came in phase '{self.phase}', where it has no place")
        complete = getattr(self, "_on_" + body.kind)(message, message.content)
        self.last_digest[body.sender] = message.digest
        if self.phase in rule.phases and complete and rule.then is not None:
            self._enter(rule.then)
        if self.rounds and self.phase is not Phase.ENDED:
            self.round.bytes_sent += message.size

    def _enter(self, phase: Phase) -> None:
        if phase is Phase.CONTRIBUTION:
            self.rounds.append(RoundRecord(len(self.rounds)))
        self.phase = phase

    def _is_past(self, rule: Rule) -> bool:
        order = list(Phase)
        return self.phase is not Phase.ENDED and (
            order.index(self.phase) > order.index(rule.phases[-1]) or rule.kind in ("check", "answer")
        )

    def _parties(self, party: Party) -> tuple[str, ...]:
        if party == "analyst" or party == "aggregator":
            return tuple(member.name for member in self.roster.having(party))
        if party == "member":
            return self.members
        study = self.study
        return {"contributor": study.contributors, "keyholder": study.keyholders, "reader": study.readers}[party]

    def _require_sender(self, rule: Rule, sender: str) -> None:
        if rule.kind != "invitation" and self.phase is Phase.INVITATION:
            raise MisplacedError(f"'{rule.kind}' of {sender} came before the study's invitation")
        if sender not in self._parties(rule.sender):
            raise SignatureError(f"{sender} sent a '{rule.kind}', which only a study's {rule.sender} may")

    # --- one method a kind; each returns whether the phase is complete -----------------------------------------------

    def _on_invitation(self, message: Message, content: m.Invitation) -> bool:
        if m.study_hash(content, message.sender) != self.study_digest:
            raise ProtocolError("the invitation is not the study that it is sent as")
        if content.roster != self.roster.digest:
            raise ProtocolError(
                f"the study was made for another version of the roster of {self.roster.federation} than version "
                f"{self.roster.version}; {NEWEST_FIRST}"
            )
        try:
            study = Study.from_public(content.definition)
        except StudyError as error:
            raise ProtocolError(str(error)) from None
        for role, names in (
            ("contributor", study.contributors),
            ("keyholder", study.keyholders),
            ("reader", study.readers),
        ):
            for name in names:
                self.roster.require(name, role)  # type: ignore[arg-type]  # the three are roles
        self._require_floors(study)
        self.study, self.invitation, self.analyst = study, content, message.sender
        return True

    def _require_floors(self, study: Study) -> None:
        for what, asked, least in (
            ("threshold", study.security.threshold, self.roster.least_threshold),
            ("min_contributors", study.security.min_contributors, self.roster.least_min_contributors),
        ):
            if asked < least:
                raise ProtocolError(
                    f"the study's {what} is {asked}, but no study of {self.roster.federation} goes below {least} "
                    f"(version {self.roster.version} of its roster); raise it and submit again"
                )

    def _on_approval(self, message: Message, content: m.Approval) -> bool:
        name, study = message.sender, self.study
        self._once(name in self.approvals, message)
        complete = (
            (content.commitment is not None) == (name in study.contributors)
            and set(content.dealing_keys) == (set(study.contributors) if name in study.keyholders else set())
            and (content.reading_key is not None) == (name in study.readers)
        )
        if not complete:
            raise UnfitError(f"the approval of {name} does not have what its part in the study needs, or has more")
        for public in (*content.dealing_keys.values(), *([content.reading_key] if content.reading_key else [])):
            try:
                public_key(public)
            except SealError as error:
                raise UnfitError(f"the approval of {name} has {error}; {name} is at fault") from error
        self.approvals[name] = message
        return False

    def _on_dealing(self, message: Message, content: m.Dealing) -> bool:
        needed = {*self.study.contributors, *self.study.readers, *content.keyholders}
        self._require_digests(content.approvals, self.approvals, needed, "approvals")
        if content.keyholders != sorted(set(content.keyholders) & set(self.study.keyholders)):
            raise ProtocolError("the aggregator would have keys dealt to somebody who is no keyholder of the study")
        if len(content.keyholders) < self.threshold:
            raise ProtocolError(
                f"keys would be dealt to {len(content.keyholders)} keyholders, fewer than {self.threshold}"
            )
        self.dealing = content
        return True

    def _on_deal(self, message: Message, content: m.Deal) -> bool:
        self._once(message.sender in self.deals, message)
        if len(content.hashes) != len(self.subsets) or set(content.sealed) != set(self.dealt_keyholders):
            raise ProtocolError(f"the deal of {message.sender} is not one for these keyholders and this threshold")
        self.deals[message.sender] = message
        return set(self.deals) == set(self.study.contributors)

    def _on_acknowledgement(self, message: Message, content: m.Acknowledgement) -> bool:
        self._once(message.sender in self.acknowledgements, message)
        if message.sender not in self.dealt_keyholders:
            raise ProtocolError(f"{message.sender} acknowledges deals that it was not part of")
        self._require_digests(content.deals, self.deals, set(self.study.contributors), "deals")
        if set(content.content_keys) != set(self.study.readers):
            raise UnfitError(f"the acknowledgement of {message.sender} does not give its content key to each reader")
        self.acknowledgements[message.sender] = message
        return False

    def _on_complaint(self, message: Message, content: m.Complaint) -> bool:
        name, dealer = message.sender, content.dealer
        if name not in self.dealt_keyholders or dealer not in self.deals:
            raise ProtocolError(f"{name} complains about a key that was not dealt to it")
        if name in self.acknowledgements:
            raise UnfitError(f"{name} complains about a key that it acknowledged before; {name} is at fault")
        words = f"{name} complains about the key that {dealer} dealt: {content.words}"
        self.outcome = Outcome("complaint", name, words, about=dealer)
        return True

    def _on_proposal(self, message: Message, content: m.Proposal) -> bool:
        self._require_digests(
            content.acknowledgements, self.acknowledgements, set(content.acknowledgements), "acknowledgements"
        )
        if len(content.acknowledgements) < self.threshold:
            raise ProtocolError(f"the proposed cohort has fewer than {self.threshold} keyholders")
        self.proposal = content
        return True

    def _on_cohort(self, message: Message, content: m.CohortSignature) -> bool:
        self._once(message.sender in self.cohort_signatures, message)
        if content.cohort != self.cohort.digest:
            raise EquivocationError(
                f"{message.sender} was shown another cohort than the rest; the study must not go on"
            )
        self.cohort_signatures.add(message.sender)
        return self.cohort_signatures == set(self.study.contributors)

    def _on_contribution(self, message: Message, content: m.Contribution) -> bool:
        record = self.round
        if message.sender in self.closings:
            raise EquivocationError(f"{message.sender} closed the study and contributes all the same")
        sizes = [attachment.size for attachment in message.body.attachments]
        if sizes != [self.profile.packed_size(content.values)]:
            raise UnfitError(f"the contribution of {message.sender} is not one for round {content.round}: its length")
        if content.round != record.number:
            raise ProtocolError(f"the contribution of {message.sender} is not one for round {record.number}")
        self._once(message.sender in record.contributions, message)
        if record.contributions and content != record.first:
            other = next(iter(record.contributions))
            raise EquivocationError(
                f"{message.sender} and {other} do not contribute to the same label in round {record.number}: "
                "they were shown different sums or different messages; the study must not go on"
            )
        record.contributions[message.sender] = message
        return False

    def _on_open(self, message: Message, content: m.Open) -> bool:
        record = self.round
        if content.round != record.number or content.attempt != len(record.opens) + 1:
            raise ProtocolError("the aggregator opens a round that is not under way")
        if set(record.contributions) != set(self.study.contributors):
            raise ProtocolError("the aggregator would open a sum before all contributions are there")
        at_hand = set(content.keyholders)
        if content.keyholders != sorted(at_hand & set(self.cohort_keyholders)) or not self.covers(at_hand):
            raise ProtocolError("the aggregator would open with keyholders that are not in the cohort, or too few")
        if record.opens and content.total != record.opens[0].total:
            raise EquivocationError(
                f"the aggregator would have another sum opened in round {record.number} than it said first"
            )
        record.opens.append(content)
        record.open_digests.append(message.digest)
        return True

    def _on_check(self, message: Message, content: m.Check) -> bool:
        record = self._record(content.round, message)
        self._once(message.sender in record.has_checked, message)
        if content.list != record.list_digest:
            raise EquivocationError(
                f"{message.sender} was shown another list of contributions in round {content.round}"
            )
        if len(content.value) != 24 * len(self.profile.primes):
            raise UnfitError(f"the check value of {message.sender} has a wrong length")
        record.has_checked.add(message.sender)
        if record.sum is None:
            record.checks[message.sender] = content
        return False

    def _on_answer(self, message: Message, content: m.Answer) -> bool:
        record = self._require_answer(message, content)
        record.has_answered.add((message.sender, content.attempt))
        if record.sum is None:
            record.answers.setdefault(message.sender, set()).add(content.attempt)
        return False

    def _require_answer(self, message: Message, content: m.Answer) -> RoundRecord:
        record = self._record(content.round, message)
        self._once((message.sender, content.attempt) in record.has_answered, message)
        asked = content.attempt <= len(record.opens) and message.sender in record.opens[content.attempt - 1].keyholders
        if not asked or len(message.body.attachments) != 1:
            raise ProtocolError(f"{message.sender} answers what it was not asked")
        if message.body.attachments[0].size > self._most_of_answers(message.sender, record):
            raise ProtocolError(f"the answers of {message.sender} are longer than those for all its sets can be")
        if content.list != record.list_digest:
            raise EquivocationError(
                f"{message.sender} was shown another list of contributions in round {content.round}"
            )
        return record

    def _on_sum(self, message: Message, content: m.Sum) -> bool:
        self._require_sum(message, content)
        self.round.sum = content
        return True

    def _require_sum(self, message: Message, content: m.Sum) -> None:
        record = self.round
        absent = sorted(set(self.study.contributors) - set(record.checks))
        size = self.profile.packed_size(record.first.values)
        sizes = [attachment.size for attachment in message.body.attachments]
        if content.round != record.number or content.absent != absent or sizes != [size] * (1 + len(absent)):
            raise ProtocolError(f"the sum of round {record.number} does not come as it must")
        if message.body.attachments[0].sha256 != record.opens[0].total:
            raise EquivocationError(
                f"the sum of round {record.number} is not the one that the aggregator said it would be"
            )
        for attachment, name in zip(message.body.attachments[1:], absent, strict=True):
            if attachment != record.contributions[name].body.attachments[0]:
                raise EquivocationError(
                    f"what the aggregator passes on as {name}'s contribution is not what {name} signed"
                )

    def _on_closing(self, message: Message, content: m.Closing) -> bool:
        self._once(message.sender in self.closings, message)
        for other, closing in self.closings.items():
            if (closing.last, closing.decisions, closing.outcome) != (content.last, content.decisions, content.outcome):
                raise EquivocationError(
                    f"{message.sender} and {other} do not close the study with the same sums and decisions"
                )
        self.closings[message.sender] = content
        if set(self.closings) != set(self.study.readers):
            return False
        self.outcome = Outcome(content.outcome, message.sender, "every reader has closed the study")
        return True

    def _on_refusal(self, message: Message, content: m.Refusal) -> bool:
        self.outcome = Outcome("refusal", message.sender, content.words)
        return True

    def _on_end(self, message: Message, content: m.End) -> bool:
        self.outcome = Outcome("end", message.sender, content.words, tuple(content.missing))
        return True

    def _most_of_answers(self, name: str, record: RoundRecord) -> int:
        number = self.dealt_keyholders.index(name)
        held = sum(number not in subset for subset in self.subsets)
        return most_bytes(held, self.threshold - 1, self.profile, record.first.values)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _record(self, number: int, message: Message) -> RoundRecord:
        if number >= len(self.rounds) or not self.rounds[number].opens:
            raise MisplacedError(f"'{message.body.kind}' of {message.sender} is for a round that is not open yet")
        return self.rounds[number]

    @staticmethod
    def _once(already: bool, message: Message) -> None:
        if already:
            raise RepeatedError(f"a second '{message.body.kind}' of {message.sender}")

    @staticmethod
    def _require_digests(given: dict[str, bytes], known: dict[str, Message], needed: set[str], what: str) -> None:
        if set(given) != needed or any(name not in known or known[name].digest != d for name, d in given.items()):
            raise ProtocolError(f"the {what} that it names are not the ones that are known here")
