"""What a check before a start says of a region's table and policy: each fault with the sentence that a person reads."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hefed.data.policy import Policy
from hefed.data.settings import DataSettings
from hefed.node.check_data import policy_findings, study_findings, table_findings
from hefed.node.finding import Finding
from hefed.node.home import Home
from hefed.node.settings import Settings
from hefed.protocol.roster import Roster
from tests.node.findings import caller, quiet, row, sentences, states
from tests.node.homes import FEDERATION, TABLES, make_roster, with_table

STUDY = TABLES / "cox.toml"


def of_table(home: Path, more: str = "", table: str | None = None) -> list[Finding]:
    """The rows for a table, by default that of orebro, with further lines in its settings."""
    with_table(home, TABLES / "orebro.csv", more)
    if table is not None:
        (home / "patients.csv").write_text(table)
    settings = Settings.load(home)
    assert settings.data is not None
    return table_findings(settings.data, settings.policy, "orebro", quiet)


def test_columns_that_the_settings_name_and_the_table_does_not_have(tmp_path: Path) -> None:
    more = 'columns = { weight = "VIKT" }\n[policy]\ncolumns = ["age", "serum_sodum", "sex"]\n'
    assert sentences(of_table(tmp_path, more)) == [
        "region orebro: column 'VIKT' ('weight' in the study) is missing in patients.csv; it has 'age', 'anaemia', "
        "'creatinine_phosphokinase', 'diabetes', 'ejection_fraction', 'high_blood_pressure', 'platelets', "
        "'serum_creatinine', 'serum_sodium', 'sex', 'smoking', 'time'",
        "region orebro: column 'serum_sodum' is missing in patients.csv; did you mean 'serum_sodium'?",
    ]


def test_columns_that_hold_no_numbers(tmp_path: Path) -> None:
    more = '[policy]\ncolumns = ["age", "sex"]\n'
    findings = of_table(tmp_path, more, "age,sex\n50,1\nold,0\n60,\n")
    assert sentences(findings) == [
        "region orebro: patients.csv column 'age' has something other than a number in line 3; mend it there"
    ]
    findings = of_table(tmp_path, more, "age,sex\n50,1\n60,\n")
    assert row(findings, "columns").words == "numbers in age, sex (1 missing)"


def test_two_columns_that_are_one(tmp_path: Path) -> None:
    assert sentences(of_table(tmp_path, 'columns = { age = "sex", sex = "sex" }\n')) == [
        "region orebro: patients.csv column 'sex' would be both 'age' and 'sex' of the study; give each its own column "
        "in [data.columns]"
    ]


def test_an_empty_table(tmp_path: Path) -> None:
    findings = of_table(tmp_path, "", "age,sex\n")
    assert sentences(findings) == ["region orebro: patients.csv has a header but no rows; is it the right file?"]
    assert states(findings, "not tried") == ["columns"]


def test_a_password_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEFED_DB_PASSWORD", raising=False)
    data = DataSettings(
        source="sql", url="postgresql+psycopg://hefed@127.0.0.1:1/x", table="t", password_env="HEFED_DB_PASSWORD"
    )
    findings = table_findings(data, Policy(), "orebro", quiet)
    assert sentences(findings) == [
        "region orebro: the environment variable HEFED_DB_PASSWORD, which password_env in [data] names, is not set; "
        "set it here and for the node, to the password of the database"
    ]


def test_a_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "register.sqlite")) as db:
        db.executescript(
            "CREATE TABLE patients (age REAL, sex INTEGER); INSERT INTO patients VALUES (50, 1), (60, NULL);"
        )
    url = f"sqlite:///{tmp_path}/register.sqlite"
    there = table_findings(
        DataSettings(source="sql", url=url, table="patients"), Policy(columns=("sex",)), "orebro", quiet
    )
    assert row(there, "table").words == "table 'patients': 2 rows; 2 columns: age, sex"
    assert row(there, "columns").words == "numbers in sex (1 missing)"
    other = table_findings(DataSettings(source="sql", url=url, table="patient"), Policy(), "orebro", quiet)
    assert sentences(other) == ["region orebro: there is no table 'patient'; did you mean 'patients'?"]


def test_a_policy_that_no_study_can_meet(homes: dict[str, Path]) -> None:
    policy = Policy(readers=("lund",), analysts=("analist",), min_threshold=4, min_contributors=5)
    assert sentences(policy_findings(policy, caller(homes).roster)) == [
        "[policy] readers names 'lund', who is no reader on the roster; it has halland, kronoberg, orebro",
        "[policy] analysts names 'analist', who is no analyst on the roster; did you mean 'analyst'?",
        f"[policy] min_threshold is 4, but the roster of {FEDERATION} has 3 keyholders, so every study would be "
        "refused; lower it if you may",
        f"[policy] min_contributors is 5, but the roster of {FEDERATION} has 3 contributors, so every study would be "
        "refused; lower it if you may",
    ]


def of_study(
    homes: dict[str, Path],
    study: Path,
    policy: Policy | None = None,
    name: str = "orebro",
    roster: Roster | None = None,
) -> list[Finding]:
    data = Settings.load(homes["orebro"]).data
    return study_findings(study, data, policy or Policy(), name, roster or caller(homes).roster, quiet)


def test_a_study_that_is_not_there(homes: dict[str, Path], tmp_path: Path) -> None:
    findings = of_study(homes, tmp_path / "none.toml")
    assert sentences(findings) == [f"{tmp_path}/none.toml: cannot be read: no such file or directory; check the name"]
    assert states(findings, "not tried") == ["study's policy", "study's table"]


def test_a_study_that_the_roster_does_not_allow(homes: dict[str, Path]) -> None:
    opened = {name: Home(folder) for name, folder in homes.items()}
    without = make_roster(opened, "127.0.0.1:1", caller(homes).roster, {"kronoberg": "keyholder,contributor"})
    assert sentences(of_study(homes, STUDY, roster=without)) == [
        f"'kronoberg' is on the roster of {FEDERATION}, but not as a reader"
    ]
    strict = replace(without, least_threshold=3, least_min_contributors=4, members=caller(homes).roster.members)
    assert sentences(of_study(homes, STUDY, roster=strict)) == [
        f"the study's threshold is 2, but no study of {FEDERATION} goes below 3 (version 2 of its roster); raise it "
        "and submit again"
    ]


def test_a_study_that_the_policy_refuses(homes: dict[str, Path]) -> None:
    policy = Policy(models=("logistic",), min_rows=100, max_rounds=3)
    assert sentences(of_study(homes, STUDY, policy)) == [
        "orebro refuses: the policy here does not grant model 'cox'",
        "orebro refuses: the policy here grants at most 3 rounds, and the study asks for up to 40",
        "orebro refuses: the policy here asks for at least 100 complete rows, and the table has fewer",
    ]


def test_a_table_that_a_study_cannot_use(homes: dict[str, Path]) -> None:
    table = homes["orebro"] / "patients.csv"
    right = table.read_text()
    table.write_text(right.replace("ejection_fraction", "ejectionfraction"))
    assert sentences(of_study(homes, STUDY)) == [
        "region orebro: column 'ejection_fraction' is missing in patients.csv; did you mean 'ejectionfraction'?"
    ]
    table.write_text("\n".join(right.splitlines()[:2]) + "\n")
    few = sentences(of_study(homes, STUDY, Policy(min_rows=1, min_events=0)))
    assert len(few) == 1
    assert few[0].startswith("region orebro: ")


def test_a_study_without_this_region(homes: dict[str, Path]) -> None:
    assert row(of_study(homes, STUDY, name="lund"), "study's table") == Finding(
        "study's table", "note", "lund gives no data to heart-failure-mortality"
    )
