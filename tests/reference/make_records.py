"""Writes the vectors of records, which an auditor takes or refuses: `python -m tests.reference.make_records`.

They are made with the real code by identities that follow from their names. Keys and what is sealed have the operating
system's randomness in them, so the bytes are others each time; what an auditor has to say of them is the same.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hefed.crypto.contribution import RunningSum
from hefed.crypto.keys import ContributorKey
from hefed.protocol import codec, limits
from hefed.protocol import messages as m
from hefed.protocol.coordinator import Entry
from protocols.reference.vector_format import in_full
from tests.fuzz.make_corpus import Fixed
from tests.fuzz.world import IDENTITIES, ROSTER, file, made
from tests.protocol.conftest import study_file

FILE = Path(__file__).parents[2] / "protocols/vectors/records/round.json"
AGGREGATOR = "aggregator"

Expected = list[list[str]]
Change = tuple[str, list[Entry], str, str]
"""Name and record, and rule and party of what it breaks."""
Unread = tuple[str, list[Entry], str]
"""Name and record, and why its last message is not read: that breaks rule `transcript`, of whoever shows it."""


class Records:
    """The record of a study until its first sum, and changes of it."""

    def __init__(self) -> None:
        self.federation = Fixed(study_file(file("small.toml", b""), university=False))
        self.federation.run(until=lambda one: one.log[-1].message.body.kind == "sum")
        self.log = self.federation.log
        self.study = self.log[0].message.body.study

    def place(self, kind: str, sender: str = "") -> int:
        """Where the first message of that kind is, of a sender if one is named."""
        return next(
            i
            for i, entry in enumerate(self.log)
            if entry.message.body.kind == kind and sender in ("", entry.message.sender)
        )

    def signed(self, at: int, attachments: tuple[bytes, ...] | None = None, **changed: Any) -> Entry:
        """The message there, otherwise, as its sender can sign it."""
        message = self.log[at].message
        kept = self.log[at].attachments if attachments is None else attachments
        body = message.body
        return Entry(
            IDENTITIES[body.sender].signer.sign(
                message.content.model_copy(update=changed),
                federation=body.federation,
                study=body.study,
                sender=body.sender,
                previous=body.previous,
                attachments=kept,
            ),
            kept,
        )

    def until(self, at: int, *more: Entry) -> list[Entry]:
        """The record before a place, and these."""
        return [*self.log[:at], *more]

    def after(self, at: int, content: m.Content, sender: str = "") -> list[Entry]:
        """The record up to a place, and a message that follows on the last one of its sender, by default whose message
        is there.
        """
        there = self.log[at]
        attachments = there.attachments if content.kind == there.message.body.kind else ()
        return self.follow(self.log[: at + 1], content, sender or there.message.sender, attachments)

    def follow(
        self,
        record: Sequence[Entry],
        content: m.Content,
        sender: str,
        attachments: tuple[bytes, ...] = (),
        study: bytes | None = None,
    ) -> list[Entry]:
        """A record, and a message that follows on the last one of its sender there."""
        last = next((entry.message.digest for entry in reversed(record) if entry.message.sender == sender), m.ZERO_HASH)
        message = IDENTITIES[sender].signer.sign(
            content,
            federation=ROSTER.federation,
            study=study or self.study,
            sender=sender,
            previous=last,
            attachments=attachments,
        )
        return [*record, Entry(message, attachments)]

    def secrets(self) -> dict[str, Any]:
        """What opens the known answer: of each keyholder the private keys that deals are sealed to, by dealer, of each
        reader that which content keys are sealed to; and of each contributor its noise secret.
        """
        vaults = {name: party.vault.secrets for name, party in self.federation.parties.items()}
        return {
            "dealing_keys": {
                name: {dealer: vault[f"dealing key for {dealer}"].hex() for dealer in vaults}
                for name, vault in vaults.items()
            },
            "reading_keys": {name: vault["reading key"].hex() for name, vault in vaults.items()},
            "noise_secrets": {
                name: ContributorKey.from_bytes(vault["contributor key"]).noise_secret.reveal().hex()
                for name, vault in vaults.items()
            },
        }

    def foreign(self, at: int, **changed: Any) -> Entry:
        """The message there with what its sender would not put into it, rightly signed by its sender."""
        message, kept, most = self.log[at].message, self.log[at].attachments, 2 * limits.MAX_ENCODED
        body = codec.encode({**codec.decode(codec.decode(message.envelope)[0]), **changed}, most)
        envelope = codec.encode([body, IDENTITIES[message.sender].sign_statement("message", body)], most)
        return Entry(m.Message(message.body, message.content, envelope, b""), kept)


def flipped(data: bytes) -> bytes:
    """Another vector of the same form."""
    return bytes([data[0] ^ 1]) + data[1:]


def cases() -> tuple[Records, list[tuple[str, list[Entry], Expected, str]]]:
    """Name, record, rule and party of each finding, and why a message is not read, where that is it."""
    r = Records()
    contribution, deal, cohort = (r.place(kind, "halland") for kind in ("contribution", "deal", "cohort"))
    opening, check, total = r.place("open"), r.place("check", "kronoberg"), r.place("sum")
    honest, next_one = r.log[contribution], r.log[contribution + 1].message.sender
    (vector,) = honest.attachments

    def content(at: int) -> Any:
        return r.log[at].message.content

    contributions = [entry for entry in r.log if entry.message.body.kind == "contribution"]
    packed = {entry.message.sender: entry.attachments[0] for entry in contributions}
    hashes, value = content(deal).hashes, content(check).value

    def summed(names: Sequence[str]) -> Entry:
        board = r.federation.board
        running = RunningSum(board.profile, board.use(board.rounds[0].first))
        for name in names:
            running.add(packed[name])
        return r.signed(opening, total=m.Attachment.of(running.packed()).sha256)

    approval, acknowledgement = r.place("approval", "halland"), r.place("acknowledgement", "halland")
    dealing, proposal, answer = r.place("dealing"), r.place("proposal"), r.place("answer", "halland")
    dealt, acknowledged, proposed, contributed, asked, answered = (
        content(at) for at in (dealing, acknowledgement, proposal, contribution, opening, answer)
    )
    malformed = b"\xff" * (len(vector) - 1) + b"\0"
    slow = r.place("acknowledgement", "orebro")
    unanswered = [entry for entry in r.log if entry.message.body.kind != "answer"]
    exchanged = [*r.log[:opening], r.log[opening + 1], r.log[opening]]
    changes: list[Change] = [
        ("a malformed contribution", r.until(contribution, r.signed(contribution, (malformed,))), "message", "halland"),
        ("a contribution of a wrong length",
            r.until(contribution, r.signed(contribution, (vector + b"\0",))), "message", "halland"),
        ("a contribution for another label",
            r.until(contribution + 1, r.signed(contribution + 1, label=made("label"))),
            "message", f"{next_one} or {AGGREGATOR}"),
        ("a contribution again in the next round", [*r.log, honest], "message", AGGREGATOR),
        ("a contribution for a later round", r.until(contribution, r.signed(contribution, round=1)),
            "message", f"halland or {AGGREGATOR}"),
        ("a second contribution in a round", r.after(contribution, contributed), "message", "halland"),
        ("an approval without a reading key", r.until(approval, r.signed(approval, reading_key=None)),
            "message", "halland"),
        ("keys dealt to one keyholder", r.until(dealing, r.signed(dealing, keyholders=["halland"])),
            "message", AGGREGATOR),
        ("keys dealt on another approval",
            r.until(dealing, r.signed(dealing, approvals={**dealt.approvals, "orebro": made("another approval")})),
            "message", AGGREGATOR),
        ("a question that a region asks", r.after(opening - 1, asked, "halland"), "message", "halland"),
        ("an acknowledgement of another deal",
            r.until(acknowledgement, r.signed(acknowledgement, deals={**acknowledged.deals, "orebro": made("deal")})),
            "message", f"halland or {AGGREGATOR}"),
        ("an acknowledgement without a reader's content key",
            r.until(acknowledgement, r.signed(acknowledgement, content_keys={})), "message", "halland"),
        ("a proposal of one keyholder",
            r.until(proposal, r.signed(proposal, acknowledgements=dict([*proposed.acknowledgements.items()][:1]))),
            "message", AGGREGATOR),
        ("a second question, with another sum",
            r.after(opening, asked.model_copy(update={"attempt": 2, "total": made("another sum")})),
            "message", AGGREGATOR),
        ("an answer to a question that nobody asked", r.after(answer, answered.model_copy(update={"attempt": 2})),
            "message", f"halland or {AGGREGATOR}"),
        ("a second answer to one question", r.after(answer, answered), "message", "halland"),
        ("a check value of a wrong length", r.until(check, r.signed(check, value=value + bytes(24))),
            "message", "kronoberg"),
        ("a complaint about a key that was acknowledged",
            r.after(proposal, m.Complaint(dealer="orebro", words="wrong"), "halland"), "message", "halland"),
        ("a complaint about who dealt nothing",
            r.after(slow - 1, m.Complaint(dealer="analyst", words="wrong"), "orebro"),
            "message", f"orebro or {AGGREGATOR}"),
        ("a deal with a hash too few", r.until(deal, r.signed(deal, hashes=hashes[:-1])),
            "message", f"halland or {AGGREGATOR}"),
        ("a deal for other keyholders", r.until(deal, r.signed(deal, sealed={})),
            "message", f"halland or {AGGREGATOR}"),
        ("a second cohort", r.until(cohort, r.signed(cohort, cohort=made("another cohort"))),
            "message", f"halland or {AGGREGATOR}"),
        ("the sum without one contribution", r.until(opening, summed(["halland", "orebro"])), "sum", AGGREGATOR),
        ("the sum with one contribution twice", r.until(opening, summed([*packed, "halland"])), "sum", AGGREGATOR),
        ("a question to nobody", r.until(opening, r.signed(opening, keyholders=[])), "message", AGGREGATOR),
        ("a check value of another contribution", r.until(check, r.signed(check, value=flipped(value))),
            "check value", "kronoberg"),
        ("a check for another list", r.until(check, r.signed(check, list=made("another list"))),
            "message", f"kronoberg or {AGGREGATOR}"),
        ("a sum after no answer", unanswered, "message", AGGREGATOR),
        ("a sum that names an absent one who was there", r.until(total, r.signed(total, absent=["halland"])),
            "message", AGGREGATOR),
        ("a message left out", [entry for i, entry in enumerate(r.log) if i != deal], "message", AGGREGATOR),
        ("two messages in the other order", exchanged, "message", AGGREGATOR),
    ]  # fmt: skip
    # Orebro was slow: the proposal is without it.
    two = m.Proposal(acknowledgements=dict([*proposed.acknowledgements.items()][:2]))
    without = r.follow(r.log[:slow], two, AGGREGATOR)
    complaint = m.Complaint(dealer="halland", words="the seeds do not match their hashes")
    good: list[tuple[str, list[Entry], Expected]] = [
        ("a whole round", r.log, []),
        ("a sum without one check value", summed_without_orebro(r, vector=packed["orebro"]), []),
        ("a complaint after the proposal", r.follow(without, complaint, "orebro"), []),
        ("a check value and an answer after the sum", after_the_sum(r, packed["orebro"], "check", "answer"), []),
    ]
    late: list[Change] = [
        (f"a second {what} after the sum", after_the_sum(r, packed["orebro"], kind, kind), "message", "orebro")
        for what, kind in (("answer to one question", "answer"), ("check value", "check"))
    ]
    bad = [*changes, *late, *of_the_beginning(r), *of_the_end(r), *too_long(r)]
    return r, [
        *((name, record, findings, "") for name, record, findings in good),
        *((name, record, [[rule, party]], "") for name, record, rule, party in bad),
        *((name, record, [["transcript", AGGREGATOR]], why) for name, record, why in not_read(r)),
    ]


def of_the_beginning(r: Records) -> list[Change]:
    """Until keys are dealt."""
    approval, deal, invitation = r.place("approval", "halland"), r.place("deal", "halland"), r.log[0].message.content
    assert isinstance(invitation, m.Invitation)
    approved, dealt = r.log[approval].message.content, r.log[deal].message.content
    definition = invitation.definition
    keyholders = [*definition["security"]["keyholders"], "analyst"]
    security = {**definition["security"], "keyholders": sorted(keyholders)}
    stranger = invitation.model_copy(update={"definition": {**definition, "security": security}})
    return [
        ("an invitation under another roster", [r.signed(0, roster=made("another roster"))], "message", AGGREGATOR),
        ("an invitation to another study than it is sent as", [r.signed(0, nonce=made("another nonce"))],
            "message", f"analyst or {AGGREGATOR}"),
        ("an invitation that makes the analyst a keyholder",
            r.follow([], stranger, "analyst", study=m.study_hash(stranger, "analyst")),
            "message", f"analyst or {AGGREGATOR}"),
        ("a record without its invitation", r.log[1:], "message", AGGREGATOR),
        ("a message of another study",
            r.follow(r.log[: approval + 1], m.Refusal(words="no"), "halland", study=made("another study")),
            "message", AGGREGATOR),
        ("a second approval", r.after(approval, approved), "message", "halland"),
        ("a deal before anybody asked for it", r.after(approval, dealt, "halland"), "message", AGGREGATOR),
        ("an acknowledgement of a keyholder that was not dealt to", acknowledged_by_whom_nobody_dealt_to(r),
            "message", f"orebro or {AGGREGATOR}"),
    ]  # fmt: skip


def acknowledged_by_whom_nobody_dealt_to(r: Records) -> list[Entry]:
    """Keys are dealt to halland and kronoberg, and orebro acknowledges them."""
    two, dealing = ["halland", "kronoberg"], r.place("dealing")
    record, deals = r.until(dealing, r.signed(dealing, keyholders=two)), {}
    for at, entry in enumerate(r.log):
        if isinstance(content := entry.message.content, m.Deal):
            sealed = {name: content.sealed[name] for name in two}
            record.append(r.signed(at, hashes=content.hashes[:2], sealed=sealed))
            deals[entry.message.sender] = record[-1].message.digest
    acknowledgement = r.log[r.place("acknowledgement", "orebro")].message.content
    return r.follow(record, acknowledgement.model_copy(update={"deals": deals}), "orebro")


def of_the_end(r: Records) -> list[Change]:
    """Of a round, and of closing."""
    contribution, cohort, answer = (r.place(kind, "halland") for kind in ("contribution", "cohort", "answer"))
    opening, check, total = r.place("open"), r.place("check", "kronoberg"), r.place("sum")
    asked, given, vector = r.log[opening].message.content, r.log[contribution].message.content, r.log[contribution]
    closing = m.Closing(last=made("V"), decisions=made("decisions"), outcome="result", sealed=bytes(200))
    closed = r.follow(r.log, closing, "halland")
    next_one = given.model_copy(update={"round": 1})
    return [
        ("a cohort signed twice", r.after(cohort, r.log[cohort].message.content), "message", "halland"),
        ("a question before all have contributed", r.follow(r.log[: contribution + 1], asked, AGGREGATOR),
            "message", AGGREGATOR),
        ("a third question after the first", r.after(opening, asked.model_copy(update={"attempt": 3})),
            "message", AGGREGATOR),
        ("a second check value", r.after(check, r.log[check].message.content), "message", "kronoberg"),
        ("an answer for another list", r.until(answer, r.signed(answer, list=made("another list"))),
            "message", f"halland or {AGGREGATOR}"),
        ("another sum than was named", r.until(total, r.signed(total, (flipped(r.log[total].attachments[0]),))),
            "message", AGGREGATOR),
        ("another vector for who signed no check value",
            summed_without_orebro(r, vector=vector.attachments[0]), "message", AGGREGATOR),
        ("a label in two rounds", r.follow(r.log, next_one, "halland", vector.attachments), "label", "halland"),
        ("a contribution after a closing",
            r.follow(closed, next_one.model_copy(update={"label": made("label")}), "halland", vector.attachments),
            "message", f"halland or {AGGREGATOR}"),
        ("a second closing", r.follow(closed, closing, "halland"), "message", "halland"),
        ("a closing with other sums",
            r.follow(closed, closing.model_copy(update={"last": made("another V")}), "kronoberg"),
            "message", f"kronoberg or {AGGREGATOR}"),
    ]  # fmt: skip


def not_read(r: Records) -> list[Unread]:
    """One thing of a message is wrong that is looked at before what it says; where there are two, the first one."""
    approval, deal, contribution, answer = (
        r.place(kind, "halland") for kind in ("approval", "deal", "contribution", "answer")
    )
    opening, version, federation = r.place("open"), m.PROTOCOL_VERSION, f"{ROSTER.federation} "
    honest, more = r.log[contribution], limits.MAX_ATTACHMENT + 1
    forged = Entry(replace(honest.message, envelope=_by("orebro", honest.message)), honest.attachments)
    unshown = r.foreign(answer, attachments=[{"sha256": made("a long answer"), "size": more}])
    return [
        ("a contribution that its keeper altered",
            r.until(contribution, Entry(honest.message, (flipped(honest.attachments[0]),))), "attachment"),
        ("a message that somebody else signed", r.until(contribution, forged), "signature"),
        ("an approval with another bit in its signature",
            r.until(approval, with_another_signature(r.log[approval])), "signature"),
        ("an approval of who is not on the roster", r.until(approval, r.foreign(approval, sender="stranger")),
            "sender"),
        ("an invitation to another federation", [r.foreign(0, federation="nordic")], "federation"),
        ("an approval in another federation", r.until(approval, r.foreign(approval, federation="nordic")),
            "federation"),
        ("a contribution in another federation", r.until(contribution, r.foreign(contribution, federation="nordic")),
            "federation"),
        ("a contribution in a federation whose name has a space more",
            r.until(contribution, r.foreign(contribution, federation=federation)), "federation"),
        ("an approval in another federation whose signature does not hold",
            r.until(approval, with_another_signature(r.foreign(approval, federation="nordic"))), "federation"),
        ("an approval of the version before", r.until(approval, r.foreign(approval, version=version - 1)), "version"),
        ("a contribution of the next version", r.until(contribution, r.foreign(contribution, version=version + 1)),
            "version"),
        ("a question of the next version", r.until(opening, r.foreign(opening, version=version + 1)), "version"),
        ("an approval of the next version whose signature does not hold",
            r.until(approval, with_another_signature(r.foreign(approval, version=version + 1))), "signature"),
        ("a deal in an envelope of a byte more", r.until(deal, long_deal(r, deal, limits.MAX_ENCODED + 1)),
            "envelope length"),
        ("an answer that binds a byte more than an attachment may have",
            r.until(answer, Entry(unshown.message)), "attachment length"),
    ]  # fmt: skip


def with_another_signature(entry: Entry) -> Entry:
    """The same with another bit in the last byte of its signature."""
    body, signature = codec.decode(entry.message.envelope)
    envelope = codec.encode([body, signature[:-1] + bytes([signature[-1] ^ 1])])
    return Entry(replace(entry.message, envelope=envelope), entry.attachments)


def too_long(r: Records) -> list[Change]:
    """Envelopes and attachments that are longer than the message that binds them may have, or as long as may be."""
    deal, contribution, answer = (r.place(kind, "halland") for kind in ("deal", "contribution", "answer"))
    (vector,), (sealed,) = r.log[contribution].attachments, r.log[answer].attachments
    return [
        ("a deal in the longest envelope that there may be", r.until(deal, long_deal(r, deal, limits.MAX_ENCODED)),
            "message", f"halland or {AGGREGATOR}"),
        ("a contribution of 16 MiB more than its label's",
            r.until(contribution, r.signed(contribution, (vector + bytes(2**24),))), "message", "halland"),
        ("a contribution with two attachments", r.until(contribution, r.signed(contribution, (vector, vector))),
            "message", "halland"),
        ("a contribution without its attachment", r.until(contribution, r.signed(contribution, ())),
            "message", "halland"),
        ("an answer of 16 MiB more than its shares'", r.until(answer, r.signed(answer, (sealed + bytes(2**24),))),
            "message", f"halland or {AGGREGATOR}"),
    ]  # fmt: skip


def long_deal(r: Records, at: int, size: int) -> Entry:
    """The deal there with zeros sealed to names beside its own, in an envelope of so many bytes."""
    content = codec.decode(codec.decode(r.log[at].message.envelope)[0])["content"]
    most, spare = limits.MAX_SEALED, 0
    while True:
        more = {"a": bytes(most), "b": bytes(most), "c": bytes(most), "d": bytes(most - spare)}
        made_one = r.foreign(at, content={**content, "sealed": {**content["sealed"], **more}})
        envelope = made_one.message.envelope
        if len(envelope) == size:
            return made_one
        spare += len(envelope) - size


def summed_without_orebro(r: Records, *, vector: bytes) -> list[Entry]:
    """Orebro neither checked nor answered; that vector is passed on as its contribution."""
    total = r.place("sum")
    record = [
        entry
        for entry in r.log[:total]
        if (entry.message.sender, entry.message.body.kind) not in {("orebro", "check"), ("orebro", "answer")}
    ]
    return [*record, r.signed(total, (r.log[total].attachments[0], vector), absent=["orebro"])]


def after_the_sum(r: Records, vector: bytes, *kinds: str) -> list[Entry]:
    """The sum without orebro, and then its messages of these kinds, as the aggregator keeps them: without attachments.
    A second answer binds other bytes than the first.
    """
    record = summed_without_orebro(r, vector=vector)
    for number, kind in enumerate(kinds):
        there = r.log[r.place(kind, "orebro")]
        bound = tuple(flipped(data) for data in there.attachments) if kind in kinds[:number] else there.attachments
        *record, last = r.follow(record, there.message.content, "orebro", bound)
        record.append(Entry(last.message))
    return record


def _by(signer: str, message: m.Message) -> bytes:
    """The envelope of a message with somebody else's signature."""
    body = codec.decode(message.envelope)[0]
    return codec.encode([body, IDENTITIES[signer].sign_statement("message", body)])


def main() -> None:
    """All of it."""
    records, made_cases = cases()
    pool: dict[tuple[bytes, tuple[bytes, ...]], int] = {}
    document: dict[str, Any] = {"study": records.study.hex(), "roster": _text(ROSTER.to_bytes()), "party": "aggregator"}
    document["secrets"] = records.secrets()
    listed = []
    for name, record, findings, why in made_cases:
        numbers = [pool.setdefault((entry.message.envelope, entry.attachments), len(pool)) for entry in record]
        study = record[0].message.body.study
        other = {} if study == records.study else {"study": study.hex()}
        listed.append({"case": name, **other, "record": numbers, "findings": findings, **({"why": why} if why else {})})
    document["messages"] = [
        {"envelope": in_full(one, _text), "attachments": [in_full(data, _text) for data in more]} for one, more in pool
    ]
    document["cases"] = listed
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    main()
