"""What tests of `hefed node --check` look for in its findings."""

from collections.abc import Iterable
from pathlib import Path

from hefed.node.check_network import Caller
from hefed.node.finding import Finding
from hefed.node.home import Home
from hefed.node.limits import USUAL, Limits


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


def caller(
    homes: dict[str, Path],
    name: str = "orebro",
    *,
    proxy: str | None = None,
    running: bool = False,
    limits: Limits = USUAL,
) -> Caller:
    home = Home(homes[name])
    roster = home.in_force()
    assert roster is not None
    return Caller(name, home.identity, roster, proxy, running, limits)
