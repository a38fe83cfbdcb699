"""The units of systemd: hardened, and enough for what they start, under a systemd of the tests' own."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hefed import __version__

from .conftest import ROOT, commands
from .machine import Machine

FOLDER = ROOT / "examples/deployment"
UNITS = sorted(FOLDER.glob("hefed-*.service"))
EXPOSURE = 15
"""What systemd-analyze may give at most, of 100."""
NODE, AGGREGATOR = "hefed-node", "hefed-aggregator"
PORT = 9464
CONNECTED = "hefed_member_connected"
PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108  the service's own

BUSY = re.compile("nothing listens at|does not answer|is cut and is being made again|has not greeted")
"""What a node may warn of where the aggregator starts later than it, or slowly."""

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs systemd-analyze."""
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_there_is_a_unit_for_each_process() -> None:
    assert [unit.stem for unit in UNITS] == [AGGREGATOR, NODE]


@needs_analyze
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/hefed/bin/hefed", "/bin/true"))
    done = analyze("verify", here)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    here.write_text(here.read_text().replace("ProtectSystem=", "ProtectSytem="))
    assert "ProtectSytem" in analyze("verify", here).stderr


@needs_analyze
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_hardened(unit: Path, tmp_path: Path) -> None:
    judge = ("security", "--offline=true", f"--threshold={EXPOSURE}")
    assert analyze(*judge, unit).returncode == 0
    without = tmp_path / unit.name
    without.write_text(unit.read_text().replace("SystemCallFilter=", "#"))
    assert analyze(*judge, without).returncode != 0


def in_service(machine: Machine, unit: str, key: str) -> str:
    """A property of a service, as systemd gives it."""
    return machine.run(f"systemctl show {unit} --property {key} --value").stdout.strip()


def log(machine: Machine, unit: str) -> str:
    """What a service wrote."""
    return machine.run(f"cat /srv/{unit}.log", check=False).stdout


def wait_for(machine: Machine, unit: str, words: str, times: int = 1) -> None:
    """Until a service has written these words so often."""
    end = time.monotonic() + 180
    while len(re.findall(words, log(machine, unit))) < times:
        assert time.monotonic() < end, f"{unit} did not say {words}: {log(machine, unit)}"
        time.sleep(0.2)


def enrol(machine: Machine, homes: dict[str, tuple[str, str]]) -> None:
    """A roster that all members have signed and put in force; each home with its user."""
    cards = " ".join(f"--member {home}/{name}.card" for name, (_, home) in homes.items())
    machine.run(f"/opt/hefed/bin/hefed federation create north -o /srv/new.roster --address 127.0.0.1:7100 {cards}")
    for name, (user, home) in homes.items():
        mine = f"/srv/{name}/the.roster"
        machine.run(f"install -d -o {user} /srv/{name} && install -o {user} /srv/new.roster {mine}")
        machine.run(f"runuser -u {user} -- /opt/hefed/bin/hefed federation join {mine} --home {home} --yes")
    signed = " ".join(f"/srv/{name}/the.roster" for name in homes)
    machine.run(f"/opt/hefed/bin/hefed federation merge {signed} -o /srv/all.roster && chmod 644 /srv/all.roster")
    for user, home in homes.values():
        machine.run(f"runuser -u {user} -- /opt/hefed/bin/hefed federation join /srv/all.roster --home {home}")


@pytest.fixture(scope="module")
def installed(machine: Machine, wheelhouse: Path) -> Machine:
    """Both services, installed by the commands in the first lines of their units, and the other members' homes."""
    homes = {name: ("root", f"/srv/home-{name}") for name in ("halland", "kronoberg", "analyst")}
    homes |= {"orebro": ("hefed", "/var/lib/hefed"), "aggregator": (AGGREGATOR, "/var/lib/hefed-aggregator")}
    for name in ("halland", "kronoberg", "analyst"):
        machine.run(f"/opt/hefed/bin/hefed init {name} --home /srv/home-{name}")
    for unit, name in ((AGGREGATOR, "aggregator"), (NODE, "orebro")):
        for command in commands((FOLDER / f"{unit}.service").read_text(), "#"):
            if "--check" not in command and "enable" not in command:
                machine.run(command.replace("NAME", name), folder=machine.place(wheelhouse))
        streams = "".join(f"Standard{name}=append:/srv/{unit}.log\\n" for name in ("Error", "Output"))
        drop_in = f"[Service]\\n{streams}RestartSec=1\\n"
        machine.run(f"mkdir /etc/systemd/system/{unit}.service.d")
        machine.run(f"printf '{drop_in}' > /etc/systemd/system/{unit}.service.d/test.conf && systemctl daemon-reload")
    enrol(machine, homes)
    node = f"""[network]
aggregator = ["localhost:7100"]
[operation]
log = "json"
metrics_port = {PORT}
"""
    # One address: what libzmq needs for it is what the aggregator's unit permits beside the node's.
    aggregator = f"""[network]
bind = "127.0.0.1:7100"
[operation]
metrics_port = {PORT + 1}
"""
    for (user, home), settings in ((homes["orebro"], node), (homes["aggregator"], aggregator)):
        machine.run(f"runuser -u {user} -- sh -c 'cat > {home}/settings.toml' <<'END'\n{settings}END")
    return machine


@pytest.fixture(scope="module")
def running(installed: Machine) -> Iterator[Machine]:
    """Both services, started by the last command in the first lines of their units, and ready."""
    for unit in (AGGREGATOR, NODE):
        (start,) = (line for line in commands((FOLDER / f"{unit}.service").read_text(), "#") if "enable" in line)
        installed.run(start)
    wait_for(installed, NODE, "ready")
    yield installed
    installed.run(f"systemctl stop {NODE} {AGGREGATOR}")


@pytest.mark.parametrize(("unit", "user"), [(NODE, "hefed"), (AGGREGATOR, AGGREGATOR)])
def test_a_service_runs_without_any_right_of_root(running: Machine, unit: str, user: str) -> None:
    process = in_service(running, unit, "MainPID")
    status = dict(re.findall(r"^(\w+):\t(.*)$", running.run(f"cat /proc/{process}/status").stdout, re.MULTILINE))
    assert status["Uid"].split() == [running.run(f"id -u {user}").stdout.strip()] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
    assert re.search(r"Max core file size +0 +0 ", running.run(f"cat /proc/{process}/limits").stdout)


@pytest.mark.parametrize(("unit", "user"), [(NODE, "hefed"), (AGGREGATOR, AGGREGATOR)])
def test_a_service_can_write_to_its_state_and_cache_only(running: Machine, unit: str, user: str) -> None:
    inside = f"nsenter --target {in_service(running, unit, 'MainPID')} --mount"
    number = running.run(f"id -u {user}").stdout.strip()
    find = r"find / -maxdepth 3 \( -path /proc -o -path /dev \) -prune -o -type d -writable -print"
    found = running.run(f"{inside} setpriv --reuid {number} --regid {number} --clear-groups {find}", check=False)
    own = {f"/var/lib/{user}", f"/var/cache/{user}", *PRIVATE}
    assert set(found.stdout.splitlines()) == own


def test_neither_service_can_read_the_others_state(running: Machine) -> None:
    for user, home in (("hefed", "/var/lib/hefed-aggregator"), (AGGREGATOR, "/var/lib/hefed")):
        assert "Permission denied" in running.run(f"runuser -u {user} -- ls {home}", check=False).stderr


def test_the_log_is_json_and_nothing_else(running: Machine) -> None:
    lines = [json.loads(line) for line in log(running, NODE).splitlines()]
    assert {"time", "level", "logger", "words"} <= set(lines[0])
    others = [line["words"] for line in lines if line["level"] != "info"]
    assert [words for words in others if not BUSY.search(words)] == []


def metrics(machine: Machine, port: int) -> dict[tuple[str, ...], float]:
    """The metrics on a port of the machine, by name and labels."""
    script = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
    families = text_string_to_metric_families(machine.run(f'/opt/hefed/bin/python -c "{script}"').stdout)
    samples = (sample for family in families for sample in family.samples)
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples}


def test_the_metrics_of_a_running_node_say_that_it_is_connected(running: Machine) -> None:
    end = time.monotonic() + 30
    while (read := metrics(running, PORT))[("hefed_connected",)] != 1:  # the standing is a moment old
        assert time.monotonic() < end
    assert read["hefed_info", __version__, "region"] == 1
    assert read[("hefed_messages_sent_total",)] == 0
    assert read[("process_resident_memory_bytes",)] > 2**20
    assert time.time() - 3600 < read[("process_start_time_seconds",)] <= time.time() + 1


def test_the_metrics_of_a_running_aggregator_say_who_is_connected(running: Machine) -> None:
    others = {(CONNECTED, name): 0 for name in ("halland", "kronoberg", "analyst")}
    end = time.monotonic() + 30
    while (read := metrics(running, PORT + 1))[CONNECTED, "orebro"] == 0:  # the standing is a second old
        assert time.monotonic() < end
    assert {key: value for key, value in read.items() if key[0] == CONNECTED} == {(CONNECTED, "orebro"): 1, **others}
    assert read["hefed_info", __version__, "aggregator"] == 1
    assert read[("process_open_fds",)] > 5


def test_the_node_finds_all_right_with_itself(running: Machine) -> None:
    (check,) = (line for line in commands((FOLDER / "hefed-node.service").read_text(), "#") if "--check" in line)
    said = running.run(check, check=False)
    assert "Traceback" not in said.stderr
    assert "orebro" in said.stdout


def test_a_killed_node_comes_back(running: Machine) -> None:
    before = in_service(running, NODE, "MainPID")
    ready = len(re.findall("ready", log(running, NODE)))
    running.run(f"systemctl kill --signal KILL {NODE}")
    wait_for(running, NODE, "ready", ready + 1)
    assert in_service(running, NODE, "NRestarts") == "1"
    assert in_service(running, NODE, "MainPID") != before


def test_a_stopped_node_ends_by_itself_at_once(running: Machine) -> None:
    ready = len(re.findall("ready", log(running, NODE)))
    start = time.monotonic()
    running.run(f"systemctl stop {NODE}")
    assert time.monotonic() - start < 10
    assert (in_service(running, NODE, "Result"), in_service(running, NODE, "ExecMainStatus")) == ("success", "0")
    running.run(f"systemctl start {NODE}")
    wait_for(running, NODE, "ready", ready + 1)


def test_a_node_that_a_person_has_to_mend_is_not_started_again(running: Machine) -> None:
    running.run(f"systemctl stop {NODE}")
    running.run("mv /var/lib/hefed/settings.toml /var/lib/hefed/settings.right")
    running.run(
        "echo '[operation]\nlog = \"loud\"' > /var/lib/hefed/settings.toml; chown hefed /var/lib/hefed/settings.toml"
    )
    running.run(f"systemctl start {NODE}")
    wait_for(running, NODE, "must be 'plain' or 'json', not 'loud'")
    time.sleep(3)  # RestartSec is 1 here
    assert in_service(running, NODE, "ActiveState") == "failed"
    assert (in_service(running, NODE, "ExecMainStatus"), in_service(running, NODE, "NRestarts")) == ("2", "0")
    running.run("mv /var/lib/hefed/settings.right /var/lib/hefed/settings.toml")


@pytest.mark.parametrize(
    ("unit", "restriction", "words"),
    [
        (AGGREGATOR, "RestrictAddressFamilies=~AF_NETLINK", "Address family not supported by protocol"),
        (NODE, "MemoryDenyWriteExecute=yes", "check_jit_execution"),
        (NODE, "SystemCallFilter=~@resources\nSystemCallErrorNumber=EPERM", "Operation not permitted"),
    ],
)
def test_a_unit_cannot_be_restricted_in_what_its_comments_say(
    running: Machine, unit: str, restriction: str, words: str
) -> None:
    more = f"/etc/systemd/system/{unit}.service.d/more.conf"
    running.run(f"cat > {more} <<'END'\n[Service]\n{restriction}\nEND\nsystemctl daemon-reload; rm /srv/{unit}.log")
    running.run(f"systemctl restart {unit}", check=False)
    try:
        wait_for(running, unit, words)
    finally:
        running.run(f"systemctl stop {unit}; rm {more}; systemctl daemon-reload; systemctl reset-failed")
        running.run(f"systemctl start {unit}")


def test_the_two_units_restrict_the_same_but_for_what_a_listener_needs() -> None:
    node, aggregator = (
        set(
            re.findall(
                r"^(?!Exec|User|State|Cache|Environment|Description|Limit)\w+=.*$",
                (FOLDER / f"{unit}.service").read_text(),
                re.M,
            )
        )
        for unit in (NODE, AGGREGATOR)
    )
    families = "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"
    assert node ^ aggregator == {families, f"{families} AF_NETLINK"}


def test_a_whole_study_runs_under_the_restrictions_of_the_units(installed: Machine) -> None:
    """Those of the aggregator, who listens; the node's are the same otherwise."""
    unit = (FOLDER / f"{AGGREGATOR}.service").read_text()
    run = f"/opt/hefed/bin/hefed simulate /mnt/examples/heart-failure/cox.toml --out /var/lib/{AGGREGATOR}/run"
    started = f"Type=oneshot\nExecStart={run}\nStandardOutput=file:/srv/study.log\nStandardError=file:/srv/study.err"
    unit = re.sub(r"^ExecStart=.*$", started, unit, flags=re.MULTILINE)
    unit = re.sub(r"^Restart=.*$", "", unit, flags=re.MULTILINE)
    installed.run(f"cat > /etc/systemd/system/study.service <<'END'\n{unit}\nEND\nsystemctl daemon-reload")
    done = installed.run("systemctl start study", check=False, seconds=300)
    assert done.returncode == 0, installed.run("cat /srv/study.err /srv/study.log").stdout
    assert "n = 299, events = 96" in installed.run("cat /srv/study.log").stdout
