"""Where a region's own table is: the section [data] of its settings file. Relies on pydantic; opens no table.

What stands here stays in the region: a study never sees it. A password is not part of it, only the name of the
environment variable that holds one; no error quotes a URL.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, create_model
from pydantic import model_validator as validator

from hefed.errors import InputError
from hefed.study import Column
from hefed.tomlfile import read_toml
from hefed.wording import quoted, suggestion, validation_sentence

MAX_COLUMNS = 4096
MAX_QUERY = 1 << 16

_PARAMETERS_OF_SECRETS = ("password", "passwd", "pwd", "secret", "token", "odbc_connect")
_TAKES: Mapping[str, tuple[str, ...]] = {
    "csv": ("path",),
    "parquet": ("path",),
    "duckdb": ("path", "table", "query"),
    "sql": ("url", "password_env", "table", "query"),
}


class SettingsError(InputError):
    """A settings file that cannot be used: one sentence with the file, the key, what is wrong and what to do."""


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable text on one line")
    return value


def _one_select(value: str) -> str:
    if not re.match(r"(?i)\s*(select|with)\b", value):
        raise ValueError("must be one query that begins with SELECT or WITH")
    if ";" in value or not all(sign.isprintable() or sign in "\n\r\t" for sign in value):
        raise ValueError("must be one query of printable text, without a semicolon")
    return value


def _url_without_password(value: str) -> str:
    rest = _one_line(value).partition("://")[2]
    if not rest:
        raise ValueError('must be a URL such as "postgresql+psycopg://user@host:5432/database"')
    parameters = [unquote(name).lower() for name in re.findall(r"[?&]([^=&]*)", rest)]
    secret = any(word in parameter for parameter in parameters for word in _PARAMETERS_OF_SECRETS)
    if secret or ("@" in rest and ":" in rest[: rest.rindex("@")]):
        raise ValueError("holds a password; take it out, put it into an environment variable, and name that one in "
                         "password_env")  # fmt: skip
    return value


def _variable(value: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,127}", value):
        raise ValueError("must be the name of an environment variable, not a password")
    return value


class DataSettings(BaseModel):
    """[data]: the kind of source, where it is, and what the study's columns are called there.

    `path` is relative to the settings file. `table` is a table or view, with its schema before a dot if that is not the
    default one. `columns` maps the study's names to the table's; a name that it leaves out is the same in both.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    source: Literal["csv", "parquet", "duckdb", "sql"]
    path: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_one_line)] | None = None
    table: Column | None = None
    query: Annotated[str, Field(max_length=MAX_QUERY), AfterValidator(_one_select)] | None = None
    url: Annotated[str, Field(max_length=4096), AfterValidator(_url_without_password)] | None = Field(None, repr=False)
    password_env: Annotated[str, AfterValidator(_variable)] | None = None
    columns: Annotated[dict[Column, Column], Field(max_length=MAX_COLUMNS)] = {}
    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def file(self) -> Path:
        """The file of a source that has one."""
        return self._folder / str(self.path)

    @property
    def schema_and_table(self) -> tuple[str | None, str]:
        """The parts of `table`."""
        schema, _, name = str(self.table).rpartition(".")
        return schema or None, name

    @property
    def where(self) -> str:
        """How errors speak of the table."""
        relation = "the query" if self.table is None else f"table {quoted(self.table)}"
        match self.source:
            case "sql":
                return relation
            case "duckdb":
                return f"{relation} in {self.file.name}"
            case _:
                return self.file.name

    def password(self) -> str | None:
        """The content of the environment variable, or None where none is named. Raises KeyError."""
        return None if self.password_env is None else os.environ[self.password_env]

    @classmethod
    def load(cls, path: Path) -> Self:
        """The section [data] of a settings file. Raises SettingsError."""
        return load_section(path, "data", cls).relative_to(path.parent)

    def relative_to(self, folder: Path) -> Self:
        """The same settings, found in a file of that folder."""
        placed = self.model_copy()
        placed._folder = folder
        return placed

    @validator(mode="after")
    def _keys_go_with_the_source(self) -> Self:
        takes = _TAKES[self.source]
        for key in ("path", "table", "query", "url", "password_env"):
            if getattr(self, key) is not None and key not in takes:
                raise ValueError(f"{key} does not go with source = {quoted(self.source)}; remove it")
        if getattr(self, takes[0]) is None:
            raise ValueError(f"has no {quoted(takes[0])}, which source = {quoted(self.source)} needs; add it")
        if "table" in takes and (self.table is None) == (self.query is None):
            raise ValueError(f"source = {quoted(self.source)} needs either 'table' or 'query'; give one of them")
        return self


Section = TypeVar("Section", bound=BaseModel)


def load_section(path: Path, name: str, kind: type[Section]) -> Section:
    """One section of a settings file, which may have others. Raises SettingsError."""
    keys: dict[tuple[str | int, ...], Iterable[str]] = {(name,): kind.model_fields}
    try:
        raw = read_toml(path)
        if name not in raw:
            raise ValueError(f"has no section [{name}]{suggestion(name, raw) or '; add it'}")
        file = create_model(kind.__name__, **{name: (kind, ...)})  # type: ignore[call-overload]
        section: Section = getattr(file.model_validate({name: raw[name]}), name)
    except ValidationError as error:
        raise SettingsError(f"{path}: {validation_sentence(error, keys)}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None
    return section
