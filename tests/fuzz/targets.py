"""The table of all parsers that see bytes from outside. A new parser is a new row, a function in `calls` that takes
bytes, and good examples in `make_corpus`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from hefed.crypto.errors import CheckError, MalformedError, SeedError
from hefed.crypto.keys import ContributorKey
from hefed.data.settings import SettingsError
from hefed.node.analyst import Submission
from hefed.node.decision import DecisionError
from hefed.node.errors import NodeError, StudyFailedError
from hefed.node.proof import NotProvedError
from hefed.node.tunnel import ProxyRefusesError
from hefed.protocol import codec
from hefed.protocol.errors import (
    EncodingError,
    ProtocolError,
    RosterError,
    SealError,
    SignatureError,
    TranscriptError,
)
from hefed.protocol.ports import DeclinedError
from hefed.protocol.roster import Roster
from hefed.protocol.text import read_card, read_roster
from hefed.report.comparison import PooledFitError
from hefed.study import StudyError
from tests.fuzz import calls as c
from tests.fuzz import mutate
from tests.fuzz.calls import RefusedError

Mutation = Callable[[bytes, Random, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Target:
    """One parser: how it is called, what it may raise, and how right examples are changed.

    `prefix` bytes of an example say where it goes and stay as they are in a change of form; `each` is about how many
    calls are made in a second.
    """

    name: str
    call: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    mutation: Mutation
    each: int = 250
    prefix: int = 0

    def mutated(self, data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
        """A right example, changed."""
        return data[: self.prefix] + self.mutation(data[self.prefix :], random, [one[self.prefix :] for one in others])


_CBOR, _TEXT, _BYTES = mutate.of_cbor, mutate.of_text, mutate.of_bytes

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        #      name                function                    errors                             changes, calls
        Target("codec",           codec.decode,               (EncodingError,),                  _CBOR),
        Target("envelope",        c.envelope,                 (EncodingError, SignatureError, RosterError), _CBOR),
        Target("message",         c.message,                  (ProtocolError,),                  _CBOR, 200, prefix=1),
        Target("invitation",      c.invitation,               (ProtocolError,),                  _CBOR),
        Target("study-public",    c.study_public,             (EncodingError, StudyError),       _CBOR),
        Target("packed",          c.packed,                   (MalformedError,),                 _BYTES, 500, prefix=2),
        Target("checks",          c.checks,                   (MalformedError, CheckError),      _BYTES, 1500),
        Target("answers",         c.answers,                  (ProtocolError,),                  _BYTES, 1500),
        Target("answers-header",  c.answers_header,           (ProtocolError,),                  _CBOR),
        Target("sealed-box",      c.sealed_box,               (SealError,),                      _BYTES, 700),
        Target("seeds",           c.seeds,                    (SeedError,),                      _BYTES, 700),
        Target("public-key",      c.seal_to,                  (SealError,),                      _BYTES, 700),
        Target("contributor-key", ContributorKey.from_bytes,  (MalformedError,),                 _BYTES, 1500),
        Target("finding",         c.finding,                  (StudyFailedError, RefusedError),  _CBOR, 100),
        Target("fit",             c.fit,                      (EncodingError, RefusedError),     _CBOR),
        Target("frames",          c.frames,                   (RefusedError, EncodingError),     _CBOR),
        Target("greeting",        c.greeting,                 (RefusedError,),                   _CBOR),
        Target("http-request",    c.http_request,             (RefusedError,),                   _TEXT, 300),
        Target("proxy-reply",     c.proxy_reply,              (ProxyRefusesError,),              _BYTES, 100),
        Target("roster",          Roster.from_bytes,          (EncodingError, RosterError),      _CBOR),
        Target("roster-file",     read_roster,                (RosterError,),                    _TEXT, 700),
        Target("card-file",       read_card,                  (RosterError,),                    _TEXT, 1000),
        Target("study-file",      c.study_file,               (StudyError,),                     _TEXT, 200),
        Target("settings-file",   c.settings_file,            (SettingsError,),                  _TEXT, 200),
        Target("policy-file",     c.policy_file,              (SettingsError,),                  _TEXT, 200),
        Target("data-file",       c.data_file,                (SettingsError,),                  _TEXT, 200),
        Target("decision-file",   c.decision_file,            (DecisionError,),                  _CBOR, 150),
        Target("decision-signed", c.decision_signed,          (DecisionError, EncodingError),    _CBOR),
        Target("submission",      Submission.from_bytes,      (ProtocolError,),                  _CBOR),
        Target("identity-file",   c.identity_file,            (NodeError,),                      _CBOR),
        Target("status-file",     c.status_file,              (NodeError,),                      _TEXT, 1000),
        Target("pooled-file",     c.pooled_file,              (PooledFitError,),                 _TEXT, 300),
        Target("transcript",      c.transcript,               (TranscriptError, RefusedError),   _BYTES, 100),
        Target("transcript-frames", c.transcript_frames,      (ProtocolError, RefusedError),     _CBOR, 20),
        Target("result-frames",   c.result_frames,            (NotProvedError, EncodingError),   _CBOR, 10),
        Target("frozen-table",    c.frozen_table,             (DeclinedError,),                  _BYTES, 1500),
    )
}  # fmt: skip
