"""A machine of the tests' own in namespaces of this one: its own systemd, /etc, /opt, /var and loopback, no network.

Needs to be root, systemd, and a mounted cgroup2. Nothing of it outlives `close`, and it writes to nothing of this
machine but the folder that it is given.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

SYSTEMD = Path("/usr/lib/systemd/systemd")
TOOLS = ("bash", "ip", "ldconfig", "nsenter", "runuser", "setpriv", "unshare")
"""Of the packages util-linux, iproute2, libc-bin."""
PYTHON = "/opt/python"
"""Where the machine has this Python: its own place may be closed to others than root."""
SHARED = "/mnt"
"""Where the machine sees the folders that it is shown."""
TARGETS = ("sysinit", "basic", "shutdown", "multi-user", "network-online", "rescue", "emergency", "tests")

BOOT = f"""\
set -e
trap 'echo "line $LINENO: $BASH_COMMAND" >&2' ERR
mount -t cgroup2 none /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs -o mode=755 tmpfs /srv
cp -a /etc /srv
mount --bind /srv/etc /etc
for folder in /run /opt /var/lib /var/cache {SHARED}; do
    mount -t tmpfs -o mode=755 tmpfs "$folder"
done
for target in {" ".join(TARGETS)}; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" > "/etc/systemd/system/$target.target"
done
mkdir {PYTHON}
mount --bind "$0" {PYTHON}
for folder; do
    mkdir "{SHARED}/${{folder##*/}}"
    mount --bind "$folder" "{SHARED}/${{folder##*/}}"
done
echo {PYTHON}/lib > /etc/ld.so.conf.d/hefed-test.conf
ldconfig
ip link set lo up
export container=hefed-test SYSTEMD_UNIT_PATH=/etc/systemd/system
exec {SYSTEMD} --system --unit=tests.target --log-target=console --log-level=info --show-status=no < /dev/null
"""


def lacking() -> str | None:
    """What this machine lacks to have such a machine, if anything."""
    if os.geteuid() != 0:
        return "only root can start a systemd of its own"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    if _cgroups() is None:
        return "no cgroup2 is mounted"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--cgroup", "--fork", "true"], check=False)
    return "namespaces are not permitted" if tried.returncode else None


class Machine:
    """Runs from its start until `close`."""

    def __init__(self, folder: Path, shows: Iterable[Path]) -> None:
        """`folder`: for the log of its start. `shows`: folders that it shows under SHARED, each by its last name."""
        self.folder, self._shows = folder, tuple(shows)
        cgroups = _cgroups()
        assert cgroups is not None
        self._cgroup = cgroups / f"hefed-test-{os.getpid()}-{time.monotonic_ns()}"
        self._cgroup.mkdir()
        with (folder / "boot.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "sh", "-c", 'echo $$ > "$0" && exec setpriv --pdeathsig KILL "$@"', self._cgroup / "cgroup.procs",
                    "unshare", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net", "--fork", "--kill-child",
                    "--mount-proc", "bash", "-c", BOOT, sys.base_prefix, *self._shows,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        """Until its systemd has started everything."""
        end = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < end:
            if self.init and self.run("systemctl is-active tests.target", check=False).stdout == "active\n":
                return
            time.sleep(0.1)
        words = (self.folder / "boot.log").read_text()
        self.close()
        raise AssertionError(f"the machine did not start: {words}")

    @property
    def init(self) -> str | None:
        """The process that is number 1 in it."""
        try:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return children[0] if children else None

    def place(self, path: Path) -> str:
        """Where the machine sees something in a folder that it shows."""
        for folder in self._shows:
            if path.is_relative_to(folder):
                return f"{SHARED}/{folder.name}/{path.relative_to(folder)}"
        raise AssertionError(f"{path} is not shown")

    def run(
        self, command: str, *, folder: str = "/", check: bool = True, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs a shell's command in it, as root."""
        assert self.init
        done = subprocess.run(
            ["nsenter", "--target", self.init, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net",
             "sh", "-c", f"cd {folder} && {command}"],
            env={"PATH": f"{PYTHON}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done

    def close(self) -> None:
        """Ends all its processes; its mounts go with them."""
        if self.init:
            os.kill(int(self.init), 9)
        self._process.kill()
        self._process.wait()
        for _ in range(100):
            leftover = sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True)
            try:
                for folder in (*leftover, self._cgroup):
                    folder.rmdir()
            except OSError:  # a process is not quite gone
                time.sleep(0.1)
            else:
                break

    def __enter__(self) -> "Machine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cgroups() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and options.startswith("rw"):
            return Path(place)
    return None
