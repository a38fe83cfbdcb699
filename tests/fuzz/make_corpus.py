"""Makes the good examples of the corpus anew, with the real code: `python -m tests.fuzz.make_corpus`.

Keys and tables are fixed; what is sealed has the operating system's randomness in it, so its bytes are others each
time. Bytes that were found to do harm (`bad-...`) stay.
"""

import shutil
from dataclasses import replace
from datetime import date
from itertools import groupby

import numpy as np

from hefed.crypto import packing
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.parameters import COMPACT, PRECISE
from hefed.data import frozen
from hefed.data.table import LocalTable
from hefed.node import handshake
from hefed.node.analyst import Submission
from hefed.node.decision import Decision
from hefed.node.frames import parts_of, pieces_of
from hefed.node.proof import _taken_again
from hefed.node.settings import TEMPLATE
from hefed.node.work import document_of
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.coordinator import Coordinator
from hefed.protocol.roster import SignedRoster
from hefed.protocol.sealing import SealingKey, seal
from hefed.protocol.text import card_text, roster_text
from hefed.protocol.transcript import TranscriptWriter
from hefed.statistics.result import FitResult
from hefed.study import Study
from tests.fuzz import calls as t
from tests.fuzz.mutate import emit
from tests.fuzz.targets import TARGETS
from tests.fuzz.world import CORPUS, IDENTITIES, REGIONS, ROSTER, file, made
from tests.protocol.conftest import study_file
from tests.protocol.federation import EXAMPLES, NOW, Federation, Party


def write(target: str, name: str, data: bytes) -> None:
    """One good example."""
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / f"good-{name}").write_bytes(data)


class Fixed(Federation):
    """A federation of the fuzzing's own identities."""

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self.signers = {name: identity.signer for name, identity in IDENTITIES.items()}
        self.roster = ROSTER
        self.submission = Submission(study, ROSTER, "analyst", int(NOW) + 600)
        self.coordinator = Coordinator(
            ROSTER, self.signers["aggregator"], self.submission.study, lambda number: self.log[number].attachments
        )
        self.board = type(self.board)(ROSTER, self.submission.study)
        self.parties = {name: Party(name, self.signers[name]) for name in study.members}
        for name in self.parties:
            self.start(name)


def messages(federation: Fixed) -> None:
    """The record until the first sum, and other messages that could come at some places of it."""
    federation.run(until=lambda one: one.log[-1].message.body.kind == "sum")
    log = [entry.message for entry in federation.log]
    last: dict[str, bytes] = {}
    for place, message in enumerate(log):
        body = codec.decode(message.envelope)[0]
        write("message", f"{place:02}-{message.body.kind}", bytes([place]) + body)
        last[message.sender] = message.digest
    first_of_phase = {kind: log.index(next(group)) for kind, group in groupby(log, lambda one: one.body.kind)}
    for place, sender, content in (
        (first_of_phase["approval"], "halland", m.Refusal(words="the table is too small")),
        (first_of_phase["acknowledgement"], "orebro", m.Complaint(dealer="halland", words="seeds do not match")),
        (len(log), "aggregator", m.End(words="the deadline is over", missing=["orebro"])),
        (len(log), "halland", m.Closing(last=made("V"), decisions=made("D"), outcome="result", sealed=bytes(200))),
    ):
        previous = next((one.digest for one in reversed(log[:place]) if one.sender == sender), m.ZERO_HASH)
        message = federation.signers[sender].sign(
            content, federation=ROSTER.federation, study=log[0].body.study, sender=sender, previous=previous
        )
        write("message", f"other-{content.kind}", bytes([place]) + codec.decode(message.envelope)[0])
    for name in ("invitation", "approval", "sum"):
        write("envelope", name, log[first_of_phase[name]].envelope)
        write("codec", name, log[first_of_phase[name]].envelope)
    write("invitation", "small", codec.encode(log[0].body.content))
    write("submission", "small", federation.submission.to_bytes())


def transcripts(small: Study) -> None:
    """A transcript of a round, and the result of a whole study, as frames without their chain."""
    federation = Fixed(small)
    federation.run()
    entries = [
        [
            {"number": number, "at": NOW, "envelope": entry.message.envelope, "held": [True] * len(entry.attachments)},
            *entry.attachments,
        ]
        for number, entry in enumerate(federation.log)
    ]
    round_0 = next(i for i, entry in enumerate(federation.log) if entry.message.body.kind == "sum") + 1
    frames = codec.encode([frame for entry in entries[:round_0] for frame in entry])
    write("transcript-frames", "round", frames)
    write("transcript", "round", t.chained(TranscriptWriter, frames))
    sums = {
        entry.message.content.round: entry.attachments
        for entry in federation.log
        if isinstance(entry.message.content, m.Sum)
    }
    opened = list(federation.parties["halland"].opened.values())
    again = _taken_again(federation.board, sums, opened)
    for number, entry in enumerate(federation.log):
        if entry.message.body.kind != "sum":
            entries[number] = [{**entries[number][0], "held": [False] * len(entry.attachments)}]
    said = [frame for entry in entries for frame in entry]
    found = {
        "outcome": again.finding.outcome,
        "document": again.finding.document,
        "decided": again.decided,
        "versions": {"hefed": "0"},
    }
    with_sums = [frame for number, one in enumerate(opened) for frame in ({"opened": number, "size": len(one)}, one)]
    write("result-frames", "full", codec.encode([*said, *with_sums, found]))
    write("result-frames", "published", codec.encode([*said, {"hashed": tagged_hash("opened", opened[-1])}, found]))


def studies(small: Study) -> None:
    """Definitions, as files and as they are sent."""
    text = (EXAMPLES / "heart-failure" / "cox.toml").read_bytes()
    logistic = (EXAMPLES / "heart-failure" / "logistic.toml").read_bytes()
    more = b'[limits]\nrounds = 12\nwait = "2 min"\nstep = 1.5\n'
    write("study-file", "cox", text)
    write("study-file", "logistic", logistic + more)
    write("study-public", "cox", codec.encode(t.cox().public()))
    write("study-public", "logistic", codec.encode(small.public()))


def attachments() -> None:
    """Vectors, check values, answers, and what is sealed."""
    random = np.random.default_rng(1)
    for number, profile in enumerate((COMPACT, PRECISE)):
        for values in (1, t.VALUES, 256):
            residues = np.stack([random.integers(0, prime, values, np.uint64) for prime in profile.primes])
            write("packed", f"{profile.name}-{values}", bytes([number, values - 1]) + packing.pack(profile, residues))
    write("checks", "sum", b"".join(t.summed()[1]))
    whole = t.write_answers(t.HELD, COMPACT, t.VALUES, [((0, 1), iter([t.summed()[0]]))], [((1, 2), made("hash"))])
    write("answers", "one", whole)
    header = {"answers": [[0, 1]], "hashes": [{"share": [1, 2], "digest": made("hash")}]}
    write("answers-header", "one", codec.encode(header))
    write("sealed-box", "seeds", seal(b"".join(made(f"{i}") for i in range(3)), t.SEALING.public, t.CONTEXT))
    write("seeds", "three", t.KEY.seeds_for(1))
    write("public-key", "one", SealingKey(made("another", 96)).public)
    write("contributor-key", "3-of-4", t.KEY.to_bytes())
    table = LocalTable({"age": np.array([50.0, 61.5]), "DEATH_EVENT": np.array([0.0, 1.0])}, 2, 0, 0)
    nonce = made("nonce", 12)
    write(
        "frozen-table",
        "two-rows",
        nonce + t.VAULT_KEY.encrypt(nonce, frozen.to_bytes(table), t.ORIGINAL_STUDY + b"secret"),
    )
    result = FitResult(("age", "sodium"), (0.1, -0.05), (0.02, 0.5), -12.5, -20.0, 6, True, 299, 96)
    write("fit", "cox", codec.encode(document_of(result)))
    document = {"names": ["age"], "estimate": [0.1], "std_error": [0.02], "log_likelihood": -12.5, "n": 299}
    write(
        "finding",
        "fit",
        codec.encode({"outcome": "result", "finding": document, "checked": [True], "filling": bytes(9)}),
    )
    error = {"words": "the information is singular"}
    write("finding", "error", codec.encode({"outcome": "error", "finding": error, "checked": [True], "filling": b""}))


def link() -> None:
    """What goes over the wire beside messages."""
    study = made("study")
    headers = {
        "hello": handshake.hello({study.hex(): 3}, ROSTER),
        "hello-only": handshake.hello({study.hex(): 0}, ROSTER, only=True),
        "probe": handshake.probe(ROSTER),
        "welcome": handshake.welcome(2, {study.hex(): 4}, ROSTER, NOW),
        "present": {"type": "present", "members": list(REGIONS)},
    }
    for name, header in headers.items():
        write("greeting", name, codec.encode(header))
    entry = {"type": "entry", "study": study, "number": 4}
    for name, parts in (("beat", ()), ("entry", (b"envelope", b""))):
        write("frames", name, emit([part.bytes for part in parts_of((entry, parts))]))
    pieces = [parts[-1].bytes for parts in pieces_of((entry, (b"envelope", bytes(2**17 + 5))), 1)]
    write("frames", "long", emit(pieces))
    some = [(entry, (b"envelope", b"")), (entry | {"number": 5}, (b"another",)), ({"type": "beat"}, ())]
    write("frames", "together", emit([part.bytes for part in parts_of(*some)]))
    write("http-request", "metrics", b"GET /metrics HTTP/1.1\r\nHost: localhost: 9464\r\nAccept: */*\r\n\r\n")
    write("http-request", "names", b"GET /metrics?name[]=hefed_info HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
    write("proxy-reply", "connected", b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6))
    write("proxy-reply", "connected-6", b"\x05\x00" + b"\x05\x00\x00\x04" + bytes(18))
    write("proxy-reply", "connected-name", b"\x05\x00" + b"\x05\x00\x00\x03\x04name" + bytes(2))


def files() -> None:
    """What people and processes put into a home."""
    signatures = {name: one.sign_roster(ROSTER) for name, one in IDENTITIES.items()}
    write("roster", "five", ROSTER.to_bytes())
    write("roster-file", "signed", roster_text(SignedRoster(ROSTER, signatures)).encode())
    write("roster-file", "draft", roster_text(SignedRoster(ROSTER, {})).encode())
    write("card-file", "halland", card_text(IDENTITIES["halland"].card("halland")).encode())
    ends = date(2028, 2, 29)
    ending = replace(ROSTER, members=tuple(replace(member, ends=ends) for member in ROSTER.members))
    write("roster", "ending", ending.to_bytes())
    write("roster-file", "ending", roster_text(SignedRoster(ending, {})).encode())
    write("card-file", "ending", card_text(IDENTITIES["halland"].card("halland", ends)).encode())
    settings = "\n".join(line.removeprefix("# ").partition(" #")[0].rstrip() for line in TEMPLATE.splitlines()[2:])
    data = '[data]\nsource = "csv"\npath = "patients.csv"\ncolumns = { age = "ALDER" }\n'
    sql = (
        '[data]\nsource = "sql"\nurl = "postgresql+psycopg://hefed@db.example.org:5432/registry"\n'
        'table = "registry.heart"\npassword_env = "SECRET"\n'
    )
    uncommented = (
        settings[: settings.index("# Where")] if "# Where" in settings else settings[: settings.index("Where")]
    )
    policy = settings[settings.index("[policy]") : settings.index("[operation]")]
    operation = settings[settings.index("[operation]") : settings.index("What this machine")]
    limits = settings[settings.index("[limits]") :]
    write("settings-file", "template", TEMPLATE.encode())
    write("settings-file", "full", "\n".join([uncommented, data, policy, operation, limits]).encode())
    write("policy-file", "full", policy.encode())
    write("data-file", "csv", data.encode())
    write("data-file", "sql", sql.encode())
    decision = Decision(study=t.ORIGINAL_STUDY, answer="approved", words="looked at", table=made("table"), at=12.5)
    signature = IDENTITIES["halland"].sign_statement(*decision.statement())
    write("decision-file", "approved", codec.encode({"decision": decision.model_dump(), "signature": signature}))
    write("decision-signed", "approved", codec.encode(decision.model_dump()))
    write("identity-file", "one", codec.encode({"signing": made("signing"), "transport": made("transport")}))
    write(
        "status-file",
        "region",
        b'{"role": "region",\n "connected": true,\n "studies": [{"phase": "approval", "expires": 2e9}]}\n',
    )
    write("pooled-file", "cox", (EXAMPLES / "reference" / "heart-failure-cox.json").read_bytes())


def main() -> None:
    """All of it."""
    for old in CORPUS.glob("*/good-*"):
        old.unlink()
    small = study_file(file("small.toml", b""), university=False)
    write("study-file", "cox", (EXAMPLES / "heart-failure" / "cox.toml").read_bytes())
    studies(small)
    messages(Fixed(small))
    transcripts(small)
    attachments()
    link()
    files()
    for name in {path.name for path in CORPUS.iterdir()} - set(TARGETS):
        shutil.rmtree(CORPUS / name)


if __name__ == "__main__":
    main()
