"""Checking all tables of a study before it starts."""

from pathlib import Path

from hefed.data.check import check_table, check_tables
from hefed.data.settings import DataSettings
from hefed.study import Study


def test_every_table_gets_a_finding_and_a_fault_hides_no_other(tmp_path: Path) -> None:
    source = Path("examples/heart-failure")
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "halland.csv").unlink()
    orebro = (tmp_path / "orebro.csv").read_text()
    (tmp_path / "orebro.csv").write_text(orebro.replace("serum_sodium", "sodium"))
    findings = {finding.region: finding for finding in check_tables(Study.load(tmp_path / "cox.toml"))}
    assert list(findings) == ["halland", "kronoberg", "orebro"]
    assert (
        findings["halland"].fault == "region halland: there is no file halland.csv where it should be; check the path"
    )
    assert findings["orebro"].fault == (
        "region orebro: column 'serum_sodium' is missing in orebro.csv; did you mean 'sodium'?"
    )
    good = findings["kronoberg"]
    assert (good.file, good.rows, good.events, good.dropped, good.fault) == ("kronoberg.csv", 59, 17, 0, None)


def test_rows_that_are_left_out_are_counted() -> None:
    findings = check_tables(Study.load(Path("examples/heart-disease/logistic.toml")))
    assert {f.region: (f.rows, f.dropped) for f in findings} == {
        "budapest": (293, 1),
        "cleveland": (303, 0),
        "long-beach": (141, 59),
        "zurich": (117, 6),
    }
    assert sum(f.events for f in findings) == 465


def test_a_table_of_a_regions_own_settings_gets_the_same_finding(tmp_path: Path) -> None:
    study = Study.load(Path("examples/heart-failure/cox.toml"))
    lines = Path("examples/heart-failure/kronoberg.csv").read_text().splitlines()
    (tmp_path / "own.csv").write_text("\n".join([*lines, lines[5], lines[9]]).replace("DEATH_EVENT", "dead"))
    data = DataSettings(source="csv", path="own.csv", columns={"DEATH_EVENT": "dead"}).relative_to(tmp_path)
    good = check_table(data, study, "kronoberg")
    assert (good.file, good.rows, good.dropped, good.duplicates, good.fault) == ("own.csv", 61, 0, 2, None)
    bad = check_table(data.model_copy(update={"columns": {}}), study, "kronoberg")
    assert bad.fault is not None
    assert bad.fault.startswith("region kronoberg: column 'DEATH_EVENT' is missing in own.csv; it has ")
