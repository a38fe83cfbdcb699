"""`make wheelhouse`: complete, pinned, and enough to install hefed where there is no internet."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from hashlib import file_digest
from pathlib import Path

from hefed import __version__

from .conftest import ROOT, commands
from .machine import Machine

SCRIPT = "examples/deployment/wheelhouse.py"


def test_make_wheelhouse_is_the_command() -> None:
    assert f"\nwheelhouse: $(READY)\n\t$(VENV)/bin/python {SCRIPT} $(WHEELHOUSE)\n" in (ROOT / "Makefile").read_text()


def test_every_wheel_is_listed_with_its_hash_and_nothing_else(wheelhouse: Path) -> None:
    lines = (wheelhouse / "requirements.txt").read_text().splitlines()
    hashes = {line.split(" --hash=sha256:")[1] for line in lines}
    wheels = list(wheelhouse.glob("*.whl"))
    for wheel in wheels:
        with wheel.open("rb") as file:
            assert file_digest(file, "sha256").hexdigest() in hashes
    assert len(wheels) == len(lines) == len(hashes)


def test_every_hash_but_hefeds_own_is_one_of_the_pinned(wheelhouse: Path) -> None:
    pinned = (ROOT / "requirements.txt").read_text()
    for line in (wheelhouse / "requirements.txt").read_text().splitlines():
        requirement, digest = line.split(" --hash=sha256:")
        if requirement != f"hefed=={__version__}":
            assert f"{requirement} " in pinned
            assert f"--hash=sha256:{digest}" in pinned


def test_what_only_tests_need_is_left_out(wheelhouse: Path) -> None:
    names = {wheel.name.partition("-")[0] for wheel in wheelhouse.glob("*.whl")}
    assert {"hefed", "numpy", "tenseal", "pyzmq", "prometheus_client", "duckdb", "pyarrow", "psycopg_binary"} <= names
    assert not {"pytest", "ruff", "mypy", "hypothesis", "scipy", "scikit_learn", "setuptools"} & names


def test_hefeds_wheel_has_every_file_of_the_package_and_no_other(wheelhouse: Path) -> None:
    (wheel,) = wheelhouse.glob("hefed-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.startswith("hefed-")}
    files = (path.relative_to(ROOT) for path in (ROOT / "hefed").rglob("*") if path.is_file())
    here = {str(path) for path in files if "__pycache__" not in path.parts}
    assert packed == here


def test_the_tar_holds_the_folder_and_depends_on_nothing_else(wheelhouse: Path) -> None:
    with tarfile.open(wheelhouse.with_name("wheelhouse.tar")) as tar:
        members = tar.getmembers()
    files = sorted(path.name for path in wheelhouse.iterdir())
    assert [member.name for member in members] == ["wheelhouse", *(f"wheelhouse/{name}" for name in files)]
    assert {(member.uid, member.gid, member.mtime, member.uname) for member in members} == {(0, 0, 0, "root")}


def test_a_folder_that_is_no_wheelhouse_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"{tmp_path} holds something that is no wheelhouse; name another folder: make wheelhouse WHEELHOUSE=DIR\n"
    )
    assert (tmp_path / "mine").read_text() == "precious"


def test_hefed_is_installed_without_a_network_and_checks_a_study(machine: Machine) -> None:
    assert machine.run("ip -o link | wc -l").stdout == "1\n"  # the loopback
    assert machine.run("/opt/hefed/bin/hefed --version").stdout == f"hefed {__version__}\n"
    assert machine.run("/opt/hefed/bin/pip check").stdout == "No broken requirements found.\n"
    said = machine.run("/opt/hefed/bin/hefed simulate --check /mnt/examples/heart-failure/cox.toml").stdout
    assert re.search(r"halland.*\n.*kronoberg.*\n.*orebro", said)
    machine.run("/opt/hefed/bin/python -c 'import duckdb, pyarrow, psycopg, sqlalchemy, prometheus_client'")


def test_hefed_is_installed_without_an_index(wheelhouse: Path, tmp_path: Path) -> None:
    nowhere = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "https_proxy": "http://127.0.0.1:9"}
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")}
    for command in commands((wheelhouse / "INSTALL.txt").read_text(), ""):
        subprocess.run(
            ["sh", "-c", command.replace("/opt/hefed", str(tmp_path / "venv"))],
            cwd=wheelhouse, env={**kept, **nowhere}, timeout=300, check=True,
        )  # fmt: skip
    done = subprocess.run(
        [tmp_path / "venv/bin/hefed", "simulate", "--check", ROOT / "examples/heart-failure/cox.toml"],
        env={**kept, **nowhere}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
