"""How a process stands, for the people beside it: written whole, read by anybody of the region, running or not."""

import json
import os
import threading
from pathlib import Path

import pytest

from hefed.node.errors import NodeError
from hefed.node.files import lock_folder
from hefed.node.home import Home
from hefed.node.status import FILE, StatusFile, is_running, read_status
from tests.node.homes import make_federation
from tests.node.runs import free_port, hefed, started, wait_for


def test_a_home_where_nothing_has_run(tmp_path: Path) -> None:
    Home.init(tmp_path / "lund", "lund")
    with pytest.raises(NodeError) as caught:
        read_status(tmp_path / "lund")
    assert str(caught.value) == (
        f"no process has run in {tmp_path / 'lund'} yet: hefed node of a region, or hefed aggregator; an analyst has "
        "none, and follows a study with hefed submit"
    )
    assert not is_running(tmp_path / "lund")
    ended = hefed("status", "--home", tmp_path / "lund")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"hefed: no process has run in {tmp_path / 'lund'} yet: ")


def test_what_is_no_home_is_said_to_be_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "card").touch()
    (tmp_path / "parties" / "lund").mkdir(parents=True)
    (tmp_path / "parties" / "lund" / "process.json").touch()
    for name, words in (
        ("none", "there is no folder {0}; check the name, or make a home there: hefed init NAME --home {0}"),
        ("card", "{0} is a file, and a home is a folder; check the name"),
        ("parties", "{0} is no home of a member; make one: hefed init NAME --home {0}"),
        ("parties/lund", "{0} is the folder of a party that hefed simulate made, whose keys end with its study, and no "
         "home of a member; what left it: hefed log --home {0}"),
    ):  # fmt: skip
        for command in (("status",), ("node",), ("keys", "show"), ("backup",)):
            ended = hefed(*command, "--home", tmp_path / name)
            assert (ended.code, ended.out) == (2, "")
            assert ended.err == f"hefed: {words.format(tmp_path / name)}\n"
        if name == "parties/lund":
            assert hefed("init", "lund", "--home", tmp_path / name).err == f"hefed: {words.format(tmp_path / name)}\n"
            assert [path.name for path in (tmp_path / name).iterdir()] == ["process.json"]
        if name in ("none", "card"):
            assert hefed("log", "--home", tmp_path / name).err == f"hefed: {words.format(tmp_path / name)}\n"


def test_what_was_written_is_read_with_whether_its_process_runs(tmp_path: Path) -> None:
    write = StatusFile(tmp_path)
    write({"name": "lund", "studies": []})
    found = read_status(tmp_path)
    assert not found.running
    assert {"name": "lund", "studies": []}.items() <= found.standing.items()
    lock = lock_folder(tmp_path)
    assert read_status(tmp_path).running
    os.close(lock)
    assert not read_status(tmp_path).running


def test_it_is_for_its_owner_and_written_only_when_something_changed(tmp_path: Path) -> None:
    write = StatusFile(tmp_path)
    write({"a": 1})
    first = (tmp_path / FILE).stat()
    assert first.st_mode & 0o777 == 0o600
    write({"a": 1})
    assert (tmp_path / FILE).stat().st_ino == first.st_ino
    write({"a": 2})
    assert (tmp_path / FILE).stat().st_ino != first.st_ino
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    write, stop = StatusFile(tmp_path), threading.Event()
    write({"number": 0, "long": "x" * 100_000})

    def go_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            write({"number": number, "long": "x" * 100_000})

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        seen = {read_status(tmp_path).standing["number"] for _ in range(200)}
    finally:
        stop.set()
        thread.join()
    assert len(seen) > 1


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "7", "null", "\x00"])
def test_a_file_that_is_no_standing(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(NodeError) as caught:
        read_status(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / FILE} cannot be read (")
    assert str(caught.value).endswith("); remove it, and the running process writes it again")


def test_a_folder_that_cannot_be_written_to_ends_nothing_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "none"
    write = StatusFile(home)
    for number in (1, 1, 2):
        write({"a": number})
    said = f"{home / FILE} cannot be written: no such file or directory; make room or give access"
    assert caplog.messages == [said]
    home.mkdir()
    write({"a": 2})  # the same as before, but that was not written
    assert read_status(home).standing["a"] == 2
    (home / FILE).unlink()
    home.rmdir()
    write({"a": 3})
    assert caplog.messages == [said, said]


# --- The command ------------------------------------------------------------------------------------


def test_the_command_beside_a_process_that_runs_and_after_it(tmp_path: Path) -> None:
    homes = make_federation(tmp_path, ("halland", "kronoberg", "orebro"), f"127.0.0.1:{free_port()}")
    home = homes["aggregator"]
    with started("aggregator", "--home", home):
        wait_for(lambda: (home / FILE).exists() and "members" in read_status(home).standing)
        said = hefed("status", "--home", home)
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("aggregator (aggregator): running\n")
        rows = [line.split() for line in said.out.splitlines()]
        assert all([name, "no"] in rows for name in ("analyst", "halland", "kronoberg", "orebro"))
        assert said.out.endswith("No study is running or waiting.\n")
        standing = json.loads(hefed("status", "--home", home, "--json").out)
        assert (standing["running"], standing["role"], standing["studies"]) == (True, "aggregator", [])
        assert {one["name"] for one in standing["members"]} == {"aggregator", *homes} - {"aggregator"}
    said = hefed("status", "--home", home)
    assert said.code == 0
    assert said.out.startswith("aggregator (aggregator): not running; this is how it stood at ")
    assert json.loads(hefed("status", "--home", home, "--json").out)["running"] is False
