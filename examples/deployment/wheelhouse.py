"""Makes a folder and a tar file from which hefed is installed without internet: python wheelhouse.py FOLDER.

Run by `make wheelhouse`, in .venv. It takes the pinned requirements that hefed needs when it runs, in their wheels for
this platform and this Python, each checked against its hash in requirements.txt, and hefed's own wheel, built here.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[2]
EXTRAS = ("duckdb", "parquet", "sql")
"""All that a region's table may lie in; the tests' own requirements are left out."""
SOURCE = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "hefed")
ALSO = (
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "LICENSE",
    "NOTICE",
    "examples/deployment/Containerfile",
    "examples/deployment/hefed.sysusers",
    "examples/deployment/hefed-node.service",
    "examples/deployment/hefed-aggregator.service",
)
"""What a region should have at hand besides, copied into the folder."""
INSTALL = "INSTALL.txt"

INSTRUCTIONS = """\
hefed {version} for {platform}{glibc}.

Needs {command} with its venv module; nothing is fetched. In this folder, as root:

  {command} -m venv /opt/hefed
  /opt/hefed/bin/pip install --no-index --find-links . --require-hashes --requirement requirements.txt
  /opt/hefed/bin/hefed --version

requirements.txt holds the SHA-256 of every wheel. To know that this folder is the one that was made, compare the
SHA-256 of its tar file with whoever made it, by another way than the file came: sha256sum {tar}

As a service of systemd: hefed-node.service and hefed-aggregator.service; as a container: Containerfile. Their first
lines say how.
"""


class Built(Distribution):
    """What a wheel says about itself."""

    def __init__(self, metadata: str) -> None:
        self._metadata = metadata

    def read_text(self, filename: str) -> str | None:
        """Its metadata; of the other files nothing is asked."""
        return self._metadata if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        """Nowhere."""
        raise FileNotFoundError(path)


def main(folder: Path) -> None:
    """Makes `folder` and `folder`.tar anew."""
    if folder.exists() and not (folder / INSTALL).exists():
        sys.exit(f"{folder} holds something that is no wheelhouse; name another folder: make wheelhouse WHEELHOUSE=DIR")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    hefed = build_hefed(partial)
    download(partial, hefed)
    (partial / "requirements.txt").write_text("".join(pins(partial)))
    for name in ALSO:
        shutil.copyfile(ROOT / name, partial / Path(name).name)
    tar = folder.with_name(folder.name + ".tar")
    (partial / INSTALL).write_text(instructions(partial, hefed.version, tar.name))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    pack(folder, tar)
    wheels = len(list(folder.glob("*.whl")))
    print(f"{folder}: {wheels} wheels; {tar}: {tar.stat().st_size >> 20} MiB, SHA-256 {sha256(tar)}")


def build_hefed(folder: Path) -> Distribution:
    """hefed's wheel, from a copy of its source: what an earlier build left beside it must not get in."""
    with tempfile.TemporaryDirectory() as copy:
        for name in SOURCE:
            source, target = ROOT / name, Path(copy, name)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target)
        pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), copy)
    (wheel,) = folder.glob("hefed-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Built(archive.read(metadata).decode())


def download(folder: Path, hefed: Distribution) -> None:
    """The wheels of the pins that hefed needs, each with a hash that requirements.txt lists."""
    wanted = needed(hefed, EXTRAS)
    found = list(blocks((ROOT / "requirements.txt").read_text()))  # a name has several where Pythons differ
    missing = sorted(wanted - {name for name, _ in found})
    if missing:
        sys.exit(f"requirements.txt pins no {', '.join(missing)}; run: make requirements")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(block for name, block in found if name in wanted))
        file.flush()
        pip("download", "--require-hashes", "--no-deps", "--only-binary", ":all:",
            "--dest", str(folder), "--requirement", file.name)  # fmt: skip


def needed(hefed: Distribution, extras: Iterable[str]) -> set[str]:
    """The names of all that hefed needs on this machine with these extras, directly or not, as it is installed here."""
    done: set[tuple[str, tuple[str, ...]]] = set()
    waiting = [(hefed, ("", *extras))]
    while waiting:
        holder, active = waiting.pop()
        for requirement in map(Requirement, holder.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in active):
                entry = (canonicalize_name(requirement.name), ("", *sorted(requirement.extras)))
                if entry not in done:
                    done.add(entry)
                    waiting.append((distribution(requirement.name), entry[1]))
    return {name for name, _ in done}


def blocks(requirements: str) -> Iterator[tuple[str, str]]:
    """The entries of a file of pins with hashes: the name, and its lines as they are."""
    for block in re.findall(r"^[\w.\[\],-]+==(?:.*\\\n)*.*\n", requirements, re.MULTILINE):
        yield canonicalize_name(re.split(r"[\[=]", block, maxsplit=1)[0]), block


def pins(folder: Path) -> Iterator[str]:
    """Every wheel of a folder as a requirement with its hash."""
    for wheel in sorted(folder.glob("*.whl")):
        name, release, _, _ = parse_wheel_filename(wheel.name)
        yield f"{name}=={release} --hash=sha256:{sha256(wheel)}\n"


def instructions(folder: Path, release: str, tar: str) -> str:
    """How to install from the folder, in words and commands."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    major, minor = max(glibc(wheel.name) for wheel in folder.glob("*.whl"))
    return INSTRUCTIONS.format(
        version=release,
        platform=f"{platform.python_implementation()} {python} on {platform.system()} {platform.machine()}",
        glibc=f" with glibc {major}.{minor} or later" if major else "",
        command=f"python{python}",
        tar=tar,
    )


def glibc(wheel: str) -> tuple[int, int]:
    """The least glibc for which a wheel says that it is made; (0, 0) for none."""
    legacy = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
    tags = [(int(major), int(minor)) for major, minor in re.findall(r"manylinux_(\d+)_(\d+)_", wheel)]
    return min([*tags, *(release for name, release in legacy.items() if f"{name}_" in wheel)], default=(0, 0))


def pack(folder: Path, tar: Path) -> None:
    """A tar file that depends on the files' names and content only, so that two that are made alike have one hash."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = "root"
        entry.mode = 0o755 if entry.isdir() else 0o644
        return entry

    with tarfile.open(tar, "w") as file:
        file.add(folder, arcname=folder.name, recursive=False, filter=plain)
        for path in sorted(folder.iterdir()):
            file.add(path, arcname=f"{folder.name}/{path.name}", filter=plain)


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pip(*arguments: str) -> None:
    """Runs pip, quietly; what it complains of is shown, and ends this."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    # A fixed time in the files of the wheel that is built: two builds of one source are the same bytes.
    done = subprocess.run(command, check=False, env={**os.environ, "SOURCE_DATE_EPOCH": "1577836800"})  # noqa: S603
    if done.returncode:
        sys.exit(f"pip {arguments[0]} failed; its own words are above")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    main(Path(sys.argv[1]))
