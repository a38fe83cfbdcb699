"""What is called with bytes from outside, one function a parser. It returns, or raises hefed's own typed errors.

What a parser says otherwise than by an error, as None, is `RefusedError` here.
"""

import io
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import zmq
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hefed.crypto import packing
from hefed.crypto.contribution import check_value, verify_checks
from hefed.crypto.keys import ContributorKey, open_seeds
from hefed.crypto.label import SignedUse
from hefed.crypto.opening import Opening
from hefed.crypto.parameters import COMPACT, PRECISE, Precision
from hefed.data import frozen
from hefed.data.policy import Policy
from hefed.data.settings import DataSettings
from hefed.node import handshake, metrics
from hefed.node.analyst import Submission
from hefed.node.decision import Decision, Decisions
from hefed.node.frames import PIECE_FOLLOWS, headers_of
from hefed.node.identity import FILE as IDENTITY
from hefed.node.identity import Identity
from hefed.node.invitation import is_asked, read_invitation, title, unfit
from hefed.node.pieces import Pieces
from hefed.node.proof import verify
from hefed.node.schema import study_name
from hefed.node.settings import FILE as SETTINGS
from hefed.node.settings import Settings
from hefed.node.status import FILE as STATUS
from hefed.node.status import read_status
from hefed.node.tunnel import open_tunnel
from hefed.node.vault import StudyVault
from hefed.node.work import fit_of
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.answers import read_answers, write_answers
from hefed.protocol.audit import audit
from hefed.protocol.board import Board
from hefed.protocol.contexts import finding_context
from hefed.protocol.errors import EncodingError
from hefed.protocol.record import RoundRecord
from hefed.protocol.result_file import ResultWriter
from hefed.protocol.sealing import ContentCipher, SealingKey, public_key, seal
from hefed.protocol.transcript import Head, TranscriptReader, TranscriptWriter
from hefed.report.comparison import load_pooled
from hefed.report.result import Encryption, result_document, write_result
from hefed.study import Study
from tests.fuzz.world import CORPUS, IDENTITIES, REGIONS, ROSTER, file, folder, made, post, record

ORIGINAL_STUDY = made("study")
VALUES = 40
HELD = ContentCipher(made("content key"), ("answer",))
SEALING = SealingKey(made("sealing key", 96))
CONTEXT = ("fuzz",)
KEY = ContributorKey.deal(ORIGINAL_STUDY, "halland", 4, 3, lambda size: made("seeds", size))
VAULT_KEY = ChaCha20Poly1305(made("vault"))
LIST = made("list")


class RefusedError(Exception):
    """A parser that has no error for it did not take the bytes."""


# --- Messages ---------------------------------------------------------------------------------------------------------


def message(data: bytes) -> object:
    """One byte: behind how many messages of the record; the rest: a body, which is signed."""
    return post(data[0] if data else 0, data[1:])


def envelope(data: bytes) -> object:
    """A message as it comes, signature and all."""
    return m.read_message(data, ROSTER)


def invitation(data: bytes) -> object:
    """The content of an invitation, sent as the study that it is, so that the definition is looked at."""
    content = codec.decode(data)
    first = record()[0].body.model_dump()
    try:
        study = m.study_hash(m.Invitation.model_validate(content), "analyst")
    except ValueError:
        study = first["study"]  # whose form is not right, which read_message says
    sign = IDENTITIES["analyst"].sign_statement
    body = codec.encode({**first, "content": content, "study": study})
    said = codec.encode([body, sign("message", body)])
    came = read_invitation(said, study, ROSTER)  # a region's first look
    is_asked(came.content, "halland")
    assert title(came.content).isprintable()
    assert study_name(came.body.content.get("definition")) or unfit(came, ROSTER, "halland")
    Board(ROSTER, study).post(came)
    return content


def study_public(data: bytes) -> object:
    """A definition as it comes over the network."""
    return Study.from_public(codec.decode(data)).public()


# --- Attachments and sealed things ------------------------------------------------------------------------------------


def packed(data: bytes) -> object:
    """One byte: the profile; one: the number of values; the rest is taken for a contribution, a sum and an answer."""
    profile = (COMPACT, PRECISE)[data[0] % 2 if data else 0]
    values = 1 + (data[1] if len(data) > 1 else 0)
    vector = data[2:]
    packing.checked(profile, vector, values)
    packing.unpack(profile, vector, values)
    check_value(profile, vector, values, LIST)
    use = SignedUse(ORIGINAL_STUDY, made("cohort"), profile, 3, values, made("label"))
    return Opening(Precision(profile, 3, 2, 3), use).add((0,), packing.in_groups(profile, vector))


@cache
def summed() -> tuple[bytes, list[bytes]]:
    """A packed sum, and the check values of its contributions."""
    parts = [np.arange(VALUES, dtype=np.uint64)[None] * (i + 1) for i in range(3)]
    vectors = [packing.pack(COMPACT, part) for part in parts]
    total = packing.pack(COMPACT, np.sum(parts, axis=0, dtype=np.uint64))
    return total, [check_value(COMPACT, vector, VALUES, LIST) for vector in vectors]


def checks(data: bytes) -> object:
    """Check values of three contributions, 24 bytes each; the third gets what is left."""
    return verify_checks(COMPACT, summed()[0], VALUES, LIST, [data[:24], data[24:48], data[48:]])


def answers(data: bytes) -> object:
    """A keyholder's answers as they come over the wire."""
    found, hashes = read_answers(HELD, COMPACT, VALUES, data)
    return [list(map(bytes, groups)) for groups in found.values()], hashes


def answers_header(data: bytes) -> object:
    """The header of answers, which the keyholder itself has sealed."""
    head = np.empty(len(data) + 16, np.uint8)
    HELD.seal_into(0, data, head)
    return answers(len(head).to_bytes(4, "little") + head.tobytes() + sealed_answers())


@cache
def sealed_answers() -> bytes:
    """What follows on the header of the answer for one set."""
    whole = write_answers(HELD, COMPACT, VALUES, [((0, 1), iter([summed()[0]]))], [])
    return whole[4 + int.from_bytes(whole[:4], "little") :]


def sealed_box(data: bytes) -> object:
    """Something sealed to a key: seeds, a content key, a finding."""
    return SEALING.open(data, CONTEXT)


def seeds(data: bytes) -> object:
    """What was in a sealed deal."""
    hashes = list(KEY.seed_hashes().values())
    return open_seeds(ORIGINAL_STUDY, "halland", 1, 4, 3, data, hashes)


def seal_to(data: bytes) -> object:
    """A public key out of an approval, which something is sealed to."""
    public_key(data)
    return seal(b"seed", data, CONTEXT)


LONGEST_FINDING = 2**20 - 2**11
FINDER = Submission.from_bytes(
    codec.encode(
        {
            "secret": made("result key", 96),
            "invitation": {
                "definition": {}, "nonce": bytes(32), "roster": ROSTER.digest, "expires": 1,
                "result_key": SealingKey(made("result key", 96)).public,
            },
            "roster": ROSTER.to_bytes(),
            "analyst": "analyst",
        }
    )
)  # fmt: skip


def finding(data: bytes) -> object:
    """What all readers seal to the analyst."""
    if len(data) > LONGEST_FINDING:
        raise RefusedError("no message has room for it")
    board = Board(ROSTER, FINDER.study)
    board.rounds = [RoundRecord(0), RoundRecord(1)]
    for reader in REGIONS:
        sealed = seal(data, FINDER.invitation.result_key, finding_context(FINDER.study, reader, "analyst"))
        board.closings[reader] = m.Closing(last=LIST, decisions=LIST, outcome="result", sealed=sealed)
    return FINDER.open(board)


def fit(data: bytes) -> object:
    """What a finding says of the model, until it is written as a result file."""
    document = codec.decode(data)
    if not isinstance(document, dict):
        raise RefusedError("what `finding` refuses")
    try:
        found = fit_of(document)
    except TypeError:
        raise RefusedError("said by the caller as a StudyFailedError") from None
    result = result_document(cox(), found, Encryption("tenseal", 4096, 93), [])
    write_result(result, folder() / "result.json")
    return result


# --- The link ---------------------------------------------------------------------------------------------------------


def frames(data: bytes) -> object:
    """An array of ZeroMQ's frames, the first of them the header."""
    parts = codec.decode(data)
    if not isinstance(parts, list) or not all(type(part) is bytes for part in parts):
        raise RefusedError("not frames at all")
    pieces = Pieces(None)
    came = pieces.read([zmq.Frame(part) for part in parts])
    if not came and parts:  # or the first part announces a long message, and the others are its pieces
        came = pieces.read([zmq.Frame(parts[0])])
        for part in parts[1:]:
            came += pieces.read([zmq.Frame(PIECE_FOLLOWS), zmq.Frame(part)])
    pieces.drop()
    if not came:
        raise RefusedError("not of our form")
    return came


def greeting(data: bytes) -> object:
    """A header, read as a hello, a probe and a welcome."""
    found = headers_of(zmq.Frame(data))
    if not found:
        raise RefusedError("no header")
    header = found[0][0]
    versions, welcome = handshake.Versions.read(header), handshake.Welcome.read(header)
    state = handshake.RosterState.read(header.get("roster"))
    words = handshake.differing_rosters("lund", handshake.RosterState.of(ROSTER), "aggregator", state)
    words = f"{words}{handshake.turned_away('lund', 'aggregator', versions)}{handshake.OURS.common(versions)}"
    assert words.isprintable()
    return handshake.asked_for(header), welcome, handshake.names(header.get("members"), 1024)


@cache
def served() -> metrics.Metrics:
    """The page of metrics."""
    return metrics.serve(0, lambda: {"role": "region", "connected": True})


def http_request(data: bytes) -> object:
    """A request for the metrics."""
    with socket.create_connection((metrics.ADDRESS, served().port), 2) as connection:
        reply = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(2**16):
                reply += piece
        except TimeoutError:
            raise
        except OSError:
            raise RefusedError("it hung up") from None
    if b" 200 OK\r\n" not in reply[:40]:
        raise RefusedError("an error, or nothing")
    return reply


def proxy_reply(data: bytes) -> object:
    """What a SOCKS5 proxy says to a region."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(2)

        def reply() -> None:
            near, _ = listener.accept()
            with near, suppress(OSError):  # the region may hang up at any time
                near.settimeout(2)
                near.sendall(data)
                near.shutdown(socket.SHUT_WR)
                while near.recv(2**16):
                    pass

        thread = threading.Thread(target=reply)
        thread.start()
        try:
            door = open_tunnel(listener.getsockname(), ("aggregator.example.org", 7100), 1.0)
            host, port = door.removeprefix("tcp://").split(":")
            socket.create_connection((host, int(port)), 2).close()
        finally:
            thread.join(3)
    return door


# --- Files ------------------------------------------------------------------------------------------------------------


def study_file(data: bytes) -> object:
    """A study's file."""
    return Study.load(file("study.toml", data)).public()


def settings_file(data: bytes) -> object:
    """A home's settings."""
    return Settings.load(file(SETTINGS, data).parent)


def policy_file(data: bytes) -> object:
    """The section [policy] by itself."""
    return Policy.load(file("policy.toml", data))


def data_file(data: bytes) -> object:
    """The section [data] by itself."""
    return DataSettings.load(file("data.toml", data))


DECISIONS = Decisions(folder(), IDENTITIES["halland"])


def decision_file(data: bytes) -> object:
    """A file among the decisions."""
    file(f"decisions/{ORIGINAL_STUDY.hex()}.approved", data)
    return DECISIONS.find(ORIGINAL_STUDY)


def decision_signed(data: bytes) -> object:
    """A decision of any form, with this home's own signature where it can have one."""
    plain = codec.decode(data)
    try:
        statement = Decision.model_validate(plain).statement()
    except ValueError:
        statement = "decision", data
    signature = IDENTITIES["halland"].sign_statement(*statement)
    return decision_file(codec.encode({"decision": plain, "signature": signature}))


def identity_file(data: bytes) -> object:
    """A home's keys."""
    return Identity.load(file(IDENTITY, data).parent)


def status_file(data: bytes) -> object:
    """The standing of a home."""
    return read_status(file(STATUS, data).parent)


@cache
def cox() -> Study:
    """The study that pooled answers are for."""
    return Study.load(CORPUS / "study-file" / "good-cox")


def pooled_file(data: bytes) -> object:
    """A pooled answer that a result is compared with."""
    return load_pooled(file("pooled.json", data), cox())


@dataclass(frozen=True)
class Sealed:
    """A vault's store with one secret in it."""

    sealed: bytes

    def secret(self, study: bytes, name: str) -> bytes | None:
        """Whatever is asked for."""
        return self.sealed

    def keep_secret(self, study: bytes, name: str, sealed: bytes) -> None:
        """Not asked for, as there is one."""
        raise AssertionError(name)


def opened(sealed: bytes) -> bytes:
    """A secret out of a region's state."""
    return StudyVault(Sealed(sealed), ORIGINAL_STUDY, VAULT_KEY).get_or_create("secret", lambda: b"")


def frozen_table(data: bytes) -> object:
    """The frozen table, which lies on the disk under the vault's key."""
    return frozen.from_bytes(opened(data))


# --- Transcripts and results ------------------------------------------------------------------------------------------


def transcript(data: bytes) -> object:
    """A transcript as a file that comes from anybody."""
    (found,) = audit([("file", TranscriptReader(io.BytesIO(data)))])
    if found.findings:
        raise RefusedError(found.findings[0].words)
    return found


def transcript_frames(data: bytes) -> object:
    """The same, where its party itself wrote what it likes: maps without `before`, and pieces, chained and signed."""
    return transcript(chained(TranscriptWriter, data))


def result_frames(data: bytes) -> object:
    """A result's file that its party wrote as it likes, to be verified."""
    return verify(io.BytesIO(chained(ResultWriter, data)))


def chained(kind: type[TranscriptWriter], data: bytes) -> bytes:
    """A file of these frames behind an honest head, for the study of their first message, signed by halland."""
    out, value = io.BytesIO(), codec.decode(data)
    frames = value if isinstance(value, list) else [value]
    writer = kind(out, Head("halland", _study_of(frames), ROSTER))
    for frame in frames:
        if isinstance(frame, dict):
            writer._map(**{key: value for key, value in frame.items() if key != "before"})
        else:
            writer._frame(frame if isinstance(frame, bytes) else codec.encode(frame))
    writer.finish(IDENTITIES["halland"].sign_statement)
    return out.getvalue()


def _study_of(frames: list[Any]) -> bytes:
    try:
        study = codec.decode(codec.decode(frames[0]["envelope"])[0])["study"]
    except (EncodingError, LookupError, TypeError):
        study = b""
    return study if isinstance(study, bytes) and len(study) == 32 else made("study")
