"""`hefed node --check` as a person starts it, and what it says of a member's home: each fault with its sentence."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hefed.crypto import seal
from hefed.node import check
from hefed.node.check import check_home
from hefed.node.check_network import Caller
from hefed.node.check_state import can_look, home_finding
from hefed.node.files import lock_folder, write_private
from hefed.node.finding import Finding
from hefed.node.handshake import OURS
from hefed.node.home import Home
from hefed.node.keys import protect
from hefed.node.limits import Limits
from hefed.protocol.roster import SignedRoster
from tests.node.findings import row, sentences, states
from tests.node.homes import FEDERATION, TABLES, make_roster, sign, with_table
from tests.node.runs import REGIONS, ROOT, Ended, command, environment, hefed, read_until, started
from tests.node.test_disk import namespace

STUDY = TABLES / "cox.toml"


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
    """The rows, each a line of its own in a pipe."""
    found = []
    for line in out.partition("\n\n")[0].splitlines():
        parts = re.fullmatch(r"(\S[a-z' ]*?) +(works|note|wrong|not tried) +(.*)", line)
        assert parts is not None, line
        found.append(Finding(*parts.groups()))
    return found


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


def test_a_study_without_the_check(tmp_path: Path) -> None:
    ended = hefed("node", "--home", tmp_path / "orebro", "--study", STUDY)
    assert ended.err == (
        "hefed: --study goes with --check: hefed node --check --study STUDY.toml; add that, or leave it out\n"
    )
    assert ended.code == 2


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
        assert last(ended.out) == "Everything works, and it runs."
        node.terminate()
        assert node.wait(20) == 0
        said = node.stderr.read() if node.stderr else ""
    assert "cut" not in said
    assert "ready" not in said  # again


def test_of_an_aggregator_that_runs_it_says_so_too(homes: dict[str, Path], address: str, tmp_path: Path) -> None:
    lock = lock_folder(homes["aggregator"])
    try:
        ended = typed(tmp_path, "aggregator")
    finally:
        os.close(lock)
    assert (ended.code, last(ended.out)) == (0, "Everything works, and it runs.")


def test_an_aggregator_and_an_analyst_have_lists_of_their_own(
    homes: dict[str, Path], address: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.3", 0)) as taken:
        bind = f"127.0.0.3:{taken.getsockname()[1]}"
        (homes["aggregator"] / "settings.toml").write_text(f'[network]\nbind = "{bind}"\n')
        findings = check_home(homes["aggregator"]).findings
        assert [finding.what for finding in findings] == [
            *(
                "home",
                "identity",
                "end",
                "passphrase",
                "settings",
                "roster",
                "roles",
                "port",
                "process",
                "folder",
                "state",
            ),
            *("disk", "engines"),
        ]
        assert sentences(findings) == [
            f"cannot listen on {bind}: address already in use; choose an address of this machine and a free port, or "
            "stop what uses it"
        ]
    checked = check_home(homes["aggregator"])
    assert row(checked.findings, "port") == Finding(
        "port", "note", f"{bind} can be listened on; members dial {address}, so something has to pass that on"
    )
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
    assert sentences(findings) == [
        "there is no folder orebro; check the name, or make a home there: hefed init NAME --home orebro"
    ]
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


def test_a_folder_that_this_user_may_not_enter(tmp_path: Path) -> None:
    home = tmp_path / "orebro"
    home.mkdir(0o000)
    me = os.geteuid()
    with suppress(PermissionError):
        os.seteuid(65534)  # for root no folder is closed
    try:
        found, there = home_finding(home), can_look(home)
    finally:
        os.seteuid(me)
    assert not there
    assert found.words == f"{home} cannot be looked into: permission denied; run hefed as the user whose it is"


def test_a_folder_without_an_identity(tmp_path: Path) -> None:
    home = tmp_path / "orebro"
    home.mkdir(0o700)
    assert sentences(check_home(home).findings) == [
        f"{home} is no home of a member; make one: hefed init NAME --home {home}"
    ]


def test_a_home_with_and_without_a_passphrase(
    homes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = homes["orebro"]
    assert row(check_home(home).findings, "passphrase") == Finding(
        "passphrase", "note", f"the keys are under none; for one: hefed keys protect --home {home}"
    )
    write_private(tmp_path / "passphrase", b"correct horse battery staple")
    monkeypatch.setenv("HEFED_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    protect(home)
    assert row(check_home(home).findings, "passphrase").state == "works"


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


def test_a_roster_that_is_signed_and_not_in_force(tmp_path: Path) -> None:
    opened = {name: Home.init(tmp_path / name, name) for name in ("aggregator", "analyst", *REGIONS)}
    home = opened["orebro"]
    home.sign(SignedRoster(make_roster(opened, "127.0.0.1:1"), {}))
    assert sentences(check_home(home.folder).findings)[0] == (
        f"version 1 of {FEDERATION} is signed here, but not in force (when it was signed here, aggregator, analyst, "
        "halland, kronoberg had not yet); join again with the file that all have signed: hefed federation join "
        f"FILE.roster --home {home.folder}"
    )


def test_a_roster_that_not_all_signed(homes: dict[str, Path], address: str) -> None:
    home = homes["orebro"]
    opened = {name: Home(folder) for name, folder in homes.items()}
    changed = make_roster(opened, [address, "127.0.0.9:7100"], opened["orebro"].in_force())
    sentence = (
        f"{FEDERATION}, version 2, is in force here without all members' signatures; join again: hefed federation join "
        f"FILE.roster --home {home}"
    )
    (home / "roster.cbor").write_bytes(changed.to_bytes())
    assert sentences(check_home(home).findings)[0] == sentence
    opened["orebro"].sign(SignedRoster(changed, {}))
    assert sentences(check_home(home).findings)[0] == sentence


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


# --- the engines


def test_the_aggregator_is_dialled_with_the_limits_of_the_settings(
    homes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    callers: list[Caller] = []
    monkeypatch.setattr(check, "network_findings", lambda caller, addresses, tell: callers.append(caller) or [])
    with (homes["orebro"] / "settings.toml").open("a") as file:
        file.write("\n[limits]\nhandshake_seconds = 0.3\n")
    check_home(homes["orebro"])
    assert [caller.limits for caller in callers] == [Limits(handshake_seconds=0.3)]


def test_engines_that_differ(homes: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal.Adder, "add", lambda self, total, residues: None)
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
