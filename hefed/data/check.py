"""Every region's table of a study, looked at before anything starts. Keeps nothing of what it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hefed.data.settings import DataSettings
from hefed.data.source import DataError
from hefed.data.table import LocalTable, load_table
from hefed.study import Study


@dataclass(frozen=True)
class Finding:
    """What is known of one region's table: counts when it can be used, otherwise the sentence that says why not."""

    region: str
    file: str
    rows: int = 0
    events: int = 0
    dropped: int = 0
    duplicates: int = 0
    fault: str | None = None


Fault = Callable[[Study, str, LocalTable], str | None]
"""Why a table that can be read cannot be used in a study by that region; None when it can."""


def check_tables(study: Study, fault: Fault) -> list[Finding]:
    """One finding for each contributor, in their order."""
    findings, owners = [], dict[Path, str]()
    for region in study.contributors:
        table = study.tables[region]
        other = owners.setdefault(table.resolve(), region)
        if other == region:
            findings.append(check_table(table, study, region, fault))
        else:
            words = f"region {region}: has the same table as {other}, {table.name}; give each region its own"
            findings.append(Finding(region, table.name, fault=words))
    return findings


def check_table(data: Path | DataSettings, study: Study, region: str, fault: Fault) -> Finding:
    """What `load_table`, and then the model through `fault`, make of one region's table."""
    where = data.name if isinstance(data, Path) else data.where
    try:
        table = load_table(data, study, region)
    except DataError as error:
        return Finding(region, where, fault=str(error))
    events = table.events(study.model)
    unfit = fault(study, region, table)
    return Finding(region, where, table.rows, events, table.dropped, table.duplicates, unfit)
