"""`hefed node --check`: each wrong configuration that it knows, with the sentence that a person reads."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hefed.crypto import seal
from hefed.data.policy import Policy
from hefed.data.settings import DataSettings
from hefed.node import schema
from hefed.node.check import check_home
from hefed.node.check_data import policy_findings, study_findings, table_findings
from hefed.node.check_network import SECONDS, Caller, network_findings
from hefed.node.check_state import disk_finding, home_finding, metrics_finding, state_finding
from hefed.node.finding import Finding
from hefed.node.handshake import OURS, RosterState
from hefed.node.home import Home
from hefed.node.link import Received
from hefed.node.settings import Settings
from hefed.node.store import Store
from hefed.protocol.roster import Roster
from tests.node.homes import FEDERATION, TABLES, answering, make_federation, make_roster, sign, with_table
from tests.node.runs import ROOT, Ended, command, environment, free_port, read_until, started
from tests.node.test_disk import namespace

REGIONS = ("halland", "kronoberg", "orebro")
STUDY = TABLES / "cox.toml"


def quiet(what: str) -> None:
    """Tells nobody."""


def row(findings: Iterable[Finding], what: str) -> Finding:
    """The one row of that title."""
    (found,) = [finding for finding in findings if finding.what == what]
    return found


def sentences(findings: Iterable[Finding]) -> list[str]:
    """What is wrong."""
    return [finding.words for finding in findings if finding.state == "wrong"]


def states(findings: Iterable[Finding], state: str) -> list[str]:
    """The titles of the rows in that state."""
    return [finding.what for finding in findings if finding.state == state]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], str]:
    """Homes that are right, never changed, and the aggregator's address."""
    address = f"127.0.0.2:{free_port()}"
    homes = make_federation(tmp_path_factory.mktemp("federation"), REGIONS, address)
    with_table(homes["orebro"], TABLES / "orebro.csv")
    return homes, address


@pytest.fixture
def homes(made: tuple[dict[str, Path], str], tmp_path: Path) -> dict[str, Path]:
    """Copies of them for one test."""
    for name, home in made[0].items():
        shutil.copytree(home, tmp_path / name)
        (tmp_path / name).chmod(0o700)
    return {name: tmp_path / name for name in made[0]}


@pytest.fixture(scope="module")
def address(made: tuple[dict[str, Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the real aggregator of these homes runs."""
    home = tmp_path_factory.mktemp("running") / "aggregator"
    shutil.copytree(made[0]["aggregator"], home)
    home.chmod(0o700)
    with started("aggregator", "--home", home):
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.2", int(made[1].rpartition(":")[2])), 1).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.1)
        yield made[1]


# --- the command, as a person starts it ----------------------------------------------------------------------------


def typed(folder: Path, name: str, *more: str | Path, prefix: Sequence[str] = (), **variables: str) -> Ended:
    """`hefed node --home NAME --check`, typed in the folder of the homes."""
    done = subprocess.run(
        [*prefix, *command("node", "--home", name, "--check", *more)],
        cwd=folder, env={**environment(), **variables}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def read(out: str) -> list[Finding]:
    """The rows of the table, whose lines of at most 80 characters are put together again."""
    table = out.partition("\n\n")[0].splitlines()[2:]
    assert max(map(len, table)) <= 80
    found: list[list[str]] = []
    for line in table:
        first = re.match(r"(\S[a-z' ]*?) +(works|note|wrong|not tried) +(.*)", line)
        if first and not line.startswith(" "):
            found.append([one.strip() for one in first.groups()])
        else:
            found[-1][2] += " " + line.strip()
    return [Finding(what, state, words) for what, state, words in found]  # type: ignore[arg-type]


def last(out: str) -> str:
    return out.rstrip().splitlines()[-1]


def test_everything_works_and_it_says_how_to_start(homes: dict[str, Path], address: str, tmp_path: Path) -> None:
    ended = typed(tmp_path, "orebro", "--study", STUDY)
    findings = read(ended.out)
    assert sentences(findings) == []
    assert states(findings, "not tried") == []
    assert row(findings, "port").words == f"{address} takes the connection"
    assert row(findings, "handshake").words == f"{address} holds the key of aggregator, and knows that of orebro"
    assert row(findings, "version").words == (
        f"protocol {max(OURS.protocols)}, with hefed {OURS.package} at aggregator and {OURS.package} here"
    )
    assert row(findings, "table").words.startswith("patients.csv: 90 rows; 13 columns: age, anaemia, ")
    assert row(findings, "study's table").words == "90 rows, 29 events"
    assert row(findings, "engines").words.startswith("profiles compact and precise: both engines and SEAL agree, in ")
    assert last(ended.out) == "Everything works; start it: hefed node --home orebro"
    assert (ended.code, ended.err) == (0, "")


def test_it_does_not_stop_at_the_first_mistake(homes: dict[str, Path], tmp_path: Path) -> None:
    with_table(homes["orebro"], TABLES / "orebro.csv", _SEVERAL)
    text = (homes["orebro"] / "settings.toml").read_text().replace("patients.csv", "patient.csv")
    (homes["orebro"] / "settings.toml").write_text(text)
    began = time.monotonic()
    ended = typed(tmp_path, "orebro")
    assert time.monotonic() - began < 60
    findings = read(ended.out)
    name, table, policy = sentences(findings)
    assert re.fullmatch(
        r"the name agregator\.example\.invalid does not resolve \([A-Z][a-z -]+\); check its spelling in the roster "
        r"and in settings\.toml, and this machine's DNS",
        name,
    )
    assert table == "region orebro: there is no file patient.csv where it should be; check the path"
    assert policy == "[policy] readers names 'hallland', who is no reader on the roster; did you mean 'halland'?"
    assert states(findings, "not tried") == [
        *("port", "handshake", "answer", "version", "roster there", "clock", "one node", "columns"),
    ]
    assert row(findings, "port").words == "needs: name"
    assert row(findings, "engines").ok
    assert last(ended.out) == (
        f"3 of {len(findings)} do not work, and 8 could not be tried; mend what is wrong from the top, then check "
        "again."
    )
    assert ended.code == 2


_SEVERAL = """
[network]
aggregator = ["agregator.example.invalid:7100"]
[policy]
readers = ["hallland", "orebro"]
"""


def test_a_check_does_not_disturb_the_node_that_runs(homes: dict[str, Path], address: str, tmp_path: Path) -> None:
    with started("node", "--home", homes["orebro"]) as node:
        read_until(node, "ready")
        ended = typed(tmp_path, "orebro")
        findings = read(ended.out)
        assert ended.code == 0, ended.out
        assert row(findings, "process").words == ("one runs in this home already; another cannot be started beside it")
        assert row(findings, "one node").words == "the node that runs in this home is connected to aggregator"
        assert row(findings, "state").words.endswith("; 0 studies run")
        node.terminate()
        assert node.wait(20) == 0
        said = node.stderr.read() if node.stderr else ""
    assert "cut" not in said
    assert "ready" not in said  # again


def test_an_aggregator_and_an_analyst_have_lists_of_their_own(
    homes: dict[str, Path], address: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.3", 0)) as taken:
        bind = f"127.0.0.3:{taken.getsockname()[1]}"
        (homes["aggregator"] / "settings.toml").write_text(f'[network]\nbind = "{bind}"\n')
        findings = check_home(homes["aggregator"]).findings
        assert [finding.what for finding in findings] == [
            *("home", "identity", "settings", "roster", "roles", "port", "process", "folder", "state", "disk"),
            "engines",
        ]
        assert sentences(findings) == [
            f"cannot listen on {bind}: address already in use; choose an address of this machine and a free port, or "
            "stop what uses it"
        ]
    checked = check_home(homes["aggregator"])
    assert (checked.ok, checked.start) == (True, f"hefed aggregator --home {homes['aggregator']}")
    analyst = check_home(homes["analyst"])
    assert analyst.ok
    assert row(analyst.findings, "roles").words == "analyst is only an analyst, for whom no process runs"
    assert row(analyst.findings, "answer").ok
    assert analyst.start == f"hefed submit STUDY.toml --home {homes['analyst']} --out FOLDER"


# --- home, identity, settings, roster ----------------------------------------------------------------------------


def test_no_folder(tmp_path: Path) -> None:
    ended = typed(tmp_path, "orebro")
    findings = read(ended.out)
    assert sentences(findings) == ["there is no folder orebro; make it: hefed init NAME --home orebro"]
    assert states(findings, "works") == ["engines"]
    assert (ended.code, ended.err) == (2, "")


def test_a_folder_for_others_and_a_key_that_others_can_read(homes: dict[str, Path]) -> None:
    home = homes["orebro"]
    home.chmod(0o750)
    (home / "identity.key").chmod(0o640)
    findings = check_home(home).findings
    assert sentences(findings) == [
        f"others than its owner can enter {home}; run: chmod 700 {home}",
        f"{home}/identity.key holds a secret but others than its owner may read it; run: chmod 600 {home}/identity.key",
    ]
    assert "roster" in states(findings, "not tried")
    assert "table" in states(findings, "works")


def test_a_folder_of_another_user(tmp_path: Path) -> None:
    if os.geteuid():
        folder, file, owner = Path("/usr"), Path("/usr"), "root"
        me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    else:
        folder, file, owner, me = tmp_path, tmp_path / "identity.key", "nobody", "root"
        file.touch(0o600)
        os.chown(file, 65534, 65534)
    assert home_finding(folder).words == (
        f"{file} belongs to {owner}, and this is {me}; run hefed as {owner}, or give the whole folder to one user: "
        f"chown -R USER {folder}"
    )


def test_a_folder_without_an_identity(tmp_path: Path) -> None:
    home = tmp_path / "orebro"
    home.mkdir(0o700)
    assert sentences(check_home(home).findings) == [
        f"{home} is no home of a member; make one: hefed init NAME --home {home}"
    ]


def test_a_damaged_identity_and_a_misspelt_setting(homes: dict[str, Path]) -> None:
    home = homes["orebro"]
    (home / "identity.key").write_bytes(b"not an identity")
    (home / "settings.toml").write_text("[polcy]\nmin_rows = 20\n")
    assert sentences(check_home(home).findings) == [
        f"{home}/identity.key is not an identity of hefed; restore it from its backup",
        f"{home}/settings.toml: unknown section or key 'polcy'; did you mean 'policy'?",
    ]


def test_no_card(homes: dict[str, Path]) -> None:
    home = homes["orebro"]
    (home / "orebro.card").unlink()
    assert sentences(check_home(home).findings)[0] == (
        f"{home} has no card of its own identity; write it again: hefed init NAME with the same --home"
    )


def test_no_roster_in_force(tmp_path: Path) -> None:
    home = Home.init(tmp_path / "orebro", "orebro").folder
    findings = check_home(home).findings
    assert sentences(findings) == [
        f"no roster is in force in {home}; sign one with all other members: hefed federation join FILE.roster --home "
        f"{home}"
    ]
    assert row(findings, "handshake").words == "needs: roster"


def test_a_roster_that_not_all_signed(homes: dict[str, Path], address: str) -> None:
    home = homes["orebro"]
    opened = {name: Home(folder) for name, folder in homes.items()}
    old = opened["orebro"].in_force()
    changed = make_roster(opened, [address, "127.0.0.9:7100"], old)
    (home / "roster.cbor").write_bytes(changed.to_bytes())
    assert sentences(check_home(home).findings)[0] == (
        f"{FEDERATION}, version 2, is in force here without all members' signatures; join again: hefed federation join "
        f"FILE.roster --home {home}"
    )


def test_a_damaged_roster(homes: dict[str, Path]) -> None:
    (homes["orebro"] / "roster.cbor").write_bytes(b"\xa0")
    assert sentences(check_home(homes["orebro"]).findings) == [
        f"{homes['orebro']}/roster.cbor cannot be used: the roster's file does not have the form of a roster; join "
        "with the signed file again"
    ]


def test_not_on_the_roster_and_on_it_with_other_keys(homes: dict[str, Path], address: str, tmp_path: Path) -> None:
    stranger, impostor = Home.init(tmp_path / "lund", "lund").folder, Home.init(tmp_path / "other", "orebro").folder
    for home in (stranger, impostor):
        shutil.copy(homes["orebro"] / "roster.cbor", home)
        shutil.copytree(homes["orebro"] / "rosters", home / "rosters")
    unknown = (
        "does not know the key of {}: its roster lists another or none; compare the roster's version (1 here) and "
    )
    unknown += "fingerprint with aggregator's by telephone, and have the newest put in force on both sides"
    assert sentences(check_home(stranger).findings) == [
        f"lund is not on the roster of {FEDERATION} (version 1); give lund.card to whoever makes the roster, and join "
        "its next version",
        f"aggregator at {address} " + unknown.format("this member"),
    ]
    roles, handshake = sentences(check_home(impostor).findings)
    assert roles == (
        f"the roster of {FEDERATION} (version 1) lists other keys for orebro than this home has; somebody altered it, "
        "or made it from an old card: do not use it, and ask who made it"
    )
    assert handshake == f"aggregator at {address} " + unknown.format("this member")


def test_a_contributor_without_a_table(homes: dict[str, Path], address: str) -> None:
    home = homes["halland"]
    assert sentences(check_home(home).findings) == [
        f"halland is a contributor, but {home}/settings.toml has no section [data] that says where its table is; add "
        "one, or have a roster made in which it is no contributor"
    ]


def test_a_roster_without_an_address(homes: dict[str, Path], tmp_path: Path) -> None:
    opened = {name: Home.init(tmp_path / "without" / name, name) for name in homes}
    sign(opened, replace(make_roster(opened, "127.0.0.1:1"), addresses=()))
    assert sentences(check_home(opened["orebro"].folder).findings)[0] == (
        f"the roster of {FEDERATION} does not say where aggregator is dialled; make its next version with --address "
        f"HOST:PORT, or set [network] aggregator in {tmp_path}/without/orebro/settings.toml"
    )


# --- the network ------------------------------------------------------------------------------------------------


def caller(homes: dict[str, Path], name: str = "orebro", *, proxy: str | None = None, running: bool = False) -> Caller:
    home = Home(homes[name])
    roster = home.in_force()
    assert roster is not None
    return Caller(name, home.identity, roster, proxy, running)


@contextmanager
def listening(greeting: bytes | None) -> Iterator[str]:
    """A server that says this to whoever connects, or lets connections wait."""
    server = socket.create_server(("127.0.0.4", 0), backlog=64)
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                kept.append(server.accept()[0])
                if greeting is not None:
                    kept[-1].sendall(greeting)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.4:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for one in kept:
            one.close()


@contextmanager
def silent() -> Iterator[str]:
    """An address whose queue of new connections is full, so that the kernel answers nobody."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.5", 0))
        server.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield f"127.0.0.5:{server.getsockname()[1]}"


def other_roster(homes: dict[str, Path], address: str) -> Roster:
    """A version 2 with the same aggregator, without orebro."""
    opened = {name: Home(folder) for name, folder in homes.items()}
    members = [home.identity.member(name, ("keyholder",)) for name, home in opened.items() if name in REGIONS[:2]]
    aggregator = opened["aggregator"].identity.member("aggregator", ("aggregator",))
    return Roster.of(FEDERATION, 2, [aggregator, *members], addresses=(address,))


def test_each_way_in_which_an_address_does_not_work(homes: dict[str, Path], tmp_path: Path) -> None:
    me = caller(homes)
    nothing = f"127.0.0.6:{free_port()}"
    impostor = Home.init(tmp_path / "impostor", "aggregator").folder
    fake = Roster.of(FEDERATION, 1, [Home(impostor).identity.member("aggregator", ("aggregator",))])
    with (
        silent() as no_answer,
        listening(b"SSH-2.0-OpenSSH_9.2\r\n") as ssh,
        listening(None) as mute,
        answering(impostor, fake, "127.0.0.7:0", lambda received: None) as other_key,
        answering(homes["aggregator"], other_roster(homes, nothing), "127.0.0.7:0", lambda received: None) as unknown,
        answering(homes["aggregator"], me.roster, "127.0.0.7:0", lambda received: None) as hanging,
    ):
        began = time.monotonic()
        findings = network_findings(me, (nothing, no_answer, ssh, mute, other_key, unknown, hanging), quiet)
        took = time.monotonic() - began
    assert took < SECONDS + 5
    assert sentences(findings) == [
        f"nothing listens at {nothing}; see to it that aggregator runs `hefed aggregator`, and on that port",
        f"{no_answer} does not answer; a firewall may be in the way: have outbound TCP to {no_answer} allowed, or name "
        "a proxy in settings.toml",
        f"what listens at {ssh} is no hefed aggregator; check the port in the roster, and what aggregator runs on it",
        f"{mute} takes the connection and then says nothing; a firewall between may hold it, or aggregator hangs: have "
        "the path opened for any TCP, or the aggregator looked after",
        f"what answers at {other_key} does not hold the key that the roster of {FEDERATION} (version 1) gives "
        "aggregator, or does not speak hefed; compare the roster's fingerprint with aggregator's by telephone, and "
        "check the address",
        f"aggregator at {unknown} does not know the key of orebro: its roster lists another or none; compare the "
        "roster's version (1 here) and fingerprint with aggregator's by telephone, and have the newest put in force on "
        "both sides",
        f"aggregator at {hanging} is connected but has not greeted orebro yet; it is busy or hangs: wait, then have "
        "its log looked at",
    ]
    assert states(findings, "wrong") == ["port", "port", "handshake", "handshake", "handshake", "handshake", "answer"]
    assert [finding.words for finding in findings if finding.what == "clock"] == ["needs: answer"]


def test_one_address_of_several_is_enough(homes: dict[str, Path], address: str) -> None:
    nothing = f"127.0.0.6:{free_port()}"
    findings = network_findings(caller(homes), (nothing, address), quiet)
    assert all(finding.ok for finding in findings)
    assert row(findings, "address") == Finding(
        "address",
        "note",
        f"nothing listens at {nothing}; see to it that aggregator runs `hefed aggregator`, and on that port "
        f"({address} works, and is used instead)",
    )


def test_a_name_with_several_addresses_works_when_one_does(homes: dict[str, Path]) -> None:
    me = caller(homes)
    with answering(homes["aggregator"], me.roster, "127.0.0.1:0", lambda received: answer(me.roster)) as there:
        findings = network_findings(me, ("localhost:" + there.rpartition(":")[2],), quiet)
    assert all(finding.ok for finding in findings), findings
    assert "127.0.0.1" in row(findings, "name").words


def test_a_proxy_that_is_not_there(homes: dict[str, Path], address: str) -> None:
    proxy = f"127.0.0.6:{free_port()}"
    findings = network_findings(caller(homes, proxy=proxy), (address,), quiet)
    (sentence,) = sentences(findings)
    assert re.fullmatch(
        rf"the proxy {proxy} does not connect to {address} \(.*\); check the proxy in settings\.toml, and ask those "
        rf"who run it to allow {address}",
        sentence,
    )
    assert states(findings, "not tried")[:2] == ["handshake", "answer"]


def answer(known: Roster, /, **other: object) -> dict[str, object]:
    """What a right aggregator says to a probe, but for some fields."""
    right = {
        "type": "probed",
        "version": OURS.link,
        "protocols": list(OURS.protocols),
        "package": OURS.package,
        "time": time.time(),
        "roster": RosterState.of(known).plain(),
        "connected": False,
    }
    return {**right, **other}


def answered(homes: dict[str, Path], *, running: bool = False, **other: object) -> list[Finding]:
    """The rows when the aggregator's answer has other fields."""
    me = caller(homes, running=running)

    def reply(received: Received) -> object:
        return answer(me.roster, **other) if received.header["type"] == "probe" else None

    with answering(homes["aggregator"], me.roster, "127.0.0.7:0", reply) as where:
        return network_findings(me, (where,), quiet)


def test_other_versions(homes: dict[str, Path]) -> None:
    assert sentences(answered(homes, protocols=[7], package="3.0.0")) == [
        f"aggregator runs hefed 3.0.0 (protocol 7, link 1) and orebro {OURS.words()}, which have none in common; "
        "install hefed 3.0.0 here"
    ]
    older = f"(protocol 1, link 1) and orebro {OURS.words()}, which have none in common; have hefed {OURS.package} "
    assert sentences(answered(homes, protocols=[1], package="0.1.7")) == [
        f"aggregator runs hefed 0.1.7 {older}installed there"
    ]
    of_0_1 = answered(homes, type="unknown")  # what it says to everything but a hello
    assert sentences(of_0_1) == [f"aggregator runs hefed 0.1 {older}installed there"]
    assert row(of_0_1, "clock").words == "aggregator does not say what time it has"


def test_turned_away(homes: dict[str, Path]) -> None:
    findings = answered(homes, type="turned away", words="come back with another version")
    assert sentences(findings) == ["turned away: come back with another version"]
    assert states(findings, "wrong") == ["answer"]


def test_other_rosters(homes: dict[str, Path], address: str) -> None:
    newer = RosterState.of(other_roster(homes, address)).plain()
    assert sentences(answered(homes, roster=newer)) == [
        "orebro has version 1 of the roster in force and aggregator version 2: orebro's own is the older; put the "
        "newer one in force there"
    ]
    assert sentences(answered(homes, roster={"version": 1, "digest": bytes(32)})) == [
        "orebro and aggregator have different rosters of one version, 1; compare their fingerprints, and see to it "
        "that both have the one that all signed"
    ]


@pytest.mark.parametrize(("shift", "way"), [(-400.0, "ahead of"), (400.0, "behind")])
def test_clocks_that_differ(homes: dict[str, Path], shift: float, way: str) -> None:
    (sentence,) = sentences(answered(homes, time=time.time() + shift))
    assert re.fullmatch(
        rf"this machine's clock is (399|400|401) s {way} that of aggregator, and 300 s are the most that a study "
        r"allows; set it by NTP, or have aggregator set its own",
        sentence,
    )


def test_clocks_that_differ_a_little_do_not_matter(homes: dict[str, Path]) -> None:
    findings = answered(homes, time=time.time() - 120.0)
    assert re.fullmatch(r"within 1[12]\d seconds of that of aggregator", row(findings, "clock").words)


def test_a_second_node_of_one_identity(homes: dict[str, Path]) -> None:
    assert sentences(answered(homes, connected=True)) == [
        "a node of orebro is connected to aggregator, but none runs in this home; stop that one, or find out who has a "
        "copy of identity.key (if it was stopped just now, check again in ten seconds)"
    ]
    assert row(answered(homes, connected=False, running=True), "one node").words == (
        "the node that runs in this home is not connected to aggregator at the moment; see hefed status"
    )


# --- the table and the policy ------------------------------------------------------------------------------------


def of_table(home: Path, more: str = "", table: str | None = None) -> list[Finding]:
    """The rows for a table, by default that of orebro, with further lines in its settings."""
    with_table(home, TABLES / "orebro.csv", more)
    if table is not None:
        (home / "patients.csv").write_text(table)
    settings = Settings.load(home)
    assert settings.data is not None
    return table_findings(settings.data, settings.policy, "orebro", quiet)


def test_columns_that_the_settings_name_and_the_table_does_not_have(tmp_path: Path) -> None:
    more = 'columns = { weight = "VIKT" }\n[policy]\ncolumns = ["age", "serum_sodum", "sex"]\n'
    assert sentences(of_table(tmp_path, more)) == [
        "region orebro: column 'VIKT' ('weight' in the study) is missing in patients.csv; it has 'age', 'anaemia', "
        "'creatinine_phosphokinase', 'diabetes', 'ejection_fraction', 'high_blood_pressure', 'platelets', "
        "'serum_creatinine', 'serum_sodium', 'sex', 'smoking', 'time'",
        "region orebro: column 'serum_sodum' is missing in patients.csv; did you mean 'serum_sodium'?",
    ]


def test_columns_that_hold_no_numbers(tmp_path: Path) -> None:
    more = '[policy]\ncolumns = ["age", "sex"]\n'
    findings = of_table(tmp_path, more, "age,sex\n50,1\nold,0\n60,\n")
    assert sentences(findings) == [
        "region orebro: patients.csv column 'age' has something other than a number in line 3; mend it there"
    ]
    findings = of_table(tmp_path, more, "age,sex\n50,1\n60,\n")
    assert row(findings, "columns").words == "numbers in age, sex (1 missing)"


def test_two_columns_that_are_one(tmp_path: Path) -> None:
    assert sentences(of_table(tmp_path, 'columns = { age = "sex", sex = "sex" }\n')) == [
        "region orebro: patients.csv column 'sex' would be both 'age' and 'sex' of the study; give each its own column "
        "in [data.columns]"
    ]


def test_an_empty_table(tmp_path: Path) -> None:
    findings = of_table(tmp_path, "", "age,sex\n")
    assert sentences(findings) == ["region orebro: patients.csv has a header but no rows; is it the right file?"]
    assert states(findings, "not tried") == ["columns"]


def test_a_password_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEFED_DB_PASSWORD", raising=False)
    data = DataSettings(
        source="sql", url="postgresql+psycopg://hefed@127.0.0.1:1/x", table="t", password_env="HEFED_DB_PASSWORD"
    )
    findings = table_findings(data, Policy(), "orebro", quiet)
    assert sentences(findings) == [
        "region orebro: the environment variable HEFED_DB_PASSWORD, which password_env in [data] names, is not set; "
        "set it here and for the node, to the password of the database"
    ]


def test_a_policy_that_no_study_can_meet(homes: dict[str, Path]) -> None:
    policy = Policy(readers=("lund",), analysts=("analist",), min_threshold=4, min_contributors=5)
    assert sentences(policy_findings(policy, caller(homes).roster)) == [
        "[policy] readers names 'lund', who is no reader on the roster; it has halland, kronoberg, orebro",
        "[policy] analysts names 'analist', who is no analyst on the roster; did you mean 'analyst'?",
        f"[policy] min_threshold is 4, but the roster of {FEDERATION} has 3 keyholders, so every study would be "
        "refused; lower it if you may",
        f"[policy] min_contributors is 5, but the roster of {FEDERATION} has 3 contributors, so every study would be "
        "refused; lower it if you may",
    ]


def of_study(
    homes: dict[str, Path],
    study: Path,
    policy: Policy | None = None,
    name: str = "orebro",
    roster: Roster | None = None,
) -> list[Finding]:
    data = Settings.load(homes["orebro"]).data
    return study_findings(study, data, policy or Policy(), name, roster or caller(homes).roster, quiet)


def test_a_study_that_is_not_there(homes: dict[str, Path], tmp_path: Path) -> None:
    findings = of_study(homes, tmp_path / "none.toml")
    assert sentences(findings) == [f"{tmp_path}/none.toml: cannot be read: no such file or directory; check the name"]
    assert states(findings, "not tried") == ["study's policy", "study's table"]


def test_a_study_that_the_roster_does_not_allow(homes: dict[str, Path]) -> None:
    opened = {name: Home(folder) for name, folder in homes.items()}
    without = make_roster(opened, "127.0.0.1:1", caller(homes).roster, {"kronoberg": "keyholder,contributor"})
    assert sentences(of_study(homes, STUDY, roster=without)) == [
        f"'kronoberg' is on the roster of {FEDERATION}, but not as a reader"
    ]
    strict = replace(without, least_threshold=3, least_min_contributors=4, members=caller(homes).roster.members)
    assert sentences(of_study(homes, STUDY, roster=strict)) == [
        f"the study's threshold is 2, but no study of {FEDERATION} goes below 3 (version 2 of its roster); raise it "
        "and submit again"
    ]


def test_a_study_that_the_policy_refuses(homes: dict[str, Path]) -> None:
    policy = Policy(models=("logistic",), min_rows=100, max_rounds=3)
    assert sentences(of_study(homes, STUDY, policy)) == [
        "orebro refuses: the policy here does not grant model 'cox'",
        "orebro refuses: the policy here grants at most 3 rounds, and the study asks for up to 40",
        "orebro refuses: the policy here asks for at least 100 complete rows, and the table has fewer",
    ]


def test_a_table_that_a_study_cannot_use(homes: dict[str, Path]) -> None:
    table = homes["orebro"] / "patients.csv"
    right = table.read_text()
    table.write_text(right.replace("ejection_fraction", "ejectionfraction"))
    assert sentences(of_study(homes, STUDY)) == [
        "region orebro: column 'ejection_fraction' is missing in patients.csv; did you mean 'ejectionfraction'?"
    ]
    table.write_text("\n".join(right.splitlines()[:2]) + "\n")
    few = sentences(of_study(homes, STUDY, Policy(min_rows=1, min_events=0)))
    assert len(few) == 1
    assert few[0].startswith("region orebro: ")


def test_a_study_without_this_region(homes: dict[str, Path]) -> None:
    assert row(of_study(homes, STUDY, name="lund"), "study's table") == Finding(
        "study's table", "note", "lund gives no data to heart-failure-mortality"
    )


# --- this machine ------------------------------------------------------------------------------------------------


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


def test_engines_that_differ(homes: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "add", lambda context, total, item: None)
    assert row(check_home(homes["orebro"]).findings, "engines") == Finding(
        "engines",
        "wrong",
        "self-test of profile compact: SEAL's sum differs from the vectorised one; it must not take part in a study",
    )


def test_no_place_for_the_compiled_kernels(homes: dict[str, Path], tmp_path: Path) -> None:
    if not namespace():  # where the package itself can be written, there always is one
        return
    package = str(ROOT / "hefed")
    mounts = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    nowhere = {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "NUMBA_CACHE_DIR": "/proc/none"}
    ended = typed(tmp_path, "orebro", prefix=[*namespace(), "sh", "-c", mounts, package], **nowhere)
    assert row(read(ended.out), "engines").words == (
        "the compiled kernels have no place to be kept; set NUMBA_CACHE_DIR to a folder that hefed may write"
    )
