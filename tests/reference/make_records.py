"""Writes the vectors of records, which an auditor takes or refuses: `python -m tests.reference.make_records`.

They are made with the real code by identities that follow from their names. What is sealed has the operating system's
randomness in it, so the bytes are others each time; what an auditor has to say of them is the same.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hefed.crypto.contribution import RunningSum
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.coordinator import Entry
from tests.fuzz.make_corpus import Fixed
from tests.fuzz.world import IDENTITIES, ROSTER, file, made
from tests.protocol.conftest import study_file

FILE = Path(__file__).parents[2] / "protocols/vectors/records/round.json"
AGGREGATOR = "aggregator"

Expected = list[list[str]]


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


def flipped(data: bytes) -> bytes:
    """Another vector of the same form."""
    return bytes([data[0] ^ 1]) + data[1:]


def cases() -> tuple[Records, list[tuple[str, list[Entry], Expected]]]:
    """Name, record, and rule and party of each finding."""
    r = Records()
    contribution, deal, cohort = (r.place(kind, "halland") for kind in ("contribution", "deal", "cohort"))
    opening, check, total = r.place("open"), r.place("check", "kronoberg"), r.place("sum")
    honest, next_one = r.log[contribution], r.log[contribution + 1].message.sender
    (vector,) = honest.attachments
    contributions = [entry for entry in r.log if entry.message.body.kind == "contribution"]
    packed = {entry.message.sender: entry.attachments[0] for entry in contributions}
    hashes, value = r.log[deal].message.content.hashes, r.log[check].message.content.value  # type: ignore[attr-defined]

    def summed(names: Sequence[str]) -> Entry:
        board = r.federation.board
        running = RunningSum(board.profile, board.use(board.rounds[0].first))
        for name in names:
            running.add(packed[name])
        return r.signed(opening, total=m.Attachment.of(running.packed()).sha256)

    forged = Entry(
        m.Message(honest.message.body, honest.message.content, _by("orebro", honest.message), b""), (vector,)
    )
    malformed = b"\xff" * (len(vector) - 1) + b"\0"
    unanswered = [entry for entry in r.log if entry.message.body.kind != "answer"]
    exchanged = [*r.log[:opening], r.log[opening + 1], r.log[opening]]
    changes: list[tuple[str, list[Entry], str, str]] = [
        ("a contribution that its keeper altered",
            r.until(contribution, Entry(honest.message, (flipped(vector),))), "transcript", AGGREGATOR),
        ("a malformed contribution", r.until(contribution, r.signed(contribution, (malformed,))), "message", "halland"),
        ("a contribution of a wrong length",
            r.until(contribution, r.signed(contribution, (vector + b"\0",))), "message", "halland"),
        ("a message that somebody else signed", r.until(contribution, forged), "transcript", AGGREGATOR),
        ("a contribution for another label",
            r.until(contribution + 1, r.signed(contribution + 1, label=made("label"))),
            "message", f"{next_one} or {AGGREGATOR}"),
        ("a contribution again in the next round", [*r.log, honest], "message", AGGREGATOR),
        ("a contribution for a later round", r.until(contribution, r.signed(contribution, round=1)),
            "message", f"halland or {AGGREGATOR}"),
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
    good: tuple[str, list[Entry], Expected] = ("a whole round", list(r.log), [])
    return r, [good, *((name, record, [[rule, party]]) for name, record, rule, party in changes)]


def _by(signer: str, message: m.Message) -> bytes:
    """The envelope of a message with somebody else's signature."""
    body = codec.decode(message.envelope)[0]
    return codec.encode([body, IDENTITIES[signer].sign_statement("message", body)])


def main() -> None:
    """All of it."""
    records, made_cases = cases()
    pool: dict[tuple[bytes, tuple[bytes, ...]], int] = {}
    document: dict[str, Any] = {"study": records.study.hex(), "roster": _text(ROSTER.to_bytes()), "party": "aggregator"}
    listed = []
    for name, record, findings in made_cases:
        numbers = [pool.setdefault((entry.message.envelope, entry.attachments), len(pool)) for entry in record]
        listed.append({"case": name, "record": numbers, "findings": findings})
    document["messages"] = [
        {"envelope": _text(one), "attachments": [_text(data) for data in more]} for one, more in pool
    ]
    document["cases"] = listed
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    main()
