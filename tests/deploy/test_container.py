"""The container file: complete, without root, and its commands in their order as far as this machine can run them."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, commands
from .machine import Machine

FILE = ROOT / "examples/deployment/Containerfile"
HOME, KERNELS = "/srv/hefed/home", "/srv/hefed/kernels"


def instructions() -> list[tuple[str, str]]:
    """The file's instructions, in order."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE))
    lines = [line.partition(" ") for line in text.splitlines() if line]
    return [(name, rest) for name, _, rest in lines]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions after each FROM."""
    split: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            split.append([])
        elif split:
            split[-1].append((name, rest))
    return split


def given(stage: list[tuple[str, str]], wanted: str) -> list[str]:
    """The arguments of every instruction of that name."""
    return [rest for name, rest in stage if name == wanted]


def test_every_instruction_is_known() -> None:
    known = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "VOLUME", "WORKDIR"}
    assert {name for name, _ in instructions()} <= known


def test_it_installs_by_the_commands_of_the_wheelhouse(wheelhouse: Path) -> None:
    build, _ = stages()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    run = [command.replace("${PYTHON}", python) for command in given(build, "RUN")]
    assert [*run, "/opt/hefed/bin/hefed --version"] == commands((wheelhouse / "INSTALL.txt").read_text(), "")


def test_the_wheelhouse_that_it_is_built_in_has_it_and_all_that_it_copies(wheelhouse: Path) -> None:
    assert (wheelhouse / FILE.name).read_text() == FILE.read_text()
    build, final = stages()
    assert given(build, "COPY") == [". ."]
    assert given(final, "COPY") == ["--from=build /opt/hefed /opt/hefed"]
    assert (wheelhouse / "requirements.txt").exists()


def test_the_image_that_it_begins_with_has_a_python_that_hefed_supports_and_tests() -> None:
    assert instructions()[0] == ("ARG", "PYTHON=3.11")
    sources = given(instructions(), "FROM")
    assert sources == [f"docker.io/library/python:${{PYTHON}}-slim-bookworm{end}" for end in (" AS build", "")]


def test_what_it_starts_is_not_root_and_keeps_its_state_in_a_volume() -> None:
    _, final = stages()
    (user,) = given(final, "USER")
    assert min(map(int, user.split(":"))) > 0
    names = [name for name, _ in final]
    assert names.index("USER") < names.index("VOLUME") < names.index("ENTRYPOINT")
    assert given(final, "VOLUME") == [f'["{HOME}", "{KERNELS}"]']
    assert given(final, "WORKDIR") == [HOME]


def test_no_secret_can_be_in_it() -> None:
    text = FILE.read_text()
    assert "identity" not in text
    assert not re.search(r"^(ENV|ARG) .*(PASSWORD|KEY|TOKEN|SECRET)", text, re.MULTILINE)
    _, final = stages()
    assert "init" not in " ".join(given(final, "RUN"))


@pytest.fixture(scope="module")
def image(machine: Machine) -> Machine:
    """The machine, on which the last stage's commands have been run, each as the user that it is run as."""
    user = environment = ""
    _, final = stages()
    for name, rest in final:
        if name == "USER":
            user = rest
        elif name == "ENV":
            environment += rest + " "
        elif name == "RUN" and user:
            machine.run(restricted(f"env {environment}{rest}", user), seconds=300)
        elif name == "RUN":
            machine.run(rest)
    return machine


def restricted(command: str, user: str = "10001:10001", *read_only: str) -> str:
    """A command as this user without capabilities, and with these mounts read-only."""
    uid, gid = user.split(":")
    drop = f"setpriv --reuid {uid} --regid {gid} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
    mounts = "".join(f"mount -o remount,bind,ro {place} && " for place in read_only)
    return f"unshare --mount sh -c {shlex.quote(mounts + f'exec {drop} {command}')}"


def test_a_whole_study_runs_as_in_a_container(image: Machine) -> None:
    _, final = stages()
    environment = " ".join(given(final, "ENV"))
    volumes = "".join(f"mount --bind {place} {place} && " for place in (HOME, KERNELS))
    tmpfs = "mount -t tmpfs tmpfs /tmp && "
    compiled = f"find {KERNELS} -name '*.nbc' -printf '%f %T@\\n'"
    before = set(image.run(compiled).stdout.splitlines())
    assert len(before) > 10
    command = restricted(
        f"env {environment} sh -c '(! touch /etc/x /opt/hefed/x /var/x /srv/x) && "
        f"hefed simulate /mnt/examples/heart-failure/cox.toml --out {HOME}/run'",
        given(final, "USER")[0],
        "/", "/opt", "/etc", "/run", "/var/lib", "/var/cache", "/srv",
    )  # fmt: skip
    done = image.run(f"unshare --mount sh -c {shlex.quote(f'{volumes}{tmpfs}exec {command}')}", seconds=300)
    assert "n = 299, events = 96" in done.stdout
    assert done.stderr.count("Read-only file system") == 4
    assert before <= set(image.run(compiled).stdout.splitlines()), "kernels were compiled again"
