"""Study files guessed from tables: ready to use, and honest about what they leave out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.data.check import check_tables
from hefed.data.draft import DraftError
from hefed.data.draft_file import draft_study, region_names, slug
from hefed.data.source import DataError
from hefed.node.work import fault
from hefed.study import Cox, Logistic, Study

HEART_FAILURE = sorted(Path("examples/heart-failure").glob("*.csv"))
HEART_DISEASE = sorted(Path("examples/heart-disease").glob("*.csv"))


def drafted(paths: list[Path], folder: Path) -> tuple[Study, str]:
    """The study of a drafted file, and its text."""
    target = folder / "my study.toml"
    target.write_text(draft_study(paths, target))
    return Study.load(target), target.read_text()


def write_tables(folder: Path, columns: dict[str, list[object]], count: int = 3) -> list[Path]:
    """The same table for each of some regions."""
    rows = ["\t".join(columns), *("\t".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    paths = [folder / f"region {i}.csv" for i in range(count)]
    for path in paths:
        path.write_text("\n".join(rows) + "\n")
    return paths


def outcome(rows: int = 40) -> list[object]:
    return [i % 2 for i in range(rows)]


def numbers(seed: int, rows: int = 40) -> list[object]:
    return list(np.random.default_rng(seed).normal(size=rows).round(3))


def test_survival_data_give_a_cox_model_that_can_be_run(tmp_path: Path) -> None:
    study, text = drafted(HEART_FAILURE, tmp_path)
    assert isinstance(study.model, Cox)
    assert (study.model.duration, study.model.event) == ("time", "DEATH_EVENT")
    assert study.contributors == ("halland", "kronoberg", "orebro")
    assert study.id == "my-study"
    assert len(study.model.covariates) == 9  # 96 events, ten for each covariate
    assert "#   'smoking': more than 9 covariates for 96 events" in text
    findings = check_tables(study, fault)
    assert [finding.fault for finding in findings] == [None] * 3
    assert sum(finding.rows for finding in findings) == 299
    assert sum(finding.events for finding in findings) == 96


def test_other_data_give_a_logistic_model_of_complete_columns(tmp_path: Path) -> None:
    study, text = drafted(HEART_DISEASE, tmp_path)
    assert isinstance(study.model, Logistic)
    assert study.model.outcome == "disease"
    assert study.model.covariates == ("age", "sex", "cp")
    assert study.model.missing == "refuse"
    assert "#   'ca': mostly missing in a table" in text
    assert "#   'thalach': values are missing" in text
    assert not any(finding.fault for finding in check_tables(study, fault))


def test_incomplete_columns_are_used_when_there_are_no_others(tmp_path: Path) -> None:
    columns = {"outcome": outcome(), "x": [*numbers(1)[:-2], "", ""]}
    study, _ = drafted(write_tables(tmp_path, columns), tmp_path)
    assert (study.model.covariates, study.model.missing) == (("x",), "drop-rows")
    assert [finding.dropped for finding in check_tables(study, fault)] == [2, 2, 2]


def test_columns_that_cannot_be_covariates_are_left_out_with_the_reason(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "patient_id": numbers(1), "nummer": list(range(7, 47)), "site": ["lund"] * 40, "same": [3] * 40,
        "(intercept)": numbers(2), "x": numbers(3), "survivalDays": numbers(4), "outcome": outcome(),
    }  # fmt: skip
    study, text = drafted(write_tables(tmp_path, columns), tmp_path)
    assert study.model.covariates == ("x", "survivalDays")
    for line in (
        "'patient_id': looks like a number of the row",
        "'nummer': looks like a number of the row",
        "'site': not only numbers",
        "'same': varies in no table",
        "'(intercept)': is the name of the intercept",
    ):
        assert f"#   {line}" in text


def test_negative_times_are_no_times(tmp_path: Path) -> None:
    columns = {"time": numbers(1), "death": outcome(), "x": numbers(2)}
    study, _ = drafted(write_tables(tmp_path, columns), tmp_path)
    assert isinstance(study.model, Logistic)


def test_only_columns_of_all_tables_are_used(tmp_path: Path) -> None:
    paths = write_tables(tmp_path, {"event": outcome(), "x": numbers(1), "y2": numbers(2)})
    paths[1].write_text(paths[1].read_text().replace("y2", "other"))
    study, text = drafted(paths, tmp_path)
    assert study.model.covariates == ("x",)
    assert "#   'other': not in every table, or not once" in text
    assert "#   'y2': not in every table, or not once" in text


def test_names_with_quotes_and_spaces_survive(tmp_path: Path) -> None:
    columns = {'odd "name" \\ it\'s': numbers(1), "utfall/event": outcome()}
    paths = write_tables(tmp_path, columns)
    paths = [path.rename(tmp_path / f'a "{i}" \\.csv') for i, path in enumerate(paths)]
    study, _ = drafted(paths, tmp_path)
    assert study.model.covariates == ('odd "name" \\ it\'s',)
    assert study.contributors == ("a-0", "a-1", "a-2")
    assert not any(finding.fault for finding in check_tables(study, fault))


def test_few_of_many_regions_hold_keys(tmp_path: Path) -> None:
    paths = write_tables(tmp_path, {"event": outcome(), "x": numbers(1)}, count=20)
    study, _ = drafted(paths, tmp_path)
    assert (len(study.contributors), len(study.keyholders)) == (20, 5)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"x": numbers(1), "z": numbers(2)}, "no column is 0 or 1 in all tables"),
        ({"event": outcome(), "site": ["a"] * 40}, "no column of numbers is left to explain 'event'"),
    ],
)
def test_tables_without_a_model_are_refused(tmp_path: Path, columns: dict[str, list[object]], sentence: str) -> None:
    with pytest.raises(DraftError, match=sentence):
        draft_study(write_tables(tmp_path, columns), tmp_path / "s.toml")


def test_tables_that_share_no_column_are_refused(tmp_path: Path) -> None:
    paths = write_tables(tmp_path, {"event": outcome(), "x": numbers(1)})
    paths[0].write_text("a\tb\n0\t1\n")
    with pytest.raises(DraftError, match="the tables have no column in common"):
        draft_study(paths, tmp_path / "s.toml")


def test_two_tables_are_too_few() -> None:
    with pytest.raises(DraftError, match="at least 3 regions, not 2; name more files"):
        draft_study(HEART_FAILURE[:2], Path("s.toml"))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file none\.csv"):
        draft_study([*HEART_FAILURE, tmp_path / "none.csv"], tmp_path / "s.toml")


def test_names_of_regions_come_from_the_files() -> None:
    assert region_names([Path("Örebro län.csv"), Path("x/UMEÅ_2.csv"), Path("a.b.csv")]) == [
        "orebro-lan",
        "umea-2",
        "a-b",
    ]
    with pytest.raises(DraftError, match="two regions with the same name 'lund'"):
        region_names([Path("a/lund.csv"), Path("b/Lund.csv")])
    for bad in ("東京.csv", "aggregator.csv", "--.csv"):
        with pytest.raises(DraftError, match="no name for a region can be made"):
            region_names([Path(bad)])


@given(st.text())
def test_a_slug_is_empty_or_a_name(text: str) -> None:
    name = slug(text)
    assert len(name) <= 64
    assert name == "" or name.replace("-", "a").isalnum()
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert slug(name) == name
