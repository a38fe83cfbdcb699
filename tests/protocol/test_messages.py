"""Messages: the schema, the signature, the chain."""

from pathlib import Path

import pycddl
import pytest

from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import EncodingError, EquivocationError, ProtocolError, RosterError, SignatureError
from hefed.protocol.rules import RULES
from tests.protocol.federation import Federation

SCHEMA = (Path(__file__).parents[2] / "protocols" / "messages.cddl").read_text()


def _signed(federation: Federation, content: m.Content) -> m.Message:
    return federation.signers["halland"].sign(
        content, federation="test", study=federation.submission.study, sender="halland", previous=m.ZERO_HASH
    )


def test_every_message_of_a_real_study_fits_the_published_schema(finished: Federation) -> None:
    envelopes, bodies = pycddl.Schema("top = envelope\n" + SCHEMA), pycddl.Schema("top = body\n" + SCHEMA)
    kinds = set()
    for entry in finished.log:
        envelopes.validate_cbor(entry.message.envelope)
        bodies.validate_cbor(codec.decode(entry.message.envelope)[0])
        kinds.add(entry.message.body.kind)
    for content in (
        m.Refusal(words="no"),
        m.Complaint(dealer="orebro", words="wrong"),
        m.End(words="over", missing=["orebro"]),
    ):
        said = _signed(finished, content)
        envelopes.validate_cbor(said.envelope)
        bodies.validate_cbor(codec.decode(said.envelope)[0])
        kinds.add(content.kind)
    assert kinds == set(RULES)


def test_the_schema_refuses_what_is_no_message(finished: Federation) -> None:
    bodies = pycddl.Schema("top = body\n" + SCHEMA)
    body = codec.decode(codec.decode(finished.log[0].message.envelope)[0])
    for change in ({"version": 1}, {"kind": "greeting"}, {"study": b"short"}, {"more": 1}, {"sender": "No Name"}):
        with pytest.raises(pycddl.ValidationError):
            bodies.validate_cbor(codec.encode(body | change))


def test_one_altered_byte_anywhere_is_refused(finished: Federation) -> None:
    for entry in finished.log[:12]:
        envelope = bytearray(entry.message.envelope)
        for position in range(0, len(envelope), 97):
            envelope[position] ^= 1
            with pytest.raises((EncodingError, SignatureError, RosterError)):
                m.read_message(bytes(envelope), finished.roster)
            envelope[position] ^= 1


def test_a_message_under_anothers_name_is_refused(finished: Federation) -> None:
    forged = finished.signers["halland"].sign(
        m.Refusal(words="no"), federation="test", study=finished.submission.study, sender="orebro", previous=m.ZERO_HASH
    )
    with pytest.raises(SignatureError, match="orebro"):
        m.read_message(forged.envelope, finished.roster)


def test_the_same_content_signed_twice_is_the_same_bytes(finished: Federation) -> None:
    said = [_signed(finished, m.Refusal(words="no")) for _ in range(2)]
    assert said[0].envelope == said[1].envelope


def test_a_message_left_out_of_a_senders_chain_is_noticed_at_the_next(finished: Federation) -> None:
    board = Board(finished.roster, finished.submission.study)
    checks = [e for e in finished.log if e.message.body.kind == "check" and e.message.sender == "halland"]
    for entry in finished.log[: finished.log.index(checks[1])]:
        if entry is not checks[0] and entry.message.body.kind != "sum":
            if entry.message.sender == "halland" and finished.log.index(entry) > finished.log.index(checks[0]):
                break
            board.post(entry.message)
    with pytest.raises(ProtocolError, match="does not follow on its last message"):
        board.post(entry.message)


def test_a_message_posted_twice_is_refused(finished: Federation) -> None:
    board = Board(finished.roster, finished.submission.study)
    for entry in finished.log[:5]:
        board.post(entry.message)
    with pytest.raises(EquivocationError):
        board.post(finished.log[4].message)


def test_nothing_that_a_member_says_can_move_a_cursor_or_forge_a_line(finished: Federation) -> None:
    label = finished.board.rounds[0].first.label
    for purpose in ("\x1b[2J", "two\nlines", "x" * 65, "Capital", ""):
        with pytest.raises(ValueError, match="purpose"):
            m.Contribution(round=0, purpose=purpose, label=label, values=1)
    with pytest.raises(ValueError, match="words"):
        m.Refusal(words="\x1b]0;title\x07")
    assert m.printable("a\x1b[2Jb\nc") == "a?[2Jb?c"


def test_the_signature_is_looked_at_before_anything_that_it_is_over(finished: Federation) -> None:
    message = finished.log[0].message
    body = codec.decode(codec.decode(message.envelope)[0])
    body["content"] = {"\x1b[2J" * 10: 1}
    with pytest.raises(SignatureError):
        m.read_message(codec.encode([codec.encode(body), bytes(64)]), finished.roster)


def test_no_secret_type_shows_or_pickles_its_secret(finished: Federation) -> None:
    import pickle

    from hefed.node.identity import Identity
    from hefed.protocol.sealing import SealingKey

    for secret in (
        finished.signers["halland"],
        SealingKey(SealingKey.new_secret()),
        Identity(bytes(32), bytes(range(32))),
    ):
        assert repr(secret).endswith("(...)")
        with pytest.raises(TypeError):
            pickle.dumps(secret)


def test_a_message_of_another_version_of_the_protocol_is_refused_in_words(finished: Federation) -> None:
    encoded, _ = codec.decode(finished.log[0].message.envelope)
    older = codec.encode({**codec.decode(encoded), "version": 1})
    signature = finished.signers["analyst"]._key.sign(m._signed_bytes(older))
    with pytest.raises(EncodingError) as caught:
        m.read_message(codec.encode([older, signature]), finished.roster)
    assert str(caught.value) == (
        "a message of analyst in another version of the protocol than 2; install the same version of hefed everywhere"
    )


def raw(one: Federation, /, **changes: object) -> bytes:
    """An envelope of halland with a body of any form, signed as it signs."""
    body = {
        "version": m.PROTOCOL_VERSION,
        "federation": "test",
        "study": one.submission.study,
        "sender": "halland",
        "previous": m.ZERO_HASH,
        "kind": "refusal",
        "content": {"words": "no"},
        "attachments": [],
    } | changes
    encoded = codec.encode(body)
    return codec.encode([encoded, one.signers["halland"]._key.sign(m._signed_bytes(encoded))])


@pytest.mark.parametrize("envelope", [None, b"", [b"", b"", b""], [b""], ["", b""], [b"", 0], {"a": b"", "b": b""}])
def test_what_is_no_body_and_signature_is_no_envelope(envelope: object, finished: Federation) -> None:
    with pytest.raises(EncodingError, match="an envelope is an array of a body and a signature"):
        m.read_message(codec.encode(envelope), finished.roster)


@pytest.mark.parametrize(
    "body", [[], {}, {"sender": "halland"}, {"federation": "test"}, {"sender": 1, "federation": 1}]
)
def test_a_body_that_names_nobody_is_refused(body: object, finished: Federation) -> None:
    with pytest.raises(EncodingError, match="a message that names no sender or no federation"):
        m.read_message(codec.encode([codec.encode(body), bytes(64)]), finished.roster)


def test_a_message_is_read_for_its_own_sender_and_federation_alone(finished: Federation) -> None:
    envelope = raw(finished)
    assert m.read_message(envelope, finished.roster, "halland").sender == "halland"
    with pytest.raises(SignatureError, match="orebro sent a message of halland"):
        m.read_message(envelope, finished.roster, "orebro")
    with pytest.raises(SignatureError, match="a message of another federation arrived in test"):
        m.read_message(raw(finished, federation="other"), finished.roster)


def test_a_kind_that_nobody_knows_is_refused_in_words(finished: Federation) -> None:
    with pytest.raises(
        EncodingError, match="a message of halland of a kind that this version of the protocol does not"
    ):
        m.read_message(raw(finished, kind="greeting"), finished.roster)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"more": 1}, r"\('more': Extra inputs are not permitted\)"),
        ({"study": b"short"}, r"\('study': "),
        ({"content": {}}, r"\('words': Field required\)"),
        ({"content": {"words": "no", "a": 1, "b": 2, "c": 3, "d": 4}}, r"'a': [^;]*; 'b': [^;]*; 'c': [^;]*\)$"),
        ({"content": {str(i): 0 for i in range(1000)}}, r"\(1001 faults\)"),
    ],
)
def test_a_message_without_its_form_is_refused_with_its_first_faults(
    changes: dict[str, object], words: str, finished: Federation
) -> None:
    with pytest.raises(EncodingError, match="a message of halland that does not have its form .*" + words):
        m.read_message(raw(finished, **changes), finished.roster)
