"""The section [data] of a region's settings file: one sentence for each mistake, and never a password in it."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from hefed.data.settings import DataSettings, SettingsError, load_section

SQL = 'source = "sql"\ntable = "t"\n'


def load(folder: Path, text: str) -> DataSettings:
    (folder / "region.toml").write_text(text, encoding="utf-8")
    return DataSettings.load(folder / "region.toml")


def fault(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    found = str(caught.value)
    start = f"{folder / 'region.toml'}: "
    assert found.startswith(start)
    assert caught.value.__cause__ is None
    return found.removeprefix(start)


def test_each_kind_of_source(tmp_path: Path) -> None:
    csv = load(tmp_path, '[data]\nsource = "csv"\npath = "heart.csv"\n[data.columns]\nDEATH_EVENT = "dead"\n')
    assert (csv.file, csv.where, csv.columns) == (tmp_path / "heart.csv", "heart.csv", {"DEATH_EVENT": "dead"})
    assert load(tmp_path, '[data]\nsource = "parquet"\npath = "/data/heart.parquet"\n').file == Path(
        "/data/heart.parquet"
    )
    duckdb = load(tmp_path, '[data]\nsource = "duckdb"\npath = "h.duckdb"\ntable = "care.heart"\n')
    assert (duckdb.where, duckdb.schema_and_table) == ("table 'care.heart' in h.duckdb", ("care", "heart"))
    sql = load(
        tmp_path,
        '[node]\nother = 1\n[data]\nsource = "sql"\nurl = "postgresql+psycopg://hefed@db:5432/care?sslmode=verify-full"\n'
        'password_env = "HEFED_PASSWORD"\nquery = """\nselect *\nfrom heart\n"""\n',
    )
    assert (sql.where, sql.columns) == ("the query", {})


FAULTS = [
    ("", "has no section [data]; add it"),
    ("[dta]\n", "has no section [data]; did you mean 'dta'?"),
    ("data = 1\n", "[data] must be a section of its own"),
    ("[data]\n", "[data] has no 'source'; add it"),
    ('[data]\nsource = "cvs"\n', "[data] source must be 'csv' or 'parquet' or 'duckdb' or 'sql', not 'cvs'; "
     "did you mean 'csv'?"),
    ('[data]\nsource = "csv"\n', "[data] has no 'path', which source = 'csv' needs; add it"),
    ('[data]\nsource = "csv"\npth = "x"\n', "unknown key 'pth' in [data]; did you mean 'path'?"),
    ('[data]\nsource = "csv"\npath = 7\n', "[data] path must be text in quotes, not 7"),
    ('[data]\nsource = "csv"\npath = ""\n', "[data] path must not be empty"),
    ('[data]\nsource = "csv"\npath = "a\\u0000b"\n', "[data] path must be printable text on one line"),
    ('[data]\nsource = "csv"\npath = "x"\ntable = "t"\n', "[data] table does not go with source = 'csv'; remove it"),
    ('[data]\nsource = "csv"\npath = "x"\n[data.columns]\nage = 7\n',
     "[data] columns age must be text in quotes, not 7"),
    ('[data]\nsource = "csv"\npath = "x"\n[data.columns]\nage = "a\\u001bb"\n',
     "[data] columns age must be printable text on one line, without spaces at its ends"),
    ('[data]\nsource = "parquet"\npath = "x"\nurl = "sqlite:///x"\n',
     "[data] url does not go with source = 'parquet'; remove it"),
    ('[data]\nsource = "duckdb"\npath = "x"\n',
     "[data] source = 'duckdb' needs either 'table' or 'query'; give one of them"),
    ('[data]\nsource = "duckdb"\npath = "x"\ntable = "t"\nquery = "select 1"\n',
     "[data] source = 'duckdb' needs either 'table' or 'query'; give one of them"),
    ("[data]\n" + SQL, "[data] has no 'url', which source = 'sql' needs; add it"),
    ("[data]\n" + SQL + 'path = "x"\nurl = "sqlite:///x"\n', "[data] path does not go with source = 'sql'; remove it"),
    ("[data]\n" + SQL + 'url = "db"\n',
     '[data] url must be a URL such as "postgresql+psycopg://user@host:5432/database"'),
    ("[data]\n" + SQL + 'url = "sqlite:///x"\npassword_env = "a-b"\n',
     "[data] password_env must be the name of an environment variable, not a password"),
    ('[data]\nsource = "sql"\nurl = "sqlite:///x"\nquery = "drop table x"\n',
     "[data] query must be one query that begins with SELECT or WITH"),
    ('[data]\nsource = "sql"\nurl = "sqlite:///x"\nquery = "select 1; drop table x"\n',
     "[data] query must be one query of printable text, without a semicolon"),
    ("[data\n", "is not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 6)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), FAULTS, ids=range(len(FAULTS)))
def test_each_mistake_gets_its_sentence(text: str, words: str, tmp_path: Path) -> None:
    assert fault(tmp_path, text) == words


def test_a_settings_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: no such file or directory; check the name"):
        DataSettings.load(tmp_path / "none.toml")


HOLDS = (
    "[data] url holds a password; take it out, put it into an environment variable, and name that one in password_env"
)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:hunter2@host/db",
        "postgresql+psycopg://user:hunter2@host:5432/db",
        "postgresql+psycopg://user:hun/ter2@host/db",
        "postgresql+psycopg://user:hun?ter2@host/db",
        "postgresql+psycopg://user:@hunter2@host/db",
        "postgresql+psycopg://:hunter2@/db",
        "postgresql+psycopg://user@server:hunter2@host/db",
        "postgresql+psycopg://user@host/db?password=hunter2",
        "postgresql+psycopg://user@host/db?sslmode=require&PASSWORD=hunter2",
        "postgresql+psycopg://user@host/db?p%61ssword=hunter2",
        "postgresql+psycopg://user@host/db?sslpassword=hunter2",
        "mssql+pyodbc://?odbc_connect=PWD%3Dhunter2",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    found = fault(tmp_path, f'[data]\n{SQL}url = "{url}"\n')
    assert found == HOLDS
    with pytest.raises(ValidationError) as caught:
        DataSettings(source="sql", table="t", url=url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'password = "hunter2"\nurl = "sqlite:///x"\n',
        'password_env = "hunter2!"\nurl = "sqlite:///x"\n',
        'url = "postgresql+psycopg:user:hunter2@host"\n',
        'url = ["postgresql+psycopg://user:hunter2@host"]\n',
        'url = "postgresql+psycopg://user:hunter2@host\\u0007/db"\n',
        f'url = "postgresql+psycopg://user:hunter2@host/{"x" * 5000}"\n',
    ],
)
def test_no_mistake_about_the_password_shows_it(text: str, tmp_path: Path) -> None:
    assert "hunter2" not in fault(tmp_path, f"[data]\n{SQL}{text}")


@given(st.text(min_size=1, max_size=30) | st.text(alphabet="abc:@/?&=%password1#[]", min_size=1, max_size=30))
@example("@server:hunter2@host/db")
def test_sqlalchemy_finds_no_password_in_a_url_that_is_taken(text: str) -> None:
    try:
        url = DataSettings(source="sql", table="t", url=f"postgresql+psycopg://user{text}").url
        parsed = sa.make_url(str(url))
    except (ValidationError, ValueError, sa.exc.ArgumentError):
        return
    assert parsed.password is None
    assert "password" not in parsed.query


def test_settings_are_frozen_and_do_not_show_the_url() -> None:
    settings = DataSettings(source="sql", table="t", url="sqlite:///secret-place")
    assert "secret-place" not in repr(settings)
    with pytest.raises(ValidationError):
        settings.table = "u"  # type: ignore[misc]


def test_another_section_of_the_file_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text('[data]\nsource = "csv"\npath = "x"\n[policy]\nwrong = 1\n')
    assert load_section(tmp_path / "f.toml", "data", DataSettings).path == "x"
