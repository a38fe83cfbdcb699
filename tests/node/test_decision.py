"""A decision is a signed file: one study, one answer, one home. Whatever else lies there approves nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hefed.node.decision import FOLDER, Decision, DecisionError, Decisions
from hefed.node.errors import NodeError
from hefed.node.files import write_private
from hefed.node.identity import Identity
from hefed.protocol import codec

STUDY, OTHER = bytes(range(32)), bytes(32)


@pytest.fixture
def decisions(tmp_path: Path) -> Decisions:
    return Decisions(tmp_path, Identity.passing())


def made(answer: Any = "approved", **more: Any) -> Decision:
    return Decision(**({"study": STUDY, "answer": answer, "at": 12.5} | more))


def put(decisions: Decisions, answer: Any, data: bytes) -> Path:
    """A file among the decisions that somebody made otherwise."""
    path = decisions.path(STUDY, answer)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    write_private(path, data)
    return path


@pytest.mark.parametrize(
    "decision",
    [made(), made(table=OTHER), made("refused", words="Nej, inte utan etikprövning"), made(words="x" * 2000)],
)
def test_what_was_written_is_found(decision: Decision, decisions: Decisions) -> None:
    assert decisions.find(STUDY) is None
    decisions.write(decision)
    assert decisions.find(STUDY) == decision
    assert decisions.find(OTHER) is None
    folder = decisions.home / FOLDER
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_a_refusal_withdraws_an_approval_and_not_the_other_way(decisions: Decisions) -> None:
    decisions.write(made())
    decisions.write(made("refused", words="no"))
    found = decisions.find(STUDY)
    assert found is not None
    assert found.answer == "refused"
    decisions.path(STUDY, "approved").unlink()
    with pytest.raises(NodeError) as caught:
        decisions.write(made())
    assert str(caught.value) == "this study is refused already, which cannot be taken back; have it submitted again"


@pytest.mark.parametrize("answer", ["approved", "refused"])
def test_an_answer_is_given_once(answer: Any, decisions: Decisions) -> None:
    decisions.write(made(answer))
    path = decisions.path(STUDY, answer)
    before = path.read_bytes()
    with pytest.raises(NodeError) as caught:
        decisions.write(made(answer, at=13.0))
    assert str(caught.value) == f"this study is {answer} already"
    assert path.read_bytes() == before


# --- What is no decision ----------------------------------------------------------------------------


def is_refused(decisions: Decisions, path: Path) -> None:
    with pytest.raises(DecisionError) as caught:
        decisions.find(STUDY)
    assert isinstance(caught.value, NodeError)
    assert str(caught.value) == f"{path} is not a decision that this home signed; remove it and decide again"


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_byte_of_it_can_be_another(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    decisions = Decisions(tmp_path_factory.mktemp("home"), Identity.passing())
    decisions.write(made(table=OTHER))
    signed = decisions.path(STUDY, "approved").read_bytes()
    place = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != signed[place]))
    is_refused(decisions, put(decisions, "approved", signed[:place] + bytes([other]) + signed[place + 1 :]))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200))
@example(b"hefed key under the key of its home, form 1\n")
def test_nothing_else_is_one(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    decisions = Decisions(tmp_path_factory.mktemp("home"), Identity.passing())
    is_refused(decisions, put(decisions, "approved", data))


def test_every_byte_of_it_counts_also_at_its_end(decisions: Decisions) -> None:
    decisions.write(made())
    signed = decisions.path(STUDY, "approved").read_bytes()
    for data in (signed[:-1], signed + b"\0", signed[1:], b"", signed * 2):
        is_refused(decisions, put(decisions, "approved", data))
    put(decisions, "approved", signed)
    assert decisions.find(STUDY) == made()


def test_a_decision_for_another_study_or_with_another_answer_is_none_of_this(decisions: Decisions) -> None:
    decisions.write(made(study=OTHER))
    path = put(decisions, "approved", decisions.path(OTHER, "approved").read_bytes())
    is_refused(decisions, path)
    path.unlink()
    decisions.write(made("refused"))
    refused = decisions.path(STUDY, "refused")
    shutil.copy(refused, path)
    refused.unlink()
    is_refused(decisions, path)


def test_a_decision_of_another_identity_is_none(decisions: Decisions) -> None:
    Decisions(decisions.home, Identity.passing()).write(made())
    is_refused(decisions, decisions.path(STUDY, "approved"))


def test_a_signature_under_another_label_is_none(decisions: Decisions) -> None:
    """Whoever has this home sign a card or a roster does not get a decision of it."""
    decision = made()
    label, content = decision.statement()
    for signature in (
        decisions.identity.sign_statement("roster", content),
        decisions.identity.sign_statement(label, content, b""),
    ):
        data = codec.encode({"decision": decision.model_dump(), "signature": signature})
        is_refused(decisions, put(decisions, "approved", data))
    signature = decisions.identity.sign_statement(label, content)
    put(decisions, "approved", codec.encode({"decision": decision.model_dump(), "signature": signature}))
    assert decisions.find(STUDY) == decision  # the control


@pytest.mark.parametrize(
    "more", [{"extra": 1}, {"at": "now"}, {"at": 1}, {"study": b"x"}, {"answer": "perhaps"}, {"words": "x" * 2001}]
)
def test_a_signed_thing_of_another_form_is_none(more: dict[str, Any], decisions: Decisions) -> None:
    plain = made().model_dump() | more
    signature = decisions.identity.sign_statement("decision", codec.encode(plain))
    is_refused(decisions, put(decisions, "approved", codec.encode({"decision": plain, "signature": signature})))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_decision_that_others_can_reach_is_none(mode: int, decisions: Decisions) -> None:
    decisions.write(made())
    path = decisions.path(STUDY, "approved")
    path.chmod(mode)
    with pytest.raises(DecisionError, match="others than its owner may read it; run: chmod 600"):
        decisions.find(STUDY)


def test_a_damaged_refusal_does_not_give_way_to_an_approval(decisions: Decisions) -> None:
    decisions.write(made())
    path = decisions.path(STUDY, "refused")
    write_private(path, b"x")
    is_refused(decisions, path)


def test_a_folder_in_a_decisions_place_is_an_error_and_no_decision(decisions: Decisions) -> None:
    decisions.path(STUDY, "approved").mkdir(parents=True)
    with pytest.raises(DecisionError, match="cannot be read: is a directory"):
        decisions.find(STUDY)
