"""A member's own settings: `settings.toml` in its home. Every key has a default; unknown ones are refused.

Relies on pydantic, and on `data` for the sections [data] and [policy]. What stands here never leaves the home.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from hefed.data.policy import Policy
from hefed.data.settings import DataSettings, SettingsError
from hefed.node.limits import Limits, template_section
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import MAX_ADDRESSES, check_address
from hefed.tomlfile import read_toml
from hefed.wording import Location, quoted, validation_sentence

FILE = "settings.toml"


def _address(value: str) -> str:
    try:
        check_address(value.replace("*", "0.0.0.0", 1) if value.startswith("*:") else value)  # noqa: S104
    except RosterError:
        raise ValueError("must be HOST:PORT, such as 10.0.0.5:7100 or [2001:db8::1]:7100") from None
    return value


Address = Annotated[str, Field(max_length=300), AfterValidator(_address)]

MAX_THREADS = 256


def _threads(value: object) -> object:
    if isinstance(value, str):
        if value != "all":
            raise ValueError(f'must be a number, or "all" for as many as there are cores, not {quoted(value)}')
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return value


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Network(_Section):
    """[network]: aggregator: where this member dials the aggregator, in the order in which addresses are tried; by
    default the addresses of the roster. bind: where the aggregator listens; by default the port of the roster's first
    address, on every interface. proxy: HOST:PORT of a SOCKS5 proxy for the outbound connection.
    """

    aggregator: Annotated[tuple[Address, ...], Strict(False), Field(min_length=1, max_length=MAX_ADDRESSES)] | None = (
        None
    )
    bind: Address | None = None
    proxy: Address | None = None


class Operation(_Section):
    """[operation]: log: lines for people, or JSON objects. metrics_port: of the loopback address, where Prometheus may
    ask; none by default. keep_days: days that ciphertexts of a study that has ended stay on disk. threads: how many
    threads a region encrypts and answers with; "all": as many as there are cores that this process may use.
    """

    log: Literal["plain", "json"] = "plain"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    keep_days: Annotated[float, Field(ge=0, le=36500, allow_inf_nan=False)] = 30.0
    threads: Annotated[int, BeforeValidator(_threads), Field(ge=1, le=MAX_THREADS)] = 1


class Settings(_Section):
    """All sections of the file. `data` is None in a home without a table: a mere keyholder, the aggregator, an
    analyst.
    """

    network: Network = Network()
    data: DataSettings | None = None
    policy: Policy = Policy()
    operation: Operation = Operation()
    limits: Limits = Limits()

    @classmethod
    def load(cls, home: Path) -> Self:
        """The settings of a home; the defaults where it has no such file. Raises SettingsError."""
        path = home / FILE
        if not path.exists():
            return cls()
        try:
            settings = cls.model_validate(read_toml(path))
        except ValidationError as error:
            raise SettingsError(f"{path}: {validation_sentence(error, _KEYS)}") from None
        except ValueError as error:
            raise SettingsError(f"{path}: {error}") from None
        if settings.data is None:
            return settings
        return settings.model_copy(update={"data": settings.data.relative_to(home)})


_KEYS: dict[Location, Iterable[str]] = {
    (): Settings.model_fields,
    ("network",): Network.model_fields,
    ("data",): DataSettings.model_fields,
    ("policy",): Policy.model_fields,
    ("operation",): Operation.model_fields,
    ("limits",): Limits.model_fields,
}

_SECTIONS = """\
# Settings of this member. They stay here. A line that begins with # is a comment: the default, or an example.

[network]
# aggregator = ["aggregator.example.org:7100"]  # where to dial it; default: the addresses of the roster
# bind = "*:7100"                               # the aggregator only: where it listens; default: the roster's port
# proxy = "proxy.example.org:1080"              # a SOCKS5 proxy for the outbound connection

# Where this region's table is. Without this section the region can be a keyholder, but not contribute.
# [data]
# source = "csv"                                # or "parquet", "duckdb", "sql"
# path = "patients.csv"                         # relative to this file; for csv, parquet, duckdb
# table = "registry.heart_failure"              # for duckdb and sql; or query = "SELECT ..."
# url = "postgresql+psycopg://hefed@db.example.org:5432/registry"  # for sql; without a password
# password_env = "HEFED_DB_PASSWORD"            # the environment variable that holds it
# columns = { age = "ALDER" }                   # the study's name = the name in the table, where they differ

[policy]
# approve = "by-hand"                           # or "within-policy": what the policy grants needs no person
# min_rows = 20                                 # complete rows of the table at least
# min_events = 5                                # events among them at least
# columns = ["age", "time", "DEATH_EVENT"]      # columns that a study may use; default: all
# keyholders = ["halland", "orebro", "kronoberg"]  # who may hold shares of this region's key; default: any member
# readers = ["halland", "orebro", "kronoberg"]  # who may read the sums; default: any member
# analysts = ["analyst"]                        # who may ask for a study and get its result; default: any
# models = ["cox", "logistic"]                  # default: all; "cox-shared-baseline" reveals much more
# min_threshold = 2                             # keyholders that must act together, at least
# min_contributors = 3                          # regions with data in a study, at least
# max_rounds = 40                               # [limits] rounds of a study at most
# refuse_differences = ["region", "patients"]   # what must not follow from a study and an earlier one; or "variable"

[operation]
# log = "plain"                                 # or "json": one object a line
# metrics_port = 9464                           # for Prometheus, on the loopback address only
# keep_days = 30                                # how long ciphertexts of ended studies stay on disk
# threads = 1                                   # cores for encrypting and answering; or "all"; for long vectors

# What this machine takes from others, and how long it waits. Every key, with what it may be: docs/limits.md of hefed
"""
TEMPLATE = "".join((_SECTIONS, template_section()))
"""What `hefed init` writes."""
