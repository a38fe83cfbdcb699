"""A folder for results that somebody else has prepared: nothing outside it is read, changed or destroyed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hefed.node.errors import NodeError
from hefed.node.parties import Parties
from hefed.study import Study
from tests.node.runs import study_file


def _state(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in (folder, *folder.rglob("*"))
    }


def _whole(out: Path, victim: Path) -> None:
    out.rmdir()
    out.symlink_to(victim)


def _lock(out: Path, victim: Path) -> None:
    (out / "lock").symlink_to(victim / "made")


def _party(out: Path, victim: Path) -> None:
    (out / "lock").touch()
    (out / "halland").symlink_to(victim)


def _keys(out: Path, victim: Path) -> None:
    (out / "lock").touch()
    (out / "halland").mkdir()
    (out / "halland" / "study-keys").symlink_to(victim / "study-keys")


def _identity(out: Path, victim: Path) -> None:
    (out / "lock").touch()
    (out / "halland").mkdir()
    (out / "halland" / "identity.key").symlink_to(victim / "identity.key")


def _inner_lock(out: Path, victim: Path) -> None:
    (out / "lock").touch()
    (out / "halland").mkdir()
    (out / "halland" / "lock").symlink_to(victim / "made")


@pytest.mark.parametrize("prepare", [_whole, _lock, _party, _keys, _identity, _inner_lock])
def test_links_in_a_folder_for_results_lead_nowhere(tmp_path: Path, prepare: Callable[[Path, Path], None]) -> None:
    study = Study.load(study_file(tmp_path))
    victim, out = tmp_path / "victim", tmp_path / "out" / "parties"
    (victim / "study-keys").mkdir(parents=True)
    (victim / "lock").touch()
    (victim / "identity.key").write_bytes(b"I" * 80)
    (victim / "study-keys" / "x").write_bytes(b"K" * 32)
    out.mkdir(parents=True)
    prepare(out, victim)
    before, descriptors = _state(victim), os.listdir("/proc/self/fd")
    with pytest.raises(NodeError, match="is a link, which hefed did not put there; remove it or name another folder"):
        Parties(out, study)
    assert _state(victim) == before
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def test_a_link_that_appears_during_a_run_is_not_followed_at_its_end(tmp_path: Path) -> None:
    study = Study.load(study_file(tmp_path))
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "identity.key").write_bytes(b"I" * 80)
    with Parties(tmp_path / "parties", study):
        (tmp_path / "parties" / "x").symlink_to(victim)
    assert (victim / "identity.key").read_bytes() == b"I" * 80


def test_a_folder_of_an_earlier_run_is_used_again(tmp_path: Path) -> None:
    study = Study.load(study_file(tmp_path))
    for _ in range(2):
        with Parties(tmp_path / "parties", study) as parties:
            assert (parties.folder / "halland" / "identity.key").exists()
