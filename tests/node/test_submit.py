"""`hefed submit`: what it refuses before anybody hears of the study, and the file that opens the result."""

import io
import json
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hefed.node.analyst import Submission
from hefed.node.errors import NodeError, StudyFailedError
from hefed.node.files import write_private
from hefed.node.home import Home
from hefed.node.identity import Identity
from hefed.node.link import Received
from hefed.node.operate import standing
from hefed.node.submit import RESULT, SEALED, SUBMISSION, Analyst, submit
from hefed.protocol import messages as m
from hefed.protocol.errors import ProtocolError, RosterError
from hefed.report.progress import Progress
from hefed.study import Study
from tests.node.asking import changed
from tests.node.homes import answering, make_federation, make_roster, sign
from tests.node.runs import EXAMPLES, free_port, hefed, read_until, started, to_submit, wait_for
from tests.node.witness import search

EXAMPLE = EXAMPLES / "heart-failure" / "cox.toml"
TEXT = EXAMPLE.read_text()
COX = Study.load(EXAMPLE)
REGIONS = ("halland", "kronoberg", "orebro")


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, Path]:
    return make_federation(tmp_path / "homes", REGIONS, f"127.0.0.1:{free_port()}")


@pytest.fixture
def analyst(homes: dict[str, Path]) -> Analyst:
    member = standing(homes["analyst"], "analyst")
    return Analyst(member.me.name, member.home.identity, member.roster, member.addresses)


def progress() -> Progress:
    return Progress(Console(file=io.StringIO(), width=200))


def submitted(study: Study, analyst: Analyst, out: Path, *, deadline: int | None = None) -> Submission:
    """A folder as an earlier command left it, when it was stopped."""
    out.mkdir()
    until = int(time.time()) + (study.security.deadline if deadline is None else deadline)
    submission = Submission(study, analyst.roster, analyst.name, until)
    write_private(out / SUBMISSION, analyst.identity.seal(SEALED, submission.to_bytes()))
    return submission


# --- Before anybody hears of it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[regions.orebro]", "[regions.skane]",
         f"{COX.id} cannot be submitted: 'skane' is not on the roster of Heart failure (version 1); "
         "change the study, or make the roster's next version"),
        ("[regions.halland]", "[regions.analysts]\n[regions.halland]",
         f"{COX.id} cannot be submitted: 'analysts' is not on the roster of Heart failure (version 1); "
         "change the study, or make the roster's next version"),
    ],
)  # fmt: skip
def test_a_study_with_somebody_who_is_not_on_the_roster(
    old: str, new: str, words: str, analyst: Analyst, tmp_path: Path
) -> None:
    with pytest.raises(NodeError) as caught:
        submit(changed(TEXT, old, new, tmp_path), analyst, tmp_path / "out", progress())
    assert str(caught.value) == words
    assert not (tmp_path / "out" / SUBMISSION).exists()


def test_a_study_that_asks_of_a_member_what_it_is_not(homes: dict[str, Path], tmp_path: Path) -> None:
    made = {name: Home(folder) for name, folder in homes.items()}
    sign(
        made,
        make_roster(made, "127.0.0.1:1", old=made["analyst"].in_force(), roles={"orebro": "contributor,keyholder"}),
    )
    member = standing(homes["analyst"], "analyst")
    with pytest.raises(NodeError) as caught:
        submit(COX, Analyst("analyst", member.home.identity, member.roster, ()), tmp_path / "out", progress())
    assert str(caught.value) == (
        f"{COX.id} cannot be submitted: 'orebro' is on the roster of Heart failure, but not as a reader; "
        "change the study, or make the roster's next version"
    )
    assert not (tmp_path / "out" / SUBMISSION).exists()


def test_a_study_below_what_the_roster_allows(analyst: Analyst, tmp_path: Path) -> None:
    strict = replace(analyst, roster=replace(analyst.roster, least_threshold=3, least_min_contributors=4))
    with pytest.raises(ProtocolError) as caught:
        submit(COX, strict, tmp_path / "out", progress())
    assert str(caught.value) == (
        "the study's threshold is 2, but no study of Heart failure goes below 3 (version 1 of its roster); "
        "raise it and submit again"
    )
    strict = replace(analyst, roster=replace(analyst.roster, least_min_contributors=4))
    with pytest.raises(ProtocolError) as caught:
        submit(COX, strict, tmp_path / "out", progress())
    assert str(caught.value) == (
        "the study's min_contributors is 3, but no study of Heart failure goes below 4 (version 1 of its roster); "
        "raise it and submit again"
    )
    assert not (tmp_path / "out" / SUBMISSION).exists()


def test_only_an_analyst_with_a_roster_submits(homes: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RosterError) as refused:
        standing(homes["halland"], "analyst")
    assert str(refused.value) == (
        "halland is on the roster of Heart failure as contributor, keyholder, reader, and not as analyst"
    )
    Home.init(tmp_path / "new", "new")
    study = tmp_path / "study.toml"
    study.write_text(to_submit(TEXT))
    ended = hefed("submit", study, "--home", tmp_path / "new", "--out", tmp_path / "out")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"hefed: no roster is in force in {tmp_path / 'new'}; sign one with all other members: "
        f"hefed federation join FILE.roster --home {tmp_path / 'new'}\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_table_on_the_analysts_machine_is_refused_before_anybody_hears_of_the_study(
    homes: dict[str, Path], tmp_path: Path
) -> None:
    study, out = tmp_path / "study.toml", tmp_path / "out"
    study.write_text(TEXT.replace('data = "halland.csv"', "contributes = true", 1))
    ended = hefed("submit", study, "--home", homes["analyst"], "--out", out)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"hefed: {study}: data in [regions.kronoberg], [regions.orebro] is for hefed simulate, and a region that is "
        "asked gives the table that its own settings name; write contributes = true in its place, or beside it to "
        "simulate with the same file\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("data", ["contributes = true", 'data = "none.csv"\ncontributes = true'])
def test_a_region_that_has_a_table_of_its_own_may_also_have_one_to_simulate_with(data: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(to_submit(TEXT).replace("contributes = true", data))
    study = Study.load(tmp_path / "study.toml")
    assert study.only_here == ()
    assert study.public() == COX.public()
    assert COX.only_here == REGIONS


# --- The folder -------------------------------------------------------------------------------------


def test_a_result_is_not_written_over_and_its_key_goes(analyst: Analyst, tmp_path: Path) -> None:
    """The key is there still when a kill came between the result and its destruction."""
    out = tmp_path / "out"
    submitted(COX, analyst, out)
    (out / RESULT).write_text("{}")
    with pytest.raises(NodeError) as caught:
        submit(COX, analyst, out, progress())
    assert str(caught.value) == f"{out / RESULT} is there already; name another folder with --out"
    assert (out / RESULT).read_text() == "{}"
    assert not (out / SUBMISSION).exists()


@pytest.mark.parametrize("there", ["", "[]", '{"study": 1, "model": []}', '{"study": "heart-failure-mortality"}'])
def test_of_its_own_result_it_is_said_that_the_study_has_ended(there: str, analyst: Analyst, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / RESULT).write_text(there)
    with pytest.raises(NodeError, match=f"^{out / RESULT} is there already; name another folder with --out$"):
        submit(COX, analyst, out, progress())
    model = {"kind": "cox", "ties": "efron", "covariates": list(COX.model.covariates)}
    (out / RESULT).write_text(json.dumps({"study": COX.id, "model": model}))
    with pytest.raises(NodeError) as caught:
        submit(COX, analyst, out, progress())
    assert str(caught.value) == (
        f"{COX.id} has ended, and {out / RESULT} is there already: its result; to ask for it once more, name another "
        "folder with --out"
    )


@pytest.mark.parametrize("other", ["definition", "analyst"])
def test_a_folder_with_another_study_is_left_alone(
    other: str, analyst: Analyst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hefed.node.analyst.GRACE", 1.0)  # were it followed, that would end soon
    out = tmp_path / "out"
    submitted(COX, replace(analyst, name="other") if other == "analyst" else analyst, out, deadline=-1000)
    before = (out / SUBMISSION).read_bytes()
    study = COX if other == "analyst" else changed(TEXT, 'ties = "efron"', 'ties = "breslow"', tmp_path)
    with pytest.raises(NodeError) as caught:
        submit(study, analyst, out, progress())
    assert str(caught.value) == (
        f"{out} holds another study that was submitted and has not ended; follow that one with its file as it was, "
        "or name another folder with --out"
    )
    assert (out / SUBMISSION).read_bytes() == before


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], lambda data: b"\xa0"])
def test_a_damaged_key_file_is_told(damage: Any, analyst: Analyst, tmp_path: Path) -> None:
    out = tmp_path / "out"
    submitted(COX, analyst, out)
    (out / SUBMISSION).write_bytes(damage((out / SUBMISSION).read_bytes()))
    with pytest.raises(NodeError) as caught:
        submit(COX, analyst, out, progress())
    assert str(caught.value).startswith(f"{out / SUBMISSION}: ")
    assert str(caught.value).endswith("; remove it to submit the study anew")


def test_the_key_file_opens_with_the_analysts_identity_alone(analyst: Analyst, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = submitted(COX, analyst, out, deadline=-1000)
    secrets = {"secret": made._secret}
    assert search(out, secrets) == {}
    other = replace(analyst, identity=Identity.passing())
    with pytest.raises(NodeError) as caught:
        submit(COX, other, out, progress())
    assert str(caught.value) == (
        f"{out / SUBMISSION}: it was altered, or made with another identity than the one in force now; remove it to "
        "submit the study anew"
    )


def test_a_key_file_of_before_is_used_and_sealed(
    analyst: Analyst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hefed.node.analyst.GRACE", 1.0)
    out = tmp_path / "out"
    made = submitted(COX, analyst, out, deadline=2)
    write_plain = made.to_bytes()
    (out / SUBMISSION).unlink()
    write_private(out / SUBMISSION, write_plain)
    assert set(search(out, {"secret": made._secret})) == {"secret"}  # the control
    ended: list[Exception] = []

    def follow() -> None:
        try:
            submit(COX, analyst, out, progress())
        except StudyFailedError as error:
            ended.append(error)

    following = threading.Thread(target=follow)
    following.start()
    wait_for(lambda: (out / SUBMISSION).exists() and (out / SUBMISSION).read_bytes().startswith(SEALED))
    wait_for(lambda: search(out, {"secret": made._secret}) == {})  # the old file is destroyed behind it
    assert Submission.from_bytes(analyst.identity.unseal(SEALED, (out / SUBMISSION).read_bytes())).study == made.study
    following.join(30)
    assert len(ended) == 1  # the same study, whose deadline is over


def test_a_key_file_that_others_can_read_is_not_used(analyst: Analyst, tmp_path: Path) -> None:
    out = tmp_path / "out"
    submitted(COX, analyst, out)
    (out / SUBMISSION).chmod(0o640)
    with pytest.raises(NodeError, match=r"submission\.key holds a secret but others than its owner may read it"):
        submit(COX, analyst, out, progress())


def test_one_command_at_a_time_and_the_next_goes_on_with_the_same_study(homes: dict[str, Path], tmp_path: Path) -> None:
    study_path, out = tmp_path / "study.toml", tmp_path / "out"
    study_path.write_text(to_submit(TEXT))
    command = ("submit", study_path, "--home", homes["analyst"], "--out", out)
    with started(*command) as process:
        wait_for(lambda: (out / SUBMISSION).exists())
        assert (out / SUBMISSION).stat().st_mode & 0o777 == 0o600
        assert out.stat().st_mode & 0o077 == 0
        identity = Home(homes["analyst"]).identity
        study = Submission.from_bytes(identity.unseal(SEALED, (out / SUBMISSION).read_bytes())).study
        read_until(process, f"study {study.hex()[:16]}\n")
        second = hefed(*command)
        assert (second.code, second.out) == (2, "")
        assert second.err == f"hefed: {out} is in use by another hefed process; stop that one first\n"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
        assert process.returncode == 130
        assert said.endswith("hefed: the study goes on without you; the same command follows it again\n")
    with started(*command) as process:
        read_until(process, f"study {study.hex()[:16]}, submitted before")


# --- The key's end ----------------------------------------------------------------------------------


class Says:
    """An aggregator that greets, and says one thing to whatever an analyst submits."""

    def __init__(self, **header: Any) -> None:
        self.header, self.asked = header, 0

    def __call__(self, received: Received) -> object:
        match received.header:
            case {"type": "hello"}:
                return {"type": "welcome", "accepted": {}, "version": 2, "protocols": [2], "protocol": 2}
            case {"type": "message"}:
                self.asked += 1
                return self.header
        return None


@pytest.mark.parametrize(
    ("answer", "words", "kept"),
    [
        ({"type": "refused", "words": "no \x1b[31mroom"}, "the aggregator refuses the study: no ?[31mroom", False),
        ({"type": "turned away", "words": "another version"},
         "the aggregator turns the analyst away: another version", True),
    ],
)  # fmt: skip
def test_the_key_stays_as_long_as_the_study_may_go_on(
    answer: dict[str, Any], words: str, kept: bool, homes: dict[str, Path], analyst: Analyst, tmp_path: Path
) -> None:
    """A study that was not taken has no result, and the next try is a new one; whoever is turned away comes back."""
    says, out = Says(**answer), tmp_path / "out"
    with answering(homes["aggregator"], analyst.roster, "127.0.0.1:0", says) as address:
        with pytest.raises(StudyFailedError) as caught:
            submit(COX, replace(analyst, addresses=(address,)), out, progress())
        assert says.asked
    assert str(caught.value) == words
    assert (out / SUBMISSION).exists() is kept
    assert not (out / RESULT).exists()


@pytest.mark.parametrize(("there", "older"), [(1, "that of aggregator"), (3, "analyst's own")])
def test_whoever_has_the_older_roster_is_named_when_the_study_is_refused_for_it(
    there: int, older: str, homes: dict[str, Path], analyst: Analyst, tmp_path: Path
) -> None:
    newer = replace(analyst.roster, version=2)
    stated = {"version": there, "digest": bytes(32)}

    def answer(received: Received) -> object:
        match received.header:
            case {"type": "hello"}:
                return {"type": "welcome", "accepted": {}, "version": 2, "protocols": [2], "protocol": 2,
                        "roster": stated}  # fmt: skip
            case {"type": "message"}:
                return {"type": "refused", "words": "the study was made for another version"}
        return None

    said = io.StringIO()
    noted = Progress(Console(file=said, width=400))
    with (
        answering(homes["aggregator"], newer, "127.0.0.1:0", answer) as address,
        pytest.raises(StudyFailedError, match="refuses the study: the study was made for another version"),
    ):
        submit(COX, replace(analyst, addresses=(address,), roster=newer), tmp_path / "out", noted)
    assert (
        f"analyst has version 2 of the roster in force and aggregator version {there}: {older} is the older; put the "
        "newer one in force there (hefed federation join), and restart it\n"
    ) in said.getvalue()


def test_a_refusal_of_another_study_is_none_of_this(homes: dict[str, Path], analyst: Analyst, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def answer(received: Received) -> object:
        match received.header:
            case {"type": "hello"}:
                return {"type": "welcome", "accepted": {}, "version": 2, "protocols": [2], "protocol": 2}
            case {"type": "message", "study": bytes(study)}:
                seen.append(study)
                return {"type": "refused", "study": bytes(32) if len(seen) == 1 else study, "words": str(len(seen))}
            case {"type": "beat"} if seen:
                return {"type": "unknown"}
        return None

    with (
        answering(homes["aggregator"], analyst.roster, "127.0.0.1:0", answer) as address,
        pytest.raises(StudyFailedError, match="refuses the study: 2"),
    ):
        submit(COX, replace(analyst, addresses=(address,)), tmp_path / "out", progress())
    assert len(seen) == 2


def test_after_the_deadline_the_key_opens_nothing_and_goes(
    analyst: Analyst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hefed.node.analyst.GRACE", 1.0)
    out = tmp_path / "out"
    submitted(COX, analyst, out, deadline=-1000)
    with pytest.raises(StudyFailedError) as caught:
        submit(COX, analyst, out, progress())
    assert str(caught.value) == "the study's deadline is over, and the aggregator does not say why"
    assert not (out / SUBMISSION).exists()


def test_a_short_deadline_is_pointed_out(homes: dict[str, Path], analyst: Analyst, tmp_path: Path) -> None:
    said = io.StringIO()
    noted = Progress(Console(file=said, width=200))
    with (
        answering(homes["aggregator"], analyst.roster, "127.0.0.1:0", Says(type="refused", words="x")) as address,
        pytest.raises(StudyFailedError),
    ):
        submit(COX, replace(analyst, addresses=(address,)), tmp_path / "out", noted)
    assert "the study ends in 600 s at the latest, its approvals included; a longer [security] deadline gives" in (
        said.getvalue()
    )


def test_the_key_is_in_no_repr(analyst: Analyst, tmp_path: Path) -> None:
    submission = submitted(COX, analyst, tmp_path / "out")
    assert repr(submission) == f"Submission({submission.study.hex()[:8]})"
    assert "secret" not in repr(analyst).lower()
    assert submission.study == m.study_hash(submission.invitation, "analyst")
