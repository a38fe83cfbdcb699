"""What the README says of three machines, done as it says, with a folder and a network for each machine."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.node.runs import EXAMPLES, ROOT, assert_same_fit, cox_reference, environment, free_port, wait_for

REGIONS = ("halland", "orebro", "kronoberg")
EVERYBODY = ("aggregator", "analyst", *REGIONS)
ADDRESSES = {"first": "10.0.0.1", "second": "10.0.0.2", "third": "10.0.0.3"}
MACHINES = {"aggregator": "first", "halland": "first", "analyst": "third", "orebro": "second", "kronoberg": "third"}


def page() -> dict[str, list[str]]:
    """The commands of the section, under the first words of the paragraph before each block; comments cut off."""
    section = re.search(r"^## Three machines$(.*?)^### ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert section
    found: dict[str, list[str]] = {}
    for before, block in re.findall(r"(.*?)^```sh\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL):
        label = re.findall(r"^\*\*(.+?)\*\*", before, re.MULTILINE)[-1]
        lines = block.replace("\\\n", " ").splitlines()
        found[label] = [re.sub(r"\s+#.*$", "", line) for line in lines if line.strip()]
    return found


class Machines:
    """Three folders that stand for the machines, each with the homes on it. Where this user may make them, each is a
    network of its own and they are joined by a bridge, with the addresses of the page; otherwise all share the
    loopback network, with an address of its own for the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = ExitStack()
        self.networks = self._networks()
        self.address = "10.0.0.1:7100" if self.networks else f"127.0.0.2:{free_port()}"
        for name in ADDRESSES:
            (folder / name).mkdir()

    def _networks(self) -> bool:
        """Makes the three networks, and leaves nothing of them behind; whether it could."""
        tag = secrets.token_hex(3)
        self.names = {name: f"hf-{tag}-{name}" for name in ADDRESSES}
        bridge = f"hb-{tag}"  # in the first machine's network, so that this one has no part in it
        first = self.names["first"]
        lines = [f"netns add {network}" for network in self.names.values()]
        lines += [f"-n {first} link add {bridge} type bridge", f"-n {first} addr add 10.0.0.1/24 dev {bridge}"]
        lines += [f"-n {first} link set {bridge} up"]
        for name, network in self.names.items():
            lines.append(f"-n {network} link set lo up")
            if name != "first":
                lines += [
                    f"-n {network} link add eth0 type veth peer name {name} netns {first}",
                    f"-n {network} addr add {ADDRESSES[name]}/24 dev eth0",
                    f"-n {network} link set eth0 up",
                    f"-n {first} link set {name} master {bridge} up",
                ]
        for network in self.names.values():
            self.running.callback(_ip, f"netns del {network}")
        return shutil.which("ip") is not None and os.geteuid() == 0 and all(map(_ip, lines))

    def within(self, member: str) -> list[str]:
        """What a command begins with on the member's machine."""
        return ["ip", "netns", "exec", self.names[MACHINES[member]]] if self.networks else []

    def of(self, member: str) -> Path:
        return self.folder / MACHINES[member]

    def home(self, member: str) -> Path:
        return self.of(member) / member

    def typed(self, line: str, member: str, default: str = "halland") -> list[str]:
        """A command of the page, as this member types it."""
        assert line.startswith("hefed ")
        line = line.replace("10.0.0.1:7100", self.address)
        if member != default:
            line = re.sub(rf"\b{default}\b", member, line)
        words = re.findall(r'"[^"]*"|\S+', line)
        return [*self.within(member), sys.executable, "-m", "hefed", *(word.strip('"') for word in words[1:])]

    def run(self, line: str, member: str, *, code: int = 0, answer: str = "") -> str:
        """Runs it to its end on the member's machine."""
        done = subprocess.run(
            self.typed(line, member), cwd=self.of(member), env=environment(), input=answer, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def start(self, line: str, member: str) -> "subprocess.Popen[str]":
        """Starts it on the member's machine; what it says goes to a file there."""
        log = self.running.enter_context((self.of(member) / f"{member}.log").open("w"))
        process = subprocess.Popen(
            self.typed(line, member), cwd=self.of(member), env=environment(), stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, text=True,
        )  # fmt: skip
        self.running.callback(_end, process)
        return process

    def log(self, member: str) -> str:
        return (self.of(member) / f"{member}.log").read_text()


def _ip(line: str) -> bool:
    return subprocess.run(["ip", *line.split()], capture_output=True, check=False).returncode == 0


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """The page as far as a federation whose processes run and greet each other."""
    made = Machines(tmp_path_factory.mktemp("machines"))
    commands = page()
    with made.running:
        init = commands["Everybody"]
        for member in EVERYBODY:
            (line,) = [one for one in init if member in one] or [init[0]]
            assert "Fingerprint" in made.run(line, member)
        create, show, join, merge, join_again = commands["One of them"]
        first = made.of("halland")
        for member in EVERYBODY:
            shutil.copy(made.home(member) / f"{member}.card", first)
        made.run(create, "halland")
        assert "missing: aggregator, analyst, halland, kronoberg, orebro" in made.run(show, "halland")
        for member, copy in zip(EVERYBODY, "abcde", strict=True):
            machine = made.of(member)
            if machine != first:
                shutil.copy(first / "nordic.roster", machine)
            said = made.run(join, member, answer="y\n")
            assert f"Sign as {member}?" in said
            shutil.copy(machine / "nordic.roster", first / f"{copy}.roster")
        made.run(merge.replace("c.roster", "c.roster d.roster e.roster"), "halland")
        for member in EVERYBODY:
            if made.of(member) != first:
                shutil.copy(first / "all.roster", made.of(member))
            assert "in force" in made.run(join_again, member)
        for region in REGIONS:
            _settings(made, region)
        aggregator, check, node = commands["Start"]
        made.start(aggregator, "aggregator")
        wait_for(lambda: "listens" in made.log("aggregator"))
        for region in REGIONS:
            assert "Everything works" in made.run(check, region)
            made.start(node, region)
        for region in REGIONS:
            wait_for(lambda region=region: "ready" in made.log(region), 60)
        yield made


def _settings(made: Machines, region: str) -> None:
    """The lines of the page, added to the file that init wrote; the table has a column of another name."""
    (lines,) = re.findall(r"^```toml\n(\[data\]\n.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    table = (EXAMPLES / "heart-failure" / f"{region}.csv").read_text()
    header, rest = table.split("\n", 1)
    (made.home(region) / "patients.csv").write_text(re.sub(r"\bage\b", "ALDER", header) + "\n" + rest)
    with (made.home(region) / "settings.toml").open("a") as file:
        file.write("\n" + lines)


def _study(made: Machines, name: str = "study.toml") -> str:
    """The example, as the page says that it is changed."""
    text = (EXAMPLES / "heart-failure" / "cox.toml").read_text()
    text = re.sub(r"(?m)^data = .*$", "contributes = true", text)
    (made.of("analyst") / name).write_text(text.replace("[security]", '[security]\ndeadline = "1 h"'))
    return name


def _pending(machines: Machines, status: str, region: str) -> bool:
    """Whether a study waits for the people of the region, in the words of the page's command and in its JSON."""
    assert f"{region} (region): running" in machines.run(status, region)
    standing = json.loads(machines.run(f"{status} --json", region))
    return standing["connected"] and [study["state"] for study in standing["studies"]] == ["pending"]


def test_each_machine_reaches_the_aggregator_from_an_address_of_its_own(machines: Machines) -> None:
    if not machines.networks:
        assert machines.address.startswith("127.0.0.2:")
        return
    said = subprocess.run(
        [*machines.within("aggregator"), sys.executable, "-c", ESTABLISHED], capture_output=True, text=True, check=True
    )
    assert set(ADDRESSES.values()) == set(said.stdout.split())


ESTABLISHED = """
import socket, struct
for line in open("/proc/net/tcp6").readlines()[1:] + open("/proc/net/tcp").readlines()[1:]:
    local, remote, state = line.split()[1:4]
    if int(local.split(":")[1], 16) == 7100 and state == "01":
        print(socket.inet_ntoa(struct.pack("<I", int(remote.split(":")[0][-8:], 16))))
"""


def test_a_study_from_the_page_gives_the_answer_of_r_to_the_analyst_alone(machines: Machines) -> None:
    commands = page()
    (submit,) = commands["The analyst"]
    status, approve, _, log = commands["Each region's people"]
    _study(machines)
    analyst = machines.start(submit, "analyst")
    for region in REGIONS:
        wait_for(lambda region=region: "hefed approve" in machines.log(region))
        wait_for(lambda region=region: _pending(machines, status, region))
    for region in REGIONS:
        line = re.sub(r"--home \S+", f"--home {region}", approve)
        said = machines.run(line, region, answer="y\n")
        assert "Which factors go with death" in said
        assert f"Approve this study as {region}?" in said
    assert analyst.wait(120) == 0, machines.log("analyst")
    result = json.loads((machines.of("analyst") / "result" / "result.json").read_text())
    rows = result["coefficients"]
    assert_same_fit(
        [row["estimate"] for row in rows],
        [row["std_error"] for row in rows],
        result["log_likelihood"],
        result["log_likelihood_null"],
        cox_reference(),
    )
    assert not list(machines.of("analyst").rglob("submission.key"))
    said = " ".join(machines.run(log, "halland").split())
    assert "contribution to round 1" in said
    assert "approved by hand" in said or "by hand, signed" in said
    assert "sealed to analyst" in said

    transcript, audit = commands["Afterwards"]
    for member in ("halland", "aggregator"):
        assert machines.run(transcript, member).strip() == f"{member}.transcript"
    said = " ".join(machines.run(audit, "halland").split())
    assert "Released, to halland, kronoberg, orebro only: 11 sums, from " in said
    assert "the rest is over the patients of halland, kronoberg, orebro together" in said
    assert "name one too: hefed audit PATH... FILE.hefed" in said
    assert said.endswith("All is well: every rule that can be checked from outside was kept.")
    written, published, verify_full, verify_published = commands["A result that proves itself"]
    assert machines.run(written, "halland").strip() == "full.hefed"
    assert machines.run(published, "halland").strip() == "published.hefed"
    said = " ".join(machines.run(audit + " published.hefed", "halland").split())
    assert f"{cox_reference()['n']} patients of all of them together stand behind these" in said
    coefficient = f"{rows[0]['estimate']: .6g}"
    for line in (verify_full, verify_published):
        said = " ".join(machines.run(line, "halland").split())
        assert f"age {coefficient.strip()}" in said
        assert "halland, kronoberg, orebro signed this result, to the last bit" in said
    assert "on the word of each of halland, kronoberg, orebro" in said


def test_a_refusal_from_the_page_reaches_the_analyst_in_words(machines: Machines) -> None:
    commands = page()
    (submit,) = commands["The analyst"]
    refuse = commands["Each region's people"][2]
    name = _study(machines, "again.toml")
    analyst = machines.start(submit.replace("study.toml", name).replace("--out result", "--out again"), "analyst")
    wait_for(lambda: machines.log("halland").count("hefed approve") >= 2)
    machines.run(refuse, "halland", answer="y\n")
    assert analyst.wait(60) == 2
    assert "hefed: halland refuses: not without the ethics board" in machines.log("analyst")


def test_a_submission_that_is_stopped_goes_on_with_the_same_command(machines: Machines) -> None:
    commands = page()
    (submit,) = commands["The analyst"]
    name = _study(machines, "third.toml")
    line = submit.replace("study.toml", name).replace("--out result", "--out third")
    before = {region: machines.log(region).count("hefed approve") for region in REGIONS}
    machines.start(line, "analyst").kill()
    time.sleep(0.2)
    first = machines.start(line, "analyst")
    for region in REGIONS:
        wait_for(lambda region=region: machines.log(region).count("hefed approve") > before[region])
    first.kill()
    assert os.stat(machines.of("analyst") / "third" / "submission.key").st_mode & 0o077 == 0
    for region in REGIONS:
        machines.run(f"hefed approve heart-failure-mortality --home {region} --yes", region)
    again = machines.start(line, "analyst")
    assert again.wait(120) == 0, machines.log("analyst")
    result = json.loads((machines.of("analyst") / "third" / "result.json").read_text())
    assert all(one["seconds"] is None for one in result["rounds"])
    assert result["converged"] is True
