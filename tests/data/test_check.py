"""Checking all tables of a study before it starts."""

from pathlib import Path

import pytest

from hefed.data.check import check_table, check_tables
from hefed.data.settings import DataSettings
from hefed.node.work import fault
from hefed.study import Study


def test_every_table_gets_a_finding_and_a_fault_hides_no_other(tmp_path: Path) -> None:
    source = Path("examples/heart-failure")
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "halland.csv").unlink()
    orebro = (tmp_path / "orebro.csv").read_text()
    (tmp_path / "orebro.csv").write_text(orebro.replace("serum_sodium", "sodium"))
    findings = {finding.region: finding for finding in check_tables(Study.load(tmp_path / "cox.toml"), fault)}
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
    findings = check_tables(Study.load(Path("examples/heart-disease/logistic.toml")), fault)
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
    good = check_table(data, study, "kronoberg", fault)
    assert (good.file, good.rows, good.dropped, good.duplicates, good.fault) == ("own.csv", 61, 0, 2, None)
    bad = check_table(data.model_copy(update={"columns": {}}), study, "kronoberg", fault)
    assert bad.fault is not None
    assert bad.fault.startswith("region kronoberg: column 'DEATH_EVENT' is missing in own.csv; it has ")


@pytest.mark.parametrize(
    ("row", "count", "words"),
    [
        ("50,0,582,0,20,1,265000,1.9,130,1,0,4,0", 80, "fewer than the 5 events"),
        ("50,0,582,0,20,1,265000,1.9,130,1,0,4,1", 4, "fewer than the 5 rows"),
        ("1e300,0,582,0,20,1,265000,1.9,130,1,0,4,1", 80, "'age'"),
    ],
)
def test_what_a_region_would_refuse_in_the_study_is_found_before_it(
    row: str, count: int, words: str, tmp_path: Path
) -> None:
    header = Path("examples/heart-failure/kronoberg.csv").read_text().splitlines()[0]
    (tmp_path / "kronoberg.csv").write_text("\n".join([header, *[row] * count]))
    study = Study.load(Path("examples/heart-failure/cox.toml"))
    found = check_table(tmp_path / "kronoberg.csv", study, "kronoberg", fault).fault
    assert found is not None
    assert found.startswith("region kronoberg: ")
    assert words in found


def test_two_regions_do_not_have_one_table(tmp_path: Path) -> None:
    text = Path("examples/heart-failure/cox.toml").read_text().replace('"orebro.csv"', '"./halland.csv"')
    for name in ("halland", "kronoberg"):
        (tmp_path / f"{name}.csv").write_bytes(Path(f"examples/heart-failure/{name}.csv").read_bytes())
    (tmp_path / "study.toml").write_text(text)
    faults = [finding.fault for finding in check_tables(Study.load(tmp_path / "study.toml"), lambda *_: None)]
    assert faults == [
        None, None, "region orebro: has the same table as halland, halland.csv; give each region its own"
    ]  # fmt: skip
