"""A region takes part in what its policy and its people say, and in nothing else; its table is frozen as it was."""

import copy
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hefed.data.policy import Policy
from hefed.data.settings import SettingsError
from hefed.data.source import DataError
from hefed.data.table import load_table
from hefed.node import consent as consent_module
from hefed.node.consent import Verdict, describe, look_at_table, table_digest
from hefed.node.decision import FOLDER, Decision, DecisionError, Decisions
from hefed.node.identity import Identity
from hefed.node.store import Store
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.ports import DeclinedError
from hefed.study import Study
from tests.node.asking import Region, ask, changed
from tests.node.runs import EXAMPLES

EXAMPLE = EXAMPLES / "heart-failure" / "cox.toml"
COX = Study.load(EXAMPLE)
EVERYTHING_GRANTED = {
    "columns": COX.model.columns,
    "keyholders": COX.keyholders,
    "readers": COX.readers,
    "analysts": ("analyst",),
    "models": ("cox",),
}


@pytest.fixture
def region(tmp_path: Path) -> Region:
    (tmp_path / "home").mkdir()
    return Region(tmp_path / "home", ask(COX), data=COX.tables["halland"])


# --- The policy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"columns": [name for name in COX.model.columns if name != "age"]},
         "the policy here does not grant column 'age'"),
        ({"columns": [name for name in COX.model.columns if name not in ("age", "time")]},
         "the policy here does not grant columns 'time', 'age'"),
        ({"readers": ["halland", "orebro"]}, "the policy here does not grant reader 'kronoberg'"),
        ({"analysts": ["somebody"]}, "the policy here does not grant analyst 'analyst'"),
        ({"analysts": []}, "the policy here does not grant analyst 'analyst'"),
        ({"models": ["logistic", "cox-shared-baseline"]}, "the policy here does not grant model 'cox'"),
        ({"min_threshold": 3},
         "the policy here asks for a threshold of at least 3 keyholders, and the study has 2"),
        ({"min_contributors": 4}, "the policy here asks for min_contributors of at least 4, and the study has 3"),
        ({"max_rounds": 39}, "the policy here grants at most 39 rounds, and the study asks for up to 40"),
        ({"max_rounds": 1}, "the policy here grants at most 1 round, and the study asks for up to 40"),
    ],
)  # fmt: skip
def test_each_reason_of_the_policy_in_its_words_whatever_its_people_say(
    policy: dict[str, Any], words: str, region: Region
) -> None:
    region.policy = Policy(**policy)
    assert region.verdict() == Verdict("refuse", f"halland refuses: {words}")
    region.decide("approved")
    assert region.verdict() == Verdict("refuse", f"halland refuses: {words}")
    region.policy = Policy()
    assert region.verdict().answer == "approve"


def test_all_reasons_are_said_at_once(region: Region) -> None:
    region.policy = Policy(analysts=["other"], columns=["age"], max_rounds=3, min_threshold=3)
    columns = ", ".join(f"'{name}'" for name in COX.model.columns if name != "age")
    assert region.verdict().words == (
        "halland refuses: the policy here does not grant analyst 'analyst'; "
        f"the policy here does not grant columns {columns}; "
        "the policy here asks for a threshold of at least 3 keyholders, and the study has 2; "
        "the policy here grants at most 3 rounds, and the study asks for up to 40"
    )


def test_a_shared_baseline_is_a_model_of_its_own(region: Region, tmp_path: Path) -> None:
    shared = changed(EXAMPLE.read_text(), 'baseline = "per-region"', 'baseline = "shared"', tmp_path)
    region.asked = ask(shared)
    region.policy = Policy(models=["cox", "logistic"])
    assert region.verdict().words == "halland refuses: the policy here does not grant model 'cox-shared-baseline'"
    region.policy = Policy(models=["cox-shared-baseline"])
    assert region.verdict().answer == "wait"


def test_a_study_that_wants_data_of_a_region_without_a_table(region: Region) -> None:
    region.data = None
    assert region.verdict() == Verdict(
        "refuse", "halland refuses: the study wants data of it, and its settings name no table"
    )


def test_a_mere_keyholder_needs_no_table_but_has_a_policy_and_people(tmp_path: Path) -> None:
    study = changed(EXAMPLE.read_text(), "[regions.halland]", "[regions.skane]\n[regions.halland]", tmp_path)
    region = Region(tmp_path, ask(study), name="skane", data=None)
    assert region.verdict().answer == "wait"
    region.policy = Policy(min_threshold=3)
    assert region.verdict().words.startswith("skane refuses: the policy here asks for a threshold")
    region.policy = Policy()
    region.decide("approved")
    assert region.verdict().answer == "approve"
    assert region.consent.prepare(region.asked.board, Store(tmp_path / "state").vault(region.asked.study)) is None


# --- The clock --------------------------------------------------------------------------------------


def test_a_deadline_that_is_over_or_too_far_away(region: Region) -> None:
    expires, deadline = region.asked.board.invitation.expires, COX.security.deadline
    for at, answer in [
        (expires - 1, "wait"),
        (expires + 1, "refuse"),
        (expires - deadline - 299, "wait"),
        (expires - deadline - 301, "refuse"),
    ]:
        region.at = at
        assert region.verdict().answer == answer
    assert region.verdict().words == (
        "halland would have to keep keys for 901 s, longer than the study's deadline; look at the clocks"
    )
    region.at = expires + 1
    assert region.verdict().words == (
        "the study's deadline was over when halland heard of it; "
        "submit it again, with a longer [security] deadline if the clocks are right"
    )
    region.decide("approved")
    assert region.verdict().answer == "refuse"


# --- The people -------------------------------------------------------------------------------------


def test_by_default_a_study_waits_for_people(region: Region) -> None:
    assert region.verdict() == Verdict("wait", "waits for the people of halland: hefed approve or hefed refuse")
    assert region.consent.withdrawn(region.asked.study) is None


def test_an_approval_says_when_and_a_refusal_why(region: Region) -> None:
    region.at = float(region.asked.board.invitation.expires - 100)
    region.decide("approved")
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(region.at))
    assert region.verdict() == Verdict("approve", f"by hand, signed {when}")
    assert region.consent.withdrawn(region.asked.study) is None
    region.decide("refused", "the board said no")
    assert region.verdict() == Verdict("refuse", "halland refuses: the board said no")
    assert region.consent.withdrawn(region.asked.study) == "halland refuses: the board said no"


def test_within_policy_approves_just_what_is_listed(region: Region) -> None:
    region.policy = Policy(approve="within-policy", **EVERYTHING_GRANTED)
    assert region.verdict() == Verdict("approve", "within the policy of this region")
    for key in ("columns", "keyholders", "readers"):
        granted = {**EVERYTHING_GRANTED, key: tuple(EVERYTHING_GRANTED[key])[1:]}
        region.policy = Policy(approve="within-policy", **granted)
        assert region.verdict().answer == "refuse"
    for key, other in (("analysts", "other"), ("models", "logistic")):
        region.policy = Policy(approve="within-policy", **{**EVERYTHING_GRANTED, key: (other,)})
        assert region.verdict().answer == "refuse"
    region.policy = Policy(approve="within-policy", **EVERYTHING_GRANTED)
    region.decide("refused", "not this one")
    assert region.verdict() == Verdict("refuse", "halland refuses: not this one")


def test_an_approval_that_another_identity_signed_or_that_others_can_read_counts_for_nothing(region: Region) -> None:
    stranger = Decisions(region.folder, Identity.passing())
    stranger.write(Decision(study=region.asked.study, answer="approved", at=1.0))
    path = stranger.path(region.asked.study, "approved")
    with pytest.raises(DecisionError) as caught:
        region.verdict()
    assert str(caught.value) == f"{path} is not a decision that this home signed; remove it and decide again"
    path.unlink()
    region.decide("approved")
    path.chmod(0o644)
    with pytest.raises(DecisionError, match="others than its owner may read it"):
        region.verdict()
    path.chmod(0o600)
    assert region.verdict().answer == "approve"


# --- An approval does not carry over ----------------------------------------------------------------


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every plain value within a definition stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return [place] if items is None else [one for key, item in items for one in _places(item, (*place, key))]


def _other(value: Any) -> Any:
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else value + "x"


def _with_other(definition: dict[str, Any], place: tuple[Any, ...]) -> dict[str, Any]:
    copied = inner = copy.deepcopy(definition)
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = _other(inner[place[-1]])
    return copied


def test_an_approval_is_for_every_field_of_a_study_and_for_all_around_it(region: Region) -> None:
    region.decide("approved")
    invitation, study = region.asked.submission.invitation, region.asked.study
    assert m.study_hash(invitation, "analyst") == study
    places = _places(invitation.definition)
    assert len(places) > 30
    assert {place[0] for place in places} == set(COX.public())
    others = [
        invitation.model_copy(update={"definition": _with_other(invitation.definition, place)}) for place in places
    ]
    others += [invitation.model_copy(update={name: bytes(32)}) for name in ("nonce", "roster", "result_key")]
    others.append(invitation.model_copy(update={"expires": invitation.expires + 1}))
    assert set(m.Invitation.model_fields) == {"definition", "nonce", "roster", "result_key", "expires"}
    hashes = [m.study_hash(other, "analyst") for other in others] + [m.study_hash(invitation, "other")]
    assert len({study, *hashes}) == len(hashes) + 1
    assert region.decisions.find(study) is not None
    assert all(region.decisions.find(one) is None for one in hashes)


def test_the_same_study_submitted_again_waits_again(region: Region) -> None:
    region.decide("approved")
    assert region.verdict().answer == "approve"
    region.asked = ask(COX, among=(region.asked.identities, region.asked.roster))
    assert region.verdict().answer == "wait"


def test_an_approval_under_the_name_of_another_study_is_none(region: Region) -> None:
    region.decide("approved")
    old = region.decisions.path(region.asked.study, "approved")
    region.asked = ask(COX, among=(region.asked.identities, region.asked.roster))
    new = region.decisions.path(region.asked.study, "approved")
    shutil.copy(old, new)
    with pytest.raises(DecisionError, match="is not a decision that this home signed"):
        region.verdict()


# --- The frozen table -------------------------------------------------------------------------------


@pytest.fixture
def table(region: Region, tmp_path: Path) -> Path:
    """A table of Halland's own, that a test can change."""
    path = tmp_path / "patients.csv"
    path.write_bytes(COX.tables["halland"].read_bytes())
    region.data = path
    return path


def _salted(region: Region, store: Store) -> bytes:
    work = region.consent.prepare(region.asked.board, store.vault(region.asked.study))
    assert work is not None
    return work.commitment(bytes(32))


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("age\n1\n")], ids=["gone", "changed"])
def test_the_table_is_read_once(change: Callable[[Path], object], region: Region, table: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    store.add_study(region.asked.study)
    first = _salted(region, store)
    change(table)
    assert _salted(region, store) == first
    store.commit()
    store.close()
    assert _salted(region, Store(tmp_path / "state")) == first
    with pytest.raises(DeclinedError):
        _salted(region, Store(tmp_path / "other"))  # the control: who reads it now cannot use it


def test_the_frozen_table_is_encrypted_on_the_disk(region: Region, table: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    store.add_study(region.asked.study)
    _salted(region, store)
    store.commit()
    frozen = consent_module.frozen.to_bytes(load_table(table, COX, "halland"))
    stored = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    middle = len(frozen) // 2
    assert len(stored) > len(frozen)
    assert frozen[middle : middle + 64] not in stored
    assert b"serum_creatinine" not in stored


def test_a_table_that_changed_after_it_was_approved_is_not_used(region: Region, table: Path, tmp_path: Path) -> None:
    found, reasons = look_at_table(table, region.policy, region.asked.board, "halland")
    assert reasons == []
    region.decide("approved", table=table_digest(found, region.asked.study))
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], *reversed(lines[1:])]))
    _salted(region, Store(tmp_path / "same"))  # another order of rows is no other table
    table.write_text("".join(lines[:-1]))
    with pytest.raises(DeclinedError) as caught:
        _salted(region, Store(tmp_path / "state"))
    assert str(caught.value) == (
        "the table of halland changed between its approval and its first use; submit the study again"
    )


def test_the_table_is_held_against_the_policy_when_it_is_read(region: Region, tmp_path: Path) -> None:
    region.policy = Policy(min_rows=151, min_events=51)
    assert region.verdict().answer == "wait"  # known only from the table
    with pytest.raises(DeclinedError) as caught:
        _salted(region, Store(tmp_path / "state"))
    words = [
        "the policy here asks for at least 151 complete rows, and the table has fewer",
        "the policy here asks for at least 51 events, and the table has fewer",
    ]
    assert str(caught.value) == "halland refuses: " + "; ".join(words)
    assert look_at_table(COX.tables["halland"], region.policy, region.asked.board, "halland")[1] == words
    region.policy = Policy(min_rows=150, min_events=50)
    _salted(region, Store(tmp_path / "state"))


def test_a_decision_of_somebody_else_that_comes_late_ends_the_study_and_not_the_node(
    region: Region, tmp_path: Path
) -> None:
    stranger = Decisions(region.folder, Identity.passing())
    stranger.write(Decision(study=region.asked.study, answer="refused", words="x", at=1.0))
    with pytest.raises(DeclinedError, match="halland has a decision about the study that its people did not sign"):
        _salted(region, Store(tmp_path / "state"))


def test_what_a_region_says_of_its_own_table(region: Region, table: Path, tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    region.asked = ask(changed(text, 'missing = "refuse"', 'missing = "drop-rows"', tmp_path))
    lines = table.read_text().splitlines(keepends=True)
    header = lines[0].strip().split(",")
    gap = lines[1].strip().split(",")
    gap[header.index("age")] = ""
    table.write_text("".join([*lines, lines[2], lines[3], ",".join(gap) + "\n"]))
    found, reasons = look_at_table(table, region.policy, region.asked.board, "halland")
    assert reasons == []
    events = int(np.sum([int(line.split(",")[header.index("DEATH_EVENT")]) for line in lines[1:]]))
    again = sum(int(line.split(",")[header.index("DEATH_EVENT")]) for line in lines[2:4])
    assert describe(found, region.asked.board) == (
        f"152 rows, {events + again} events, 1 row left out for missing values, 2 rows the same as another"
    )


def test_a_decision_stands_as_it_was_signed(region: Region) -> None:
    region.decide("approved", table=bytes(32))
    (path,) = (region.folder / FOLDER).iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert set(codec.decode(path.read_bytes())) == {"decision", "signature"}


def test_a_table_without_its_header_tells_the_federation_nothing_of_its_first_patient(
    region: Region, table: Path, tmp_path: Path
) -> None:
    table.write_text("".join(table.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DeclinedError) as caught:
        _salted(region, Store(tmp_path / "state"))
    assert str(caught.value) == "region halland: column 'time' is missing in patients.csv"
    with pytest.raises(DataError, match="; it has '"):  # its own people see what is there
        look_at_table(table, Policy(), region.asked.board, "halland")


def test_what_people_mend_in_the_settings_counts_for_the_next_decision(region: Region) -> None:
    said: list[Any] = [
        (None, Policy()),
        (COX.tables["halland"], Policy(max_rounds=1)),
        (COX.tables["halland"], Policy()),
    ]
    consent = consent_module.Consent("halland", None, Policy(), region.decisions, reread=lambda: said.pop(0))
    words = [consent.verdict(region.asked.board).words for _ in range(3)]
    assert words == [
        "halland refuses: the study wants data of it, and its settings name no table",
        "halland refuses: the policy here grants at most 1 round, and the study asks for up to 40",
        "waits for the people of halland: hefed approve or hefed refuse",
    ]


def test_settings_that_cannot_be_used_decide_nothing(region: Region) -> None:
    def broken() -> Any:
        raise SettingsError("settings.toml: is not valid TOML")

    region.decide("approved")
    consent = consent_module.Consent("halland", region.data, Policy(), region.decisions, reread=broken)
    with pytest.raises(DecisionError, match="not valid TOML"):
        consent.verdict(region.asked.board)
