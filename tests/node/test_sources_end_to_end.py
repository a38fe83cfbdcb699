"""One study of three regions whose tables lie in PostgreSQL, DuckDB and Parquet, under names of their own."""

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hefed.node.status import read_status
from hefed.study import Study
from tests.data.postgres import READER_PASSWORD, Server, server
from tests.data.tables import PASSWORD_ENV, Tables
from tests.node.homes import make_federation
from tests.node.runs import (
    EXAMPLES,
    assert_same_fit,
    cox_reference,
    environment,
    free_port,
    hefed,
    started,
    to_submit,
    wait_for,
)

EXAMPLE = EXAMPLES / "heart-failure" / "cox.toml"
COX = Study.load(EXAMPLE)
OWN_NAMES = {
    "halland": {"age": "ALDER", "time": "uppföljning, dagar", "DEATH_EVENT": "avliden"},
    "kronoberg": {"serum_sodium": "P-Natrium"},
    "orebro": {"age": "time", "time": "age", "DEATH_EVENT": "Död"},  # a mapping that crosses over
}
SOURCES = {"halland": "duckdb", "kronoberg": "parquet", "orebro": "sql"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


def columns(region: str) -> dict[str, list[Any]]:
    """A region's table under its own names, each column with a type of its own."""
    with COX.tables[region].open() as file:
        rows = list(csv.DictReader(file))
    found: dict[str, list[Any]] = {}
    for name in rows[0]:
        texts = [row[name] for row in rows]
        convert: Any = (
            (lambda text: text == "1")
            if name in ("DEATH_EVENT", "anaemia")
            else float
            if any("." in text for text in texts)
            else int
        )
        found[OWN_NAMES[region].get(name, name)] = [convert(text) for text in texts]
    return found


def settle(home: Path, region: str, tables: Tables) -> None:
    """Writes the region's table into its source, and settings that lead there."""
    data = tables.write(SOURCES[region], columns(region))
    keys = data.model_dump(exclude_none=True, exclude={"columns"}, exclude_defaults=True)
    lines = ["[data]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), "[data.columns]"]
    lines += [f"{name} = {json.dumps(own, ensure_ascii=False)}" for name, own in OWN_NAMES[region].items()]
    if region != "orebro":
        lines += [
            "[policy]",
            'approve = "within-policy"',
            f"columns = {json.dumps(COX.model.columns)}",
            f"keyholders = {json.dumps(COX.keyholders)}",
            f"readers = {json.dumps(COX.readers)}",
            'analysts = ["analyst"]',
            'models = ["cox"]',
        ]
    (home / "settings.toml").write_text("\n".join(lines) + "\n")


def approved(home: Path) -> bool:
    """Whether the running node has approved the one study that came."""
    studies = read_status(home).standing.get("studies", ()) if (home / "status.json").exists() else ()
    return [study["state"] for study in studies] == ["running"]


def test_a_study_over_three_kinds_of_source_gives_the_answer_of_r(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_ENV, READER_PASSWORD)
    homes = make_federation(tmp_path / "homes", COX.contributors, f"127.0.0.1:{free_port()}")
    for region in COX.contributors:
        settle(homes[region], region, Tables(homes[region], lambda: postgres))
    study = tmp_path / "study.toml"
    study.write_text(to_submit(EXAMPLE.read_text()))
    out = tmp_path / "out"
    checked = hefed("node", "--check", "--study", study, "--home", homes["orebro"])
    assert READER_PASSWORD not in checked.out + checked.err
    with ExitStack() as running:
        running.enter_context(started("aggregator", "--home", homes["aggregator"]))
        for region in COX.contributors:
            running.enter_context(started("node", "--home", homes[region]))
        analyst = running.enter_context(started("submit", study, "--home", homes["analyst"], "--out", out))
        for region in ("halland", "kronoberg"):
            wait_for(lambda region=region: approved(homes[region]), 120)
        # What these two have approved is frozen: where it came from is not looked at again.
        (homes["halland"] / "t.duckdb").unlink()
        (homes["kronoberg"] / "t.parquet").write_bytes(b"")
        ended = hefed("approve", COX.id, "--home", homes["orebro"], "--yes")
        assert (ended.code, ended.err) == (0, "")
        assert "The table of orebro (table 'patients'): 90 rows, 29 events." in " ".join(ended.out.split())
        wait_for(lambda: approved(homes["orebro"]), 60)
        postgres.run("DROP TABLE patients")
        said = analyst.communicate(timeout=180)
        assert analyst.returncode == 0, said
    result = json.loads((out / "result.json").read_text())
    rows = result["coefficients"]
    assert_same_fit(
        [row["estimate"] for row in rows],
        [row["std_error"] for row in rows],
        result["log_likelihood"],
        result["log_likelihood_null"],
        cox_reference(),
    )
    assert not (out / "submission.key").exists()
    for region in COX.contributors:
        kept = b"".join(path.read_bytes() for path in homes[region].rglob("*") if path.is_file())
        assert READER_PASSWORD.encode() not in kept
    assert PASSWORD_ENV in environment()
