"""`hefed log` and `hefed backup`, as people use them, on the homes of a real study."""

import json
import re
import shutil
import stat
import subprocess
import tarfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hefed.node.decision import Decision, Decisions
from hefed.node.errors import NodeError
from hefed.node.history import History, log_sections
from hefed.node.home import Home
from hefed.node.store import Store
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.report import departures
from hefed.report.log import print_log, size_text
from tests.node.homes import make_federation
from tests.node.runs import REGIONS, Run, hefed, is_sum, study_file, wait_for

ENGINE = 'engine = "vectorised"'


class Looked:
    """Looks at the logs in the middle of the study, while everything runs."""

    def __init__(self) -> None:
        self.logs: dict[str, list[dict[str, Any]]] = {}

    def __call__(self, run: Run, board: Board, message: "m.Message | None") -> None:
        if is_sum(message, 2):
            run.stop("kronoberg")  # so that the study waits
            wait_for(lambda: _has_left(run.folder / "halland", "contribution to round 3 (spreads)"))
            self.logs = {name: lines(run.folder / name) for name in ("halland", "aggregator")}
            run.resume("kronoberg")


def _has_left(home: Path, what: str) -> bool:
    return any(line["what"].startswith(what) and line["certainty"] == "left" for line in lines(home))


Studied = tuple[Run, Looked, float]


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    """A study to its end."""
    folder, looked, began = tmp_path_factory.mktemp("studied"), Looked(), time.time()
    with Run(study_file(folder, security=ENGINE), folder / "parties") as run:
        board = run.follow(looked)
        assert board.outcome is not None
        assert board.outcome.how == "result"
        wait_for(lambda: "keys are destroyed" in run.log("halland"))  # the analyst knows before the last region does
    return run, looked, began


def lines(home: Path, *options: str) -> list[dict[str, Any]]:
    ended = hefed("log", "--home", home, "--json", *options)
    assert (ended.code, ended.err) == (0, "")
    return [json.loads(line) for line in ended.out.splitlines()]


# --- The log ---------------------------------------------------------------------------------------


def test_every_message_that_left_has_its_line_with_time_size_and_study(studied: Studied) -> None:
    run, _, began = studied
    *sent, ended = lines(run.folder / "halland")
    stored = list(run.sent("halland").values())
    assert [line["kind"] for line in sent] == [message.kind for message in _read(stored)]
    sizes = [len(message.envelope) + sum(map(len, message.attachments)) for message in stored]
    assert [line["bytes"] for line in sent] == sizes
    times = [datetime.fromisoformat(line["at"]).timestamp() for line in (*sent, ended)]
    assert began < times[0]
    assert times == sorted(times)
    assert times[-1] < time.time()
    assert {line["certainty"] for line in sent} == {"left"}
    assert {line["study"] for line in sent} == {run.submission.study.hex()}
    assert {(line["name"], line["analyst"]) for line in sent} == {("heart-failure-mortality", "analyst")}
    assert all(line["approval"].startswith("by hand") for line in sent)
    assert ended["event"] == "ended"
    assert ended["what"].endswith("its keys are destroyed")


def _read(stored: list[Any]) -> list[m.Body]:
    from hefed.protocol import codec

    return [m.Body.model_validate(codec.decode(codec.decode(message.envelope)[0])) for message in stored]


def test_it_says_what_left_and_who_can_read_it(studied: Studied) -> None:
    run, _, _ = studied
    said = {line["what"]: (line["to"], line["sealed_to"]) for line in lines(run.folder / "halland")}
    everybody, sums = ("all members of the study", []), ("aggregator, to be added; opened in the sum only", [])
    assert said["contribution to round 0 (known answer): 64 encrypted numbers, none from a patient"] == sums
    assert said["contribution to round 1 (ranges): 930 encrypted numbers"] == sums
    assert said["contribution to round 5 (newton): 36 encrypted numbers"] == sums
    names = list(REGIONS)
    assert said["share answers for the sum of round 3"] == (f"sealed to the readers {', '.join(names)}", names)
    deal = said["a key of its own for this study, in shares to 3 keyholders"]
    assert deal == (f"sealed to the keyholders {', '.join(names)}", names)
    assert said["the result"] == ("sealed to analyst, who asked for the study", ["analyst"])
    approval = "approval: takes part; a salted fingerprint of its table; public keys to seal to it with"
    assert said[approval] == everybody


def test_it_can_be_read_while_the_processes_run(studied: Studied) -> None:
    _, looked, _ = studied
    halland, aggregator = looked.logs["halland"], looked.logs["aggregator"]
    assert {line["event"] for line in (*halland, *aggregator)} == {"sent"}
    assert "contribution to round 2 (means): 32 encrypted numbers" in [line["what"] for line in halland]
    said = {line["what"]: line["to"] for line in aggregator}
    assert said["the encrypted sum of round 2"] == "the readers of the study"
    assert said["asks halland, kronoberg, orebro to open the sum of round 1"] == "all members of the study"
    assert {line["kind"] for line in aggregator} == {"dealing", "proposal", "open", "sum"}


def test_in_a_pipe_it_is_plain_and_a_line_for_each_message(studied: Studied) -> None:
    run, _, _ = studied
    ended = hefed("log", "--home", run.folder / "halland")
    assert ended.code == 0
    assert ended.out.isascii()
    assert re.search(
        r"^Study heart-failure-mortality \([0-9a-f]{8}\)\nasked for by analyst, began [-0-9]{10} [:0-9]{8}\n"
        r"approval: by hand, .*\nall of it went to aggregator, which passes on what is for others$",
        ended.out, re.MULTILINE,
    )  # fmt: skip
    one = r"^[-0-9]{10} [:0-9]{8}  contribution to round 5 \(newton\): 36 encrypted numbers; [0-9.]+ k?B; \S"
    assert re.search(one, ended.out, re.MULTILINE)
    _, rows = ended.out.split("which passes on what is for others\n\n")
    ends = [line for line in rows.splitlines() if re.match("[-0-9]{10} ", line)]
    assert len(ends) == len(rows.splitlines()) == len(run.sent("halland")) + 1


def test_on_a_terminal_it_is_a_table(studied: Studied) -> None:
    run, _, _ = studied
    with History(run.folder / "halland") as history:
        sections = log_sections(history, aggregator="aggregator")
    to = Console(force_terminal=True, width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_log(sections, to)
    text = to.export_text()
    to.file.close()
    assert re.search(r"left at +what +bytes +to", text)
    assert re.search(r"contribution to round 1 \(ranges\): 930 .*11\.\d kB +aggregator", text)


def test_no_secret_and_no_value_of_a_patient_is_in_it(studied: Studied) -> None:
    run, _, _ = studied
    ended = hefed("log", "--home", run.folder / "halland", "--json")
    for message in run.sent("halland").values():
        for frame in message.attachments:
            assert frame[:8].hex() not in ended.out
    table = (run.folder.parent / "halland.csv").read_text()
    values = {value for line in table.splitlines()[1:] for value in line.split(",") if len(value) > 5}
    assert values
    assert not [value for value in values if value in ended.out]


def test_one_study_and_one_time_can_be_asked_for(studied: Studied) -> None:
    run, _, _ = studied
    home = run.folder / "halland"
    everything = lines(home)
    assert lines(home, "--study", "heart-failure-mortality") == everything
    assert lines(home, "--study", run.submission.study.hex()[:6]) == everything
    middle = everything[10]["at"]
    later = [line for line in everything if line["at"] >= middle]
    assert lines(home, "--since", middle) == later
    assert 0 < len(later) < len(everything)
    assert lines(home, "--since", "2999-01-01") == []
    nothing = hefed("log", "--home", home, "--since", "2999-01-01").out
    assert re.fullmatch(r"Nothing has left this home since 2999-01-01 00:00:00 UTC[-+][:0-9]{5}\.\n", nothing)
    for options in ((), ("--since", "2999-01-01")):
        unknown = hefed("log", "--home", home, "--study", "heart", *options)
        assert unknown.code == 2
        assert unknown.err == (
            "hefed: no study 'heart' is known here; there are heart-failure-mortality "
            f"({run.submission.study.hex()[:8]})\n"
        )
    wrong = hefed("log", "--home", home, "--since", "yesterday")
    assert (wrong.code, wrong.err) == (
        2, "hefed: --since 'yesterday' is no date; write it as 2026-11-26 or 2026-11-26T14:30\n"
    )  # fmt: skip


def test_a_home_without_a_state_is_said_to_have_none(tmp_path: Path) -> None:
    ended = hefed("log", "--home", tmp_path)
    assert ended.code == 2
    assert ended.err == (
        f"hefed: {tmp_path} has no state.sqlite: no process has run there, so nothing has left it; check the name\n"
    )
    (tmp_path / "state.sqlite").write_bytes(b"no database at all" * 1000)
    ended = hefed("log", "--home", tmp_path)
    assert ended.code == 2
    assert "state.sqlite cannot be read: file is not a database" in ended.err


def test_an_analysts_home_is_said_to_keep_no_record(tmp_path: Path) -> None:
    home = make_federation(tmp_path, REGIONS, "127.0.0.1:7100")["analyst"]
    for command in (("log",), ("transcript", "x"), ("result", "x")):
        ended = hefed(*command, "--home", home)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == (
            f"hefed: {home} is an analyst's home, which keeps no record of studies: hefed submit sends the study that "
            "its file asks for to aggregator, and no other message; what the regions sent is in theirs\n"
        )


def test_a_state_of_another_form_is_read_by_nobody_but_its_own_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for form, words in (
        (1, "an older version of hefed; start the node once"),
        (3, "a newer version of hefed; read it"),
    ):
        store._run(f"PRAGMA user_version = {form}")
        with pytest.raises(NodeError, match=words):
            History(tmp_path)
    store._db.close()


def test_a_message_that_cannot_be_read_is_shown_as_that(tmp_path: Path) -> None:
    store, study = Store(tmp_path), bytes(32)
    store.add_study(study)
    store.remember(study, "approval", b"\x82nonsense", (), made=1.0)
    store.close()
    with History(tmp_path) as history:
        ((line,),) = (section.lines for section in log_sections(history, aggregator="a"))
    assert (line.what, line.size) == ("a message that this version of hefed cannot read", 9)


CONTENTS: tuple[m.Content, ...] = (
    m.Approval(commitment=None, dealing_keys={"a": bytes(1216)}, reading_key=None),
    m.Refusal(words="not with us"),
    m.Dealing(approvals={}, keyholders=["a", "b"]),
    m.Deal(hashes=[bytes(32)], sealed={"b": b"", "a": b""}),
    m.Acknowledgement(deals={}, content_keys={"a": b""}),
    m.Complaint(dealer="b", words="they do not fit"),
    m.Proposal(acknowledgements={}),
    m.CohortSignature(cohort=bytes(32)),
    m.Contribution(round=2, purpose="means", label=bytes(32), values=1),
    m.Open(round=2, attempt=1, total=bytes(32), keyholders=["a"]),
    m.Check(round=2, list=bytes(32), value=bytes(24)),
    m.Answer(round=2, attempt=3, list=bytes(32)),
    m.Sum(round=2, absent=[]),
    m.Closing(last=bytes(32), decisions=bytes(32), outcome="error", sealed=b""),
    m.End(words="over", missing=["a"]),
)


def test_every_kind_of_message_that_a_home_sends_has_words() -> None:
    assert {content.kind for content in CONTENTS} == set(m.KINDS) - {"invitation"}  # an analyst's, who has no state
    around = departures.Around("aggregator", None, ("a", "b"))
    said = {content.kind: departures.read(content, around) for content in CONTENTS}
    assert not [kind for kind, reading in said.items() if "cannot read" in reading.what]
    assert said["deal"].sealed_to == ("a", "b")
    assert said["refusal"].what == "refusal: not with us"
    assert said["answer"].what == "share answers for the sum of round 2, attempt 3"
    assert said["closing"].to == "sealed to the analyst, who asked for the study"
    assert said["contribution"].what.endswith("1 encrypted number")


@pytest.mark.parametrize(("size", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (35_140_000, "35.1 MB")])
def test_sizes(size: int, words: str) -> None:
    assert size_text(size) == words


# --- Backup ----------------------------------------------------------------------------------------

SAVED = ["identity.key", "halland.card", "rosters/1.roster", "roster.cbor", "settings.toml"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with everything in it that there may be."""
    folder = make_federation(tmp_path, REGIONS, "127.0.0.1:7100")["halland"]
    member = Home(folder)
    (folder / "settings.toml").write_text("[policy]\nmin_rows = 20\n")
    study = bytes(32)
    Decisions(folder, member.identity).write(Decision(study=study, answer="approved", at=1.0))
    store = Store(folder)
    store.add_study(study)
    store.vault(study).get_or_create("seed", lambda: bytes(32))
    store.remember(study, "approval", b"envelope", ())
    store.commit()  # and is left open, so that its log is there too
    for name in ("status.json", "lock", "patients.csv"):
        (folder / name).write_text("not to be saved")
    (folder / "evil.card").symlink_to("/etc/hostname")
    return folder


def test_a_backup_holds_what_is_to_be_saved_and_nothing_else(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "halland.tar"
    ended = hefed("backup", "--home", home, "--to", file)
    assert (ended.code, ended.err) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        assert tar.getnames() == [*SAVED, f"decisions/{bytes(32).hex()}.approved"]
        for member in tar.getmembers():
            assert (member.type, member.mode, member.uid, member.uname) == (tarfile.REGTYPE, 0o600, 0, "")
            held = tar.extractfile(member)
            assert held is not None
            assert held.read() == (home / member.name).read_bytes()


def test_a_backup_is_never_written_over(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "halland.tar"
    file.write_bytes(b"the only other one")
    ended = hefed("backup", "--home", home, "--to", file)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"hefed: {file} is there already and is not written over; name another file\n"
    assert file.read_bytes() == b"the only other one"
    ended = hefed("backup", "--home", home, "--to", tmp_path / "nowhere/halland.tar")
    assert (ended.code, ended.err) == (
        2,
        f"hefed: {tmp_path}/nowhere/halland.tar cannot be written: there is no folder {tmp_path}/nowhere; make it, or "
        "name another file\n",
    )


def test_it_says_what_to_save_and_what_never_to_and_changes_nothing(home: Path) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    ended = hefed("backup", "--home", home)
    assert ended.code == 0
    save, never = ended.out.split("Never save, and never put back:")
    for name in ("identity.key", "*.card", "rosters/", "roster.cbor", "settings.toml", "decisions/"):
        assert re.search(rf"^{re.escape(name)} +1 file +", save, re.MULTILINE), name
    assert re.search(r"^study-keys/ +1 file ", never, re.MULTILINE)
    assert re.search(r"^state\.sqlite +3 files ", never, re.MULTILINE)
    assert re.search(r"^state\.sqlite .*under a label that was used", never, re.MULTILINE)
    assert "To restore" not in ended.out
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_what_it_says_about_restoring_gives_the_same_member_with_an_empty_state(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "halland.tar"
    said = hefed("backup", "--home", home, "--to", file).out
    (command,) = re.findall(r"^  2\. (mkdir .*)$", said, re.MULTILINE)
    public = Home(home).identity.signer.public
    shutil.rmtree(home)  # the machine is lost
    subprocess.run(["sh", "-c", command], check=True)
    restored = Home(home)
    assert restored.identity.signer.public == public
    roster = restored.in_force()
    assert roster is not None
    assert restored.me(roster).name == "halland"
    assert restored.has_signed(roster)
    decision = Decisions(home, restored.identity).find(bytes(32))
    assert decision is not None
    assert decision.answer == "approved"
    assert not (home / "state.sqlite").exists()
    store = Store(home)
    assert store.studies() == []
    store.close()


def test_what_is_no_home_has_nothing_to_save(tmp_path: Path) -> None:
    ended = hefed("backup", "--home", tmp_path, "--to", tmp_path / "a.tar")
    assert ended.code == 2
    assert "is no home of a member" in ended.err
    assert not (tmp_path / "a.tar").exists()
