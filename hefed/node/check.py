"""`hefed node --check`: tries all that a process of a member needs, and says what works and what does not."""

from pathlib import Path

from hefed.node.errors import NodeError
from hefed.node.finding import Finding, Tell, works, wrong
from hefed.node.home import Home


def check_home(folder: Path, study: Path | None = None, tell: Tell = lambda what: None) -> list[Finding]:
    """One finding for each thing that was tried, in the order in which they depend on each other."""
    tell("home")
    try:
        home = Home(folder)
        return [works("home", home.card().name)]
    except NodeError as error:
        return [wrong("home", error)]
