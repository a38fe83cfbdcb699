"""`hefed node --check`: tries all that a process of a member needs, and says what works and what does not.

Nothing stops at the first fault: what can be tried without what is wrong is tried. It disturbs no process that runs in
the home already, and every wait has an end. The parts are `check_state`, `check_network` and `check_data`.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import zmq

from hefed.crypto.errors import CryptoError
from hefed.crypto.parameters import PROFILES
from hefed.data.settings import SettingsError
from hefed.node.aggregator_link import AggregatorLink
from hefed.node.check_data import policy_findings, study_findings, table_findings
from hefed.node.check_network import AFTER, DIRECT, Caller, network_findings
from hefed.node.check_state import can_look, home_finding, metrics_finding, process_finding, state_findings
from hefed.node.errors import NodeError
from hefed.node.federation import day_of, shown
from hefed.node.finding import Finding, Tell, not_tried, note, waiting_for, works, wrong
from hefed.node.home import Home
from hefed.node.operate import Standing
from hefed.node.passphrase import is_asked_for
from hefed.node.serving import compare_engines
from hefed.node.settings import FILE as SETTINGS
from hefed.node.settings import Settings
from hefed.node.status import is_running
from hefed.node.wrapping import is_protected
from hefed.protocol.card import Card
from hefed.protocol.ending import day, has_ended, warning
from hefed.protocol.errors import ProtocolError, RosterError
from hefed.protocol.roster import Member, Roster


@dataclass(frozen=True)
class Checked:
    """All findings, in the order in which they depend on each other, the command that starts the process, and whether
    that runs already.
    """

    findings: tuple[Finding, ...]
    start: str
    running: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is in the way."""
        return all(finding.ok for finding in self.findings)


def check_home(folder: Path, study: Path | None = None, tell: Tell = lambda what: None) -> Checked:
    """Tries what the process of that home needs; with `study` also whether its region could take part in that one."""
    check = _Check(folder, study, tell)
    findings = [*check.home(), *check.settings(), *check.roster(), *check.network(), *check.data()]
    findings += [*check.state(), *check.engines()]
    return Checked(tuple(findings), check.start, is_running(folder))


def ask_first(folder: Path) -> None:
    """Opens a home whose passphrase a person types, so that nobody is asked while something else is on the terminal.
    Raises NodeError for a wrong one.
    """
    if is_asked_for() and can_look(folder) and is_protected(folder):
        Home(folder)


class _Check:
    """What is known so far; each method adds to it, in the order of `check_home`."""

    def __init__(self, folder: Path, study: Path | None, tell: Tell) -> None:
        self._folder, self._study, self._tell = folder, study, tell
        self._there = False
        self._home: Home | None = None
        self._card: Card | None = None
        self._settings: Settings | None = None
        self._roster: Roster | None = None
        self._me: Member | None = None

    @property
    def _is(self) -> tuple[str, ...]:
        return self._me.roles if self._me else ()

    @property
    def start(self) -> str:
        """The command for which all this was tried."""
        home = shown(self._folder)
        if self._is == ("analyst",):
            return f"hefed submit STUDY.toml --home {home} --out FOLDER"
        return f"hefed {'aggregator' if 'aggregator' in self._is else 'node'} --home {home}"

    def home(self) -> list[Finding]:
        """The folder, and the keys in it."""
        self._tell("the home")
        self._there = can_look(self._folder)
        row = home_finding(self._folder)
        if not self._there:
            return [row, not_tried("identity", "home")]
        try:
            home = Home(self._folder)
            self._card = home.card()
        except (NodeError, ProtocolError) as error:
            return [row, wrong("identity", error)]
        self._home = home
        named = works("identity", f"{self._card.name}, fingerprint {self._card.fingerprint}")
        return [row, named, self._end(self._card), self._passphrase()]

    def _end(self, card: Card) -> Finding:
        words, today = warning(card.name, card.ends, day(time.time())), day(time.time())
        if words is None:
            return works("end", f"the identity ends {day_of(card.ends)}")
        return wrong("end", words) if has_ended(card.ends, today) else note("end", words)

    def _passphrase(self) -> Finding:
        if is_protected(self._folder):
            return works("passphrase", "the keys are under one")
        where = shown(self._folder)
        return note("passphrase", f"the keys are under none; for one: hefed keys protect --home {where}")

    def settings(self) -> list[Finding]:
        """The member's own file."""
        if not self._there:
            return [not_tried("settings", "home")]
        try:
            self._settings = Settings.load(self._folder)
        except SettingsError as error:
            return [wrong("settings", error)]
        there = (self._folder / SETTINGS).exists()
        return [works("settings", f"{SETTINGS} is in order" if there else f"no {SETTINGS}, so all is by default")]

    def roster(self) -> list[Finding]:
        """The roster in force, the signatures under it, and this member's place on it."""
        if self._home is None or self._card is None:
            return waiting_for("identity", "roster", "roles")
        try:
            found = self._home.in_force()
        except NodeError as error:
            return [wrong("roster", error), not_tried("roles", "roster")]
        if found is None:
            return [self._none_in_force(self._home), not_tried("roles", "roster")]
        self._roster = found
        return [self._signed(self._home, found), self._roles(self._home, self._card, found)]

    def _join(self) -> str:
        return f"hefed federation join FILE.roster --home {shown(self._folder)}"

    def _none_in_force(self, home: Home) -> Finding:
        try:
            signed = home.signed()
        except (NodeError, ProtocolError) as error:
            return wrong("roster", error)
        if not signed:
            where = shown(self._folder)
            return wrong("roster", f"no roster is in force in {where}; sign one with all other members: {self._join()}")
        newest = signed[max(signed)]
        missing = f" (when it was signed here, {', '.join(newest.missing)} had not yet)" if newest.missing else ""
        return wrong(
            "roster",
            f"version {newest.roster.version} of {newest.roster.federation} is signed here, but not in force{missing}; "
            f"join again with the file that all have signed: {self._join()}",
        )

    def _signed(self, home: Home, roster: Roster) -> Finding:
        what = f"{roster.federation}, version {roster.version}"
        try:
            signed = home.signed().get(roster.version)
        except (NodeError, ProtocolError) as error:
            return wrong("roster", error)
        if signed is None or signed.roster != roster or signed.missing:
            return wrong(
                "roster", f"{what}, is in force here without all members' signatures; join again: {self._join()}"
            )
        return works("roster", f"{what}, signed by all {len(roster.members)} members; fingerprint {roster.fingerprint}")

    def _roles(self, home: Home, card: Card, roster: Roster) -> Finding:
        name = card.name
        if name not in {member.name for member in roster.members}:
            return wrong(
                "roles",
                f"{name} is not on the roster of {roster.federation} (version {roster.version}); give {name}.card to "
                "whoever makes the roster, and join its next version",
            )
        try:
            self._me = me = home.me(roster)
        except RosterError as error:
            return wrong("roles", error)
        if me.roles == ("analyst",):
            return note("roles", f"{name} is only an analyst, for whom no process runs")
        return works("roles", f"{name} is {', '.join(me.roles)}")

    def network(self) -> list[Finding]:
        """The way to the aggregator; of the aggregator itself, whether it can listen."""
        missing = {"identity": self._home, "roster": self._roster, "settings": self._settings}
        if self._home is None or self._card is None or self._roster is None or self._settings is None:
            first = next(what for what, found in missing.items() if found is None)
            return waiting_for(first, *DIRECT, *AFTER)
        running = is_running(self._folder)
        if self._me is not None and "aggregator" in self._is:
            return [_listening(Standing(self._home, self._roster, self._me, self._settings), running=running)]
        network, roster = self._settings.network, self._roster
        limits = self._settings.limits
        caller = Caller(self._card.name, self._home.identity, roster, network.proxy, running, limits)
        addresses = network.aggregator or roster.addresses
        if addresses:
            return network_findings(caller, addresses, self._tell)
        words = (
            f"the roster of {roster.federation} does not say where {roster.aggregator.name} is dialled; make its next "
            f"version with --address HOST:PORT, or set [network] aggregator in {shown(self._folder / SETTINGS)}"
        )
        return [wrong("address", words), *waiting_for("address", *caller.rows, *AFTER)]

    def data(self) -> list[Finding]:
        """The table and the policy of a region."""
        if "aggregator" in self._is or self._is == ("analyst",):
            return []
        if self._settings is None:
            return waiting_for("settings", "table", "columns", "policy", *(["study"] if self._study else []))
        return [*self._table(self._settings), *self._policy(self._settings), *self._of_study(self._settings)]

    def _table(self, settings: Settings) -> list[Finding]:
        name = self._card.name if self._card else "of this home"
        if settings.data is not None:
            return table_findings(settings.data, settings.policy, name, self._tell)
        if "contributor" not in self._is:
            return []
        words = (
            f"{name} is a contributor, but {shown(self._folder / SETTINGS)} has no section [data] that says where its "
            "table is; add one, or have a roster made in which it is no contributor"
        )
        return [wrong("table", words), not_tried("columns", "table")]

    def _policy(self, settings: Settings) -> list[Finding]:
        if self._roster is None:
            return [not_tried("policy", "roster")]
        return policy_findings(settings.policy, self._roster)

    def _of_study(self, settings: Settings) -> list[Finding]:
        if self._study is None:
            if settings.data is None:
                return []
            return [note("study", "none was named; to try the table and the policy against one: --study STUDY.toml")]
        if self._roster is None or self._card is None:
            return [not_tried("study", "roster")]
        policy, name = settings.policy, self._card.name
        return study_findings(self._study, settings.data, policy, name, self._roster, self._tell)

    def state(self) -> list[Finding]:
        """The folder as the process uses it, and what else it opens on this machine."""
        self._tell("the disk")
        if not self._there:
            return waiting_for("home", "process", "folder", "state", "disk")
        version = self._roster.version if self._roster else None
        rows = [process_finding(self._folder, version), *state_findings(self._folder)]
        if self._settings and self._settings.operation.metrics_port:
            port = self._settings.operation.metrics_port
            rows.append(metrics_finding(port, running=is_running(self._folder)))
        return rows

    def engines(self) -> list[Finding]:
        """The two encryption engines against each other and against SEAL."""
        self._tell("the encryption engines; slow the first time")
        began = time.monotonic()
        try:
            compare_engines()
        except (CryptoError, NodeError) as error:
            return [wrong("engines", error)]
        seconds = time.monotonic() - began
        return [works("engines", f"profiles {' and '.join(PROFILES)}: both engines and SEAL agree, in {seconds:.1f} s")]


def _listening(member: Standing, *, running: bool) -> Finding:
    try:
        bind = member.bind
        if running:
            return note("port", f"{bind}, where the process that runs in this home listens")
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            AggregatorLink(context, member.home.identity, member.roster, bind, limits=member.settings.limits).close()
        finally:
            context.destroy(linger=0)
    except NodeError as error:
        return wrong("port", error)
    dialled = member.roster.addresses
    if bind.rpartition(":")[2] not in {address.rpartition(":")[2] for address in dialled}:
        listed = ", ".join(dialled) or "no address"
        return note("port", f"{bind} can be listened on; members dial {listed}, so something has to pass that on")
    return works("port", f"{bind} can be listened on")
