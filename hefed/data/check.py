"""Every region's table of a study, looked at before anything starts. Keeps nothing of what it reads."""

from dataclasses import dataclass

from hefed.data.csvfile import DataError
from hefed.data.table import load_table
from hefed.study import Study


@dataclass(frozen=True)
class Finding:
    """What is known of one region's table: counts when it can be used, otherwise the sentence that says why not."""

    region: str
    file: str
    rows: int = 0
    events: int = 0
    dropped: int = 0
    fault: str | None = None


def check_tables(study: Study) -> list[Finding]:
    """One finding for each contributor, in their order."""
    return [_check_table(study, region) for region in study.contributors]


def _check_table(study: Study, region: str) -> Finding:
    path = study.tables[region]
    try:
        table = load_table(path, study, region)
    except DataError as error:
        return Finding(region, path.name, fault=str(error))
    return Finding(region, path.name, table.rows, table.events(study.model), table.dropped)
