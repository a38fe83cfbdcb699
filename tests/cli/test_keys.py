"""`hefed init --passphrase` and `hefed keys`, as people use them, and a study of protected homes."""

import json
import os
import pty
import re
import select
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from hefed.node import history
from hefed.node.home import Home
from hefed.node.store import Store
from hefed.node.wrapping import SEALED, is_protected
from hefed.protocol import codec
from hefed.study import Study
from tests.node.homes import make_federation, with_table
from tests.node.runs import (
    EXAMPLES,
    assert_same_fit,
    command,
    cox_reference,
    environment,
    free_port,
    hefed,
    started,
    wait_for,
)
from tests.node.witness import search

WORDS, OTHER = "six words nobody has put together", "seven quite different ones"
COX = Study.load(EXAMPLES / "heart-failure" / "cox.toml")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No passphrase comes from where the tests run."""
    for name in ("CREDENTIALS_DIRECTORY", "HEFED_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)


def written(path: Path, words: str = WORDS) -> Path:
    """A file with a passphrase, for its owner only."""
    path.write_text(f"{words}\n")
    path.chmod(0o600)
    return path


def typed(answers: list[str], *arguments: str | Path) -> tuple[int, str]:
    """Runs hefed on a terminal and answers each question as it comes. Gives the exit code and all that was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments), env=environment(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown, left = b"", list(answers)
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                shown += os.read(ours, 2**16)
            except OSError:  # Linux says so when the other end is closed
                break
            if left and shown.endswith(b": "):
                os.write(ours, f"{left.pop(0)}\n".encode())
        return process.wait(timeout=10), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_passphrase_is_typed_twice_unseen_and_opens_the_home(tmp_path: Path) -> None:
    home = tmp_path / "halland"
    code, shown = typed([WORDS, WORDS], "init", "halland", "--home", home, "--passphrase")
    assert (code, WORDS in shown) == (0, False)
    assert is_protected(home)
    code, shown = typed([WORDS], "keys", "show", "--home", home)
    assert (code, WORDS in shown) == (0, False)
    assert "passphrase    yes" in shown
    code, shown = typed([OTHER], "keys", "show", "--home", home)
    assert (code, OTHER in shown) == (2, False)
    assert "does not open: the passphrase is another one, or the file was altered" in " ".join(shown.split())
    code, shown = typed([WORDS, OTHER, OTHER], *change(home))
    assert (code, OTHER in shown) == (0, False)
    code, _ = typed([OTHER], "keys", "show", "--home", home)
    assert code == 0


def change(home: Path) -> list[str | Path]:
    return ["keys", "protect", "--change", "--home", home]


def test_two_that_differ_make_no_home(tmp_path: Path) -> None:
    code, shown = typed([WORDS, f"{WORDS}."], "init", "halland", "--home", tmp_path / "h", "--passphrase")
    assert (code, "the two passphrases differ" in shown) == (2, True)
    assert not (tmp_path / "h/identity.key").exists()


def test_without_a_passphrase_every_command_fails_at_once_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = make_federation(tmp_path, COX.contributors, "127.0.0.1:1")
    passphrase, home = written(tmp_path / "p"), homes["halland"]
    with monkeypatch.context() as there:
        there.setenv("HEFED_PASSPHRASE_FILE", str(passphrase))
        for one in (home, homes["aggregator"], homes["analyst"]):
            ended = hefed("keys", "protect", "--home", one)
            assert (ended.code, ended.out) == (0, f"{one}: the identity and 0 study keys are under a passphrase\n")
        ended = hefed("keys", "show", "--home", home)
        shown = rf"identity      halland, made \S+ \S+\nfingerprint   {Home(home).card().fingerprint}\n"
        shown += f"ends          {Home(home).card().ends}\n"
        assert re.fullmatch(shown + "passphrase    yes\nstudy keys    none\n", ended.out)
    study = tmp_path / "study.toml"
    study.write_text(re.sub(r"(?m)^data = .*$", "contributes = true", COX_TEXT))
    for arguments in (
        ("node", "--home", home),
        ("aggregator", "--home", homes["aggregator"]),
        ("submit", study, "--home", homes["analyst"], "--out", tmp_path / "out"),
        ("approve", COX.id, "--yes", "--home", home),
        ("transcript", COX.id, "--home", home, "--out", tmp_path / "t"),
        ("backup", "--home", home),
        ("keys", "show", "--home", home),
        ("keys", "protect", "--remove", "--home", home),
    ):
        ended = hefed(*arguments)
        assert (ended.code, ended.out) == (2, ""), arguments
        assert re.fullmatch(
            r"hefed: \S+ is under a passphrase and nobody is there to be asked for it; write it to a file for its "
            r"owner only and set HEFED_PASSPHRASE_FILE=FILE, or give it to the service: "
            r"LoadCredential=hefed-passphrase:FILE\n",
            ended.err,
        ), ended.err


def test_a_passphrase_file_that_is_not_there_is_not_looked_for_in_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEFED_PASSPHRASE_FILE", str(tmp_path / "none"))
    ended = hefed("init", "halland", "--home", tmp_path / "h", "--passphrase")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"hefed: {tmp_path / 'none'} cannot be read: no such file or directory; check the name in "
        "HEFED_PASSPHRASE_FILE\n"
    )


def test_the_log_of_a_protected_home_needs_no_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = make_federation(tmp_path, COX.contributors, "127.0.0.1:1")
    for name in ("halland", "aggregator"):
        Store(homes[name]).close()
        with monkeypatch.context() as there:
            there.setenv("HEFED_PASSPHRASE_FILE", str(written(tmp_path / "p")))
            assert hefed("keys", "protect", "--home", homes[name]).code == 0
        ended = hefed("log", "--home", homes[name])
        assert (ended.code, ended.err) == (0, "")
    assert [history.names(homes[name])[1] for name in ("halland", "aggregator")] == [None, "aggregator"]
    (homes["halland"] / "aggregator.card").write_bytes((homes["aggregator"] / "aggregator.card").read_bytes())
    assert "is under a passphrase and nobody is there" in hefed("log", "--home", homes["halland"]).err


def test_a_check_asks_for_the_passphrase_once_and_before_anything_else_is_shown(tmp_path: Path) -> None:
    home = tmp_path / "halland"
    assert typed([WORDS, WORDS], "init", "halland", "--home", home, "--passphrase")[0] == 0
    code, shown = typed([WORDS, WORDS], "node", "--check", "--home", home)
    assert code == 2  # there is no roster
    assert shown.startswith(f"Passphrase of {home}: ")
    assert shown.count("Passphrase of") == 1
    assert shown.index("trying") > len(f"Passphrase of {home}: ")
    assert "the keys are under one" in shown
    code, shown = typed([OTHER, WORDS], "node", "--check", "--home", home)
    assert (code, shown.count("Passphrase of"), "trying" in shown) == (2, 1, False)
    assert "does not open: the passphrase is another one" in " ".join(shown.split())


COX_TEXT = (EXAMPLES / "heart-failure" / "cox.toml").read_text()


def test_a_backup_of_a_protected_home_is_protected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "halland"
    Home.init(home, "halland")
    secrets = codec.decode((home / "identity.key").read_bytes())
    monkeypatch.setenv("HEFED_PASSPHRASE_FILE", str(written(tmp_path / "p")))
    assert hefed("keys", "protect", "--home", home).code == 0
    assert hefed("backup", "--home", home, "--to", tmp_path / "saved.tar").code == 0
    assert search(tmp_path, secrets) == {}


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    ended = hefed("keys", "protect", "--remove", "--change", "--home", tmp_path)
    assert (ended.code, ended.err) == (2, "hefed: --remove and --change are two things; say one of them\n")


def test_a_study_of_protected_homes_whose_passphrase_is_a_credential_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes are killed and started again while the study runs, as after a power cut, with nobody to ask."""
    homes = make_federation(tmp_path / "homes", COX.contributors, f"127.0.0.1:{free_port()}")
    secrets = {
        f"{name}, {what}": secret
        for name, home in homes.items()
        for what, secret in codec.decode((home / "identity.key").read_bytes()).items()
    }
    credentials = tmp_path / "credentials"
    credentials.mkdir(0o700)
    written(credentials / "hefed-passphrase")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    for name, home in homes.items():
        if name in COX.contributors:
            with_table(home, COX.tables[name])
        assert hefed("keys", "protect", "--home", home).code == 0
    study, out, said = tmp_path / "study.toml", tmp_path / "out", []
    study.write_text(re.sub(r"(?m)^data = .*$", "contributes = true", COX_TEXT))
    with started("submit", study, "--home", homes["analyst"], "--out", out) as analyst:
        with ExitStack() as running:
            processes = start(running, homes)
            for region in COX.contributors:
                wait_for(lambda region=region: asked(homes[region]), 120)
            for region in ("halland", "kronoberg"):
                said.append(approve(homes[region]))
            wait_for(lambda: all(list(homes[region].glob("study-keys/*")) for region in ("halland", "kronoberg")), 60)
            for process in processes:
                process.kill()
                said.extend(process.communicate())
        keys = [path.read_bytes() for home in homes.values() for path in home.glob("study-keys/*")]
        assert len(keys) >= 2
        assert all(key.startswith(SEALED) for key in keys)
        with ExitStack() as running:
            processes = start(running, homes)
            wait_for(lambda: asked(homes["orebro"]), 120)
            said.append(approve(homes["orebro"]))
            said.extend(analyst.communicate(timeout=240))
            assert analyst.returncode == 0, said
            wait_for(lambda: not [key for home in homes.values() for key in home.glob("study-keys/*")], 60)
            for process in processes:
                process.terminate()
                said.extend(process.communicate(timeout=60))
    result = json.loads((out / "result.json").read_text())
    rows = result["coefficients"]
    assert_same_fit(
        [row["estimate"] for row in rows],
        [row["std_error"] for row in rows],
        result["log_likelihood"],
        result["log_likelihood_null"],
        cox_reference(),
    )
    for name in ("halland", "aggregator"):
        written_to = tmp_path / f"{name}.transcript"
        assert hefed("transcript", COX.id, "--home", homes[name], "--out", written_to).code == 0
    (credentials / "hefed-passphrase").unlink()
    (tmp_path / "said").write_text("".join(said))
    assert "ready" in "".join(said)
    assert search(tmp_path, secrets | {"passphrase": WORDS.encode()}) == {}


def start(running: ExitStack, homes: dict[str, Path]) -> "list[subprocess.Popen[str]]":
    processes = [running.enter_context(started("aggregator", "--home", homes["aggregator"]))]
    return processes + [running.enter_context(started("node", "--home", homes[name])) for name in COX.contributors]


def asked(home: Path) -> bool:
    """Whether the study waits for the people of this home."""
    ended = hefed("status", "--json", "--home", home)
    if ended.code:
        return False
    studies = json.loads(ended.out).get("studies", ())
    return [study["state"] for study in studies] == ["pending"]


def approve(home: Path) -> str:
    ended = hefed("approve", COX.id, "--yes", "--home", home)
    assert ended.code == 0, ended.err
    return ended.out + ended.err
