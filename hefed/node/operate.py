"""`hefed node` and `hefed aggregator`: a member's home, its roster and its settings become a running process.

Relies on `serving` to run it. The home is taken for this process alone; its standing goes to `status.json` and, where
the settings ask for it, to a page for Prometheus.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hefed.data.policy import Policy
from hefed.data.settings import DataSettings
from hefed.node import metrics
from hefed.node.errors import NodeError
from hefed.node.federation import shown
from hefed.node.files import lock_folder
from hefed.node.home import Home
from hefed.node.keys import settle_at_start
from hefed.node.lifeline import Lifeline
from hefed.node.serving import Region, serve_aggregator, serve_region
from hefed.node.settings import FILE, Settings
from hefed.node.status import StatusFile
from hefed.protocol.ending import day, warning
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Member, Role, Roster

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds to wait for the home; a look at the status takes it for an instant."""


@dataclass(frozen=True)
class Standing:
    """A member's home with what follows from it: the roster in force, the member as that lists it, the settings."""

    home: Home
    roster: Roster
    me: Member
    settings: Settings

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the aggregator is dialled. Raises NodeError when nobody says."""
        addresses = self.settings.network.aggregator or self.roster.addresses
        if not addresses:
            raise NodeError(
                f"the roster of {self.roster.federation} does not say where {self.roster.aggregator.name} is dialled; "
                f"make its next version with --address HOST:PORT, or set [network] aggregator in "
                f"{shown(self.home.folder / FILE)}"
            )
        return addresses

    @property
    def earlier(self) -> list[Roster]:
        """The rosters that were in force here before."""
        signed = self.home.signed().values()
        return [one.roster for one in signed if one.roster.version < self.roster.version and not one.missing]

    def reread(self) -> tuple[DataSettings | None, Policy]:
        """Table and policy as the settings say now. Raises SettingsError."""
        settings = Settings.load(self.home.folder)
        return settings.data, settings.policy

    @property
    def bind(self) -> str:
        """Where the aggregator listens. Raises NodeError when nobody says."""
        if self.settings.network.bind:
            return self.settings.network.bind
        if not self.roster.addresses:
            raise NodeError(
                f"neither [network] bind in {shown(self.home.folder / FILE)} nor the roster says on which port to "
                "listen; set one"
            )
        return "*:" + self.roster.addresses[0].rpartition(":")[2]


def standing(folder: Path, *roles: Role) -> Standing:
    """The member at home there, who must have one of these roles. Raises NodeError, RosterError, SettingsError."""
    home = Home(folder)
    roster = home.in_force()
    if roster is None:
        raise NodeError(
            f"no roster is in force in {shown(folder)}; sign one with all other members: hefed federation join "
            f"FILE.roster --home {shown(folder)}"
        )
    me = home.me(roster)
    if roles and not set(me.roles) & set(roles):
        raise RosterError(
            f"{me.name} is on the roster of {roster.federation} as {', '.join(me.roles)}, "
            f"and not as {' or '.join(roles)}"
        )
    return Standing(home, roster, me, Settings.load(folder))


def run_node(member: Standing, lifeline: Lifeline) -> None:
    """A region's process, until its lifeline is cut. Raises NodeError."""
    settings = member.settings
    region = Region(
        folder=member.home.folder,
        name=member.me.name,
        roster=member.roster,
        data=settings.data,
        policy=settings.policy,
        earlier=member.earlier,
        keep_days=settings.operation.keep_days,
        threads=settings.operation.threads,
        limits=settings.limits,
        reread=member.reread,
    )
    with _watched(member) as report:
        serve_region(region, member.addresses, lifeline, proxy=settings.network.proxy, report=report)


def run_aggregator(member: Standing, lifeline: Lifeline) -> None:
    """The aggregator's process, until its lifeline is cut. Raises NodeError."""
    with _watched(member) as report:
        serve_aggregator(
            member.home.folder,
            member.roster,
            member.bind,
            lifeline,
            earlier=member.earlier,
            keep_days=member.settings.operation.keep_days,
            limits=member.settings.limits,
            report=report,
        )


class _Watch:
    """Takes the standing of a process, adds when its identity ends, and has that told in the log once a day."""

    def __init__(self, member: Standing, status: StatusFile) -> None:
        self._me, self._status, self._told = member.me, status, date.min

    def __call__(self, standing: Mapping[str, Any]) -> None:
        """The newest standing."""
        today = day(time.time())
        if today != self._told:
            self._told = today
            words = warning(self._me.name, self._me.ends, today)
            if words:
                log.warning("%s", words)
        self._status({**standing, "identity_ends": self._me.ends.isoformat() if self._me.ends else None})


@contextmanager
def _watched(member: Standing) -> Iterator[_Watch]:
    folder, port = member.home.folder, member.settings.operation.metrics_port
    lock = lock_folder(folder, PATIENCE)
    try:
        settle_at_start(folder)
        status = StatusFile(folder)
        watch = _Watch(member, status)
        watch({"role": _role(member), "name": member.me.name, "notice": "starting: the encryption tests itself"})
        if port is None:
            yield watch
        else:
            with metrics.serve(port, lambda: status.latest):
                yield watch
    finally:
        os.close(lock)


def _role(member: Standing) -> str:
    return "aggregator" if member.me == member.roster.aggregator else "region"
