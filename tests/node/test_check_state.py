"""What a check before a start says of the folder, the state and the disk: each fault with its sentence."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hefed.node import schema
from hefed.node.check_state import disk_finding, metrics_finding, process_finding, state_finding
from hefed.node.files import lock_folder
from hefed.node.finding import Finding, wrong
from hefed.node.status import StatusFile
from hefed.node.store import Store
from tests.node.findings import sentences
from tests.node.runs import environment
from tests.node.test_disk import namespace


def with_form(folder: Path, form: int) -> Path:
    Store(folder).close()
    with closing(sqlite3.connect(folder / "state.sqlite")) as db:
        db.execute(f"PRAGMA user_version = {form}")
    return folder


def test_a_state_that_cannot_be_gone_on_with(tmp_path: Path) -> None:
    newer = with_form(tmp_path / "newer", 9)
    assert sentences([state_finding(newer)]) == [
        f"{newer}/state.sqlite was written by a newer version of hefed (form 9 of the state, this one knows up to "
        f"{schema.VERSION}); install that version again"
    ]
    foreign = with_form(tmp_path / "foreign", 0)
    assert sentences([state_finding(foreign)]) == [
        f"{foreign}/state.sqlite is a database, but not one of hefed; move it away"
    ]
    damaged = with_form(tmp_path / "damaged", schema.VERSION) / "state.sqlite"
    damaged.write_bytes(b"no database" * 1000)
    assert sentences([state_finding(damaged.parent)]) == [
        f"{damaged} cannot be read: file is not a database; look at the disk and the file's owner"
    ]
    damaged.chmod(0o644)
    assert sentences([state_finding(damaged.parent)]) == [
        f"others than its owner can read {damaged}; run: chmod 600 {damaged}"
    ]


def test_an_older_state_is_no_fault(tmp_path: Path) -> None:
    assert state_finding(with_form(tmp_path, 1)) == Finding(
        "state", "works", f"state.sqlite is of form 1; the start brings it to form {schema.VERSION}, on a copy"
    )


IN_A_FOLDER = """
import sys
from pathlib import Path
from hefed.node.check_state import disk_finding, state_findings

for finding in (*state_findings(Path(sys.argv[1])), disk_finding(Path(sys.argv[1]), 0)):
    print(finding.what, finding.state, finding.words, sep="|")
"""


def looked_at(folder: Path, prefix: Sequence[str]) -> list[str]:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", IN_A_FOLDER, str(folder)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_folder_that_can_only_be_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Store(home).close()
    if namespace():
        mounts = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        prefix, reason = [*namespace(), "sh", "-c", mounts, str(home)], "read-only file system"
    else:
        home.chmod(0o500)
        prefix, reason = [], "permission denied"
    folder, state, *_ = looked_at(home, prefix)
    home.chmod(0o700)
    assert folder == f"folder|wrong|{home} cannot be written to: {reason}; mend the disk, or see whose the folder is"
    assert state == "state|not tried|needs: folder"
    assert sorted(path.name for path in home.iterdir()) == ["state.sqlite"]


def test_a_disk_with_too_little_room(tmp_path: Path) -> None:
    finding = disk_finding(tmp_path, 2**60)
    assert re.fullmatch(
        rf"the disk of {tmp_path} has \d+\.\d [GM]iB free, and should have 1073741824\.0 GiB: what is sent and "
        r"received in a study is kept until it has ended; make room",
        finding.words,
    )
    assert finding.state == "wrong"
    assert disk_finding(tmp_path, 1).ok


def test_a_disk_without_room_for_files(tmp_path: Path) -> None:
    if not namespace():  # no other machine than one with mounts of its own can be made to have few
        return
    mounts = 'mount -t tmpfs -o size=4m,nr_inodes=100 tmpfs "$0" && exec "$@"'
    *_, disk = looked_at(tmp_path, [*namespace(), "sh", "-c", mounts, str(tmp_path)])
    assert re.fullmatch(
        rf"disk\|wrong\|the disk of {tmp_path} has place for \d+ files more, and should have for 1000; remove some",
        disk,
    )


def test_a_port_for_metrics_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert sentences([metrics_finding(port, running=False)]) == [
            f"port {port} of 127.0.0.1 cannot be opened for Prometheus: address already in use; name another one in "
            "[operation] metrics_port"
        ]
        assert metrics_finding(port, running=True).state == "note"


def test_a_process_that_runs_on_an_earlier_roster(tmp_path: Path) -> None:
    StatusFile(tmp_path)({"role": "region", "roster": 1})
    assert process_finding(tmp_path, 2).words == "none runs in this home yet"
    lock = lock_folder(tmp_path)
    try:
        assert process_finding(tmp_path, 1).ok
        assert process_finding(tmp_path, None).ok
        assert process_finding(tmp_path, 2) == wrong(
            "process",
            "one runs in this home with version 1 of the roster, and version 2 is in force now; restart it",
        )
    finally:
        os.close(lock)
