"""What `simulate --check` prints, the study in a few lines and what each region's table holds; and `node --check`, what
works and what does not. Relies on rich.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.report.table import describe_model, folds, plain_rows
from hefed.study import Study
from hefed.wording import counted


class Tried(Protocol):
    """What was tried before a start, and how it stands: "works", "note", "wrong" or "not tried"."""

    @property
    def what(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def words(self) -> str: ...


class Finding(Protocol):
    """What was found in one region's table; `fault` is None when it can be used."""

    @property
    def region(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def fault(self) -> str | None: ...


def print_check(study: Study, findings: Sequence[Finding], to: Console) -> None:
    """Prints what the study would do and a line for each table; sentences about faults are for the caller to print."""
    for line in _study_lines(study):
        to.print(Text(line))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("region", "table"):
        table.add_column(name, overflow="fold")
    for name in ("rows", "events", "left out"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for finding in findings:
        counts = ("", "", "") if finding.fault else (str(finding.rows), str(finding.events), str(finding.dropped))
        state = Text("cannot be used", style="bold red") if finding.fault else Text("ok", style="green")
        table.add_row(Text(finding.region), Text(finding.file), *counts, state)
    to.print()
    to.print(table)
    to.print()
    if not any(finding.fault for finding in findings):
        rows, events = sum(finding.rows for finding in findings), sum(finding.events for finding in findings)
        to.print(Text(f"All tables can be used: {counted(rows, 'row')}, {counted(events, 'event')}."))


_STYLES = {"works": "green", "note": "cyan", "wrong": "bold red", "not tried": "yellow"}


def print_findings(findings: Sequence[Tried], start: str | None, to: Console) -> None:
    """Prints a row for each finding, and whether all works; `start` is the command that then starts it, None where it
    runs already.
    """
    if folds(to):
        to.print(_findings(findings))
    else:
        for line in plain_rows([(finding.what, finding.state, finding.words) for finding in findings]):
            to.print(line)
    to.print()
    to.print(Text(_conclusion(findings, start)), soft_wrap=True)


def _findings(findings: Sequence[Tried]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("tried", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.what), Text(finding.state, style=_STYLES[finding.state]), Text(finding.words))
    return table


def _conclusion(findings: Sequence[Tried], start: str | None) -> str:
    count = Counter(finding.state for finding in findings)
    if count["works"] + count["note"] == len(findings):
        return f"Everything works; start it: {start}" if start else "Everything works, and it runs."
    untried = f", and {count['not tried']} could not be tried" if count["not tried"] else ""
    return (
        f"{count['wrong']} of {len(findings)} {'does' if count['wrong'] == 1 else 'do'} not work{untried}; mend what "
        "is wrong from the top, then check again."
    )


def _study_lines(study: Study) -> list[str]:
    security = study.security
    return [
        f"{study.id}: {study.purpose}",
        f"{describe_model(study)}: {', '.join(study.model.responses)} on {', '.join(study.model.covariates)}",
        f"{counted(len(study.contributors), 'contributor')}; any {security.threshold} of "
        f"{counted(len(study.keyholders), 'keyholder')} open a sum: {', '.join(study.keyholders)}",
        f"Readers of the sums: {', '.join(study.readers)}",
        f"Profile {security.profile}, engine {security.engine}, deadline {security.deadline} s, "
        f"at most {study.limits.rounds} Newton rounds",
    ]
