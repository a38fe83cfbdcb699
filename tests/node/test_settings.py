"""A member's settings file: each key, each mistake in one sentence, and the file that `init` writes."""

import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from hefed.data.policy import Policy
from hefed.data.settings import DataSettings, SettingsError
from hefed.node.home import Home
from hefed.node.limits import Limits
from hefed.node.settings import FILE, TEMPLATE, Network, Operation, Settings
from hefed.tomlfile import read_toml

SECTIONS: dict[str, type[BaseModel]] = {
    "network": Network,
    "data": DataSettings,
    "policy": Policy,
    "operation": Operation,
    "limits": Limits,
}


def load(folder: Path, text: str) -> Settings:
    (folder / FILE).write_text(text, encoding="utf-8")
    return Settings.load(folder)


def fault(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    found, start = str(caught.value), f"{folder / FILE}: "
    assert found.startswith(start)
    assert "\n" not in found
    return found.removeprefix(start)


# --- What it can say --------------------------------------------------------------------------------


def test_without_a_file_all_is_as_by_default(tmp_path: Path) -> None:
    assert Settings.load(tmp_path) == Settings() == load(tmp_path, "")
    assert Settings().policy.approve == "by-hand"
    assert Settings().data is None


def test_every_key(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        '[network]\naggregator = ["a.example.org:7100", "10.0.0.5:7101", "[2001:db8::1]:7102"]\nbind = "*:7100"\n'
        'proxy = "proxy:1080"\n'
        '[data]\nsource = "duckdb"\npath = "care.duckdb"\ntable = "heart"\n[data.columns]\nage = "ALDER"\n'
        '[policy]\napprove = "within-policy"\nmin_rows = 50\nmin_events = 10\ncolumns = ["age"]\nreaders = ["lund"]\n'
        'keyholders = ["lund"]\n'
        'analysts = ["analyst"]\nmodels = ["cox"]\nmin_threshold = 3\nmin_contributors = 4\nmax_rounds = 9\n'
        'refuse_differences = ["variable"]\n'
        '[operation]\nlog = "json"\nmetrics_port = 9464\nkeep_days = 7.5\nthreads = 2\n',
    )
    assert settings.network.aggregator == ("a.example.org:7100", "10.0.0.5:7101", "[2001:db8::1]:7102")
    assert (settings.network.bind, settings.network.proxy) == ("*:7100", "proxy:1080")
    assert settings.operation == Operation(log="json", metrics_port=9464, keep_days=7.5, threads=2)
    assert settings.data is not None
    assert settings.data.columns == {"age": "ALDER"}
    for name in ("network", "policy", "operation"):
        section = getattr(settings, name)
        assert section.model_fields_set == set(SECTIONS[name].model_fields)
        assert all(getattr(section, key) != field.default for key, field in SECTIONS[name].model_fields.items()), (
            name
        )  # each key has a say


def test_a_table_lies_beside_the_settings_and_not_where_the_command_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    settings = load(tmp_path, '[data]\nsource = "csv"\npath = "tables/patients.csv"\n')
    assert settings.data is not None
    assert settings.data.file == tmp_path / "tables/patients.csv"
    settings = load(tmp_path, '[data]\nsource = "csv"\npath = "/srv/patients.csv"\n')
    assert settings.data is not None
    assert settings.data.file == Path("/srv/patients.csv")


@pytest.mark.parametrize("address", ["*:7100", "0.0.0.0:1", "[::]:65535", "agg-1.example.org:7100", "10.0.0.5:7100"])
def test_addresses_to_listen_at(address: str, tmp_path: Path) -> None:
    assert load(tmp_path, f'[network]\nbind = "{address}"\n').network.bind == address


# --- Mistakes ---------------------------------------------------------------------------------------

ADDRESS = "must be HOST:PORT, such as 10.0.0.5:7100 or [2001:db8::1]:7100"
FAULTS = [
    ("[netwrok]\n", "unknown section or key 'netwrok'; did you mean 'network'?"),
    ("min_rows = 5\n", "unknown section or key 'min_rows'; remove it"),
    ("network = 1\n", "[network] must be a section of its own"),
    ("[[policy]]\n", "[policy] must be a section of its own"),
    ("[network\n", "is not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 9)"),
    ("[policy]\n[policy]\n", "section [policy] is there twice (line 2, column 8); join the two"),
    ('[network]\nproxi = "p:1"\n', "unknown key 'proxi' in [network]; did you mean 'proxy'?"),
    ("[network]\ncolour = 1\n", "unknown key 'colour' in [network]; remove it"),
    ('[network]\naggregator = "a:1"\n', "[network] aggregator must be a list in square brackets, not 'a:1'"),
    ("[network]\naggregator = []\n", "[network] aggregator must not be empty"),
    ('[network]\naggregator = ["a:1", "b"]\n', f"[network] aggregator, entry 2 {ADDRESS}"),
    ("[network]\naggregator = [7]\n", "[network] aggregator, entry 1 must be text in quotes, not 7"),
    (f"[network]\naggregator = {['a:1'] * 9}\n", "[network] aggregator must have at most 8 entries"),
    ('[network]\nbind = "7100"\n', f"[network] bind {ADDRESS}"),
    ('[network]\nbind = "*:70000"\n', f"[network] bind {ADDRESS}"),
    ('[network]\nproxy = "socks5://p:1080"\n', f"[network] proxy {ADDRESS}"),
    ('[network]\nproxy = "::1:1080"\n', f"[network] proxy {ADDRESS}"),
    (f'[network]\nproxy = "{"a" * 301}:1"\n', "[network] proxy must have at most 300 characters"),
    ('[data]\nsource = "csv"\npth = "x"\n', "unknown key 'pth' in [data]; did you mean 'path'?"),
    ('[data]\nsource = "csv"\n', "[data] has no 'path', which source = 'csv' needs; add it"),
    ("[policy]\nmin_row = 1\n", "unknown key 'min_row' in [policy]; did you mean 'min_rows'?"),
    ("[policy]\nmin_rows = 0\n", "[policy] min_rows must be at least 1, not 0"),
    ('[policy]\napprove = "within-policy"\n',
     '[policy] approve = "within-policy" approves without a person what the policy grants, so it must name that: '
     "add columns, keyholders, readers, analysts, models"),
    ('[operation]\nlog = "xml"\n', "[operation] log must be 'plain' or 'json', not 'xml'"),
    ('[operation]\nlog = "jsn"\n', "[operation] log must be 'plain' or 'json', not 'jsn'; did you mean 'json'?"),
    ("[operation]\nlog = true\n", "[operation] log must be 'plain' or 'json', not true"),
    ("[operation]\nmetrics_port = 0\n", "[operation] metrics_port must be at least 1, not 0"),
    ("[operation]\nmetrics_port = 65536\n", "[operation] metrics_port must be at most 65535, not 65536"),
    ('[operation]\nmetrics_port = "9464"\n', "[operation] metrics_port must be a whole number, not '9464'"),
    ("[operation]\nmetrics_port = true\n", "[operation] metrics_port must be a whole number, not true"),
    ("[operation]\nkeep_days = -1\n", "[operation] keep_days must be at least 0.0, not -1"),
    ("[operation]\nkeep_days = inf\n", "[operation] keep_days must be a finite number"),
    ("[operation]\nkeep_days = nan\n", "[operation] keep_days must be a finite number"),
    ('[operation]\nkeep_days = "30"\n', "[operation] keep_days must be a number, not '30'"),
    ("[operation]\nthreads = 0\n", "[operation] threads must be at least 1, not 0"),
    ("[operation]\nthreads = 257\n", "[operation] threads must be at most 256, not 257"),
    ("[operation]\nthreads = 1.5\n", "[operation] threads must be a whole number, not 1.5"),
    ("[operation]\nthreads = true\n", "[operation] threads must be a whole number, not true"),
    ('[operation]\nthreads = "al"\n',
     "[operation] threads must be a number, or \"all\" for as many as there are cores, not 'al'"),
    ("[operation]\nkeep_day = 3\n", "unknown key 'keep_day' in [operation]; did you mean 'keep_days'?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), FAULTS, ids=range(len(FAULTS)))
def test_each_mistake_gets_its_sentence(text: str, words: str, tmp_path: Path) -> None:
    assert fault(tmp_path, text) == words


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"# \xff\n")
    with pytest.raises(SettingsError, match=r"settings\.toml: is not UTF-8 text; save it as UTF-8$"):
        Settings.load(tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    with pytest.raises(SettingsError, match=r"settings\.toml: cannot be read: is a directory; check the name$"):
        Settings.load(tmp_path)


def test_all_threads_are_as_many_as_there_are_cores(tmp_path: Path) -> None:
    assert load(tmp_path, '[operation]\nthreads = "all"\n').operation.threads == len(os.sched_getaffinity(0))
    assert load(tmp_path, "[operation]\nthreads = 3\n").operation.threads == 3


# --- The file that init writes ----------------------------------------------------------------------


def uncommented(section: str) -> str:
    """A section of the template with each of its keys as the comment has it."""
    found = re.search(rf"^(?:# )?\[{section}\]$(.*?)(?=^(?:# )?\[|\Z)", TEMPLATE, re.MULTILINE | re.DOTALL)
    assert found, section
    return f"[{section}]\n" + "\n".join(re.findall(r"^# (\w+ = .*)$", found[1], re.MULTILINE)) + "\n"


def test_init_writes_it_and_it_changes_nothing(tmp_path: Path) -> None:
    Home.init(tmp_path / "home", "lund")
    assert (tmp_path / "home" / FILE).read_text() == TEMPLATE
    assert Settings.load(tmp_path / "home") == Settings()


@pytest.mark.parametrize("section", SECTIONS)
def test_it_names_every_key_that_there_is_and_no_other(section: str) -> None:
    keys = re.findall(r"^(\w+) = ", uncommented(section), re.MULTILINE)
    also = re.findall(r"; or (\w+) = ", TEMPLATE) if section == "data" else []
    assert sorted(keys + also) == sorted(SECTIONS[section].model_fields)
    assert len(re.findall(rf"^(?:# )?\[{section}\]$", TEMPLATE, re.MULTILINE)) == 1


def test_it_has_every_section() -> None:
    assert set(Settings.model_fields) == set(SECTIONS)


def test_what_it_says_of_defaults_is_so(tmp_path: Path) -> None:
    """Without the marks of a comment it is a file that loads; where no default is told, the value is the default."""
    settings = load(tmp_path, "".join(uncommented(section) for section in ("network", "policy", "operation", "limits")))
    examples = {"network": {"aggregator", "bind", "proxy"}, "operation": {"metrics_port"}, "limits": set(),
                "policy": {"columns", "keyholders", "readers", "analysts", "models", "refuse_differences"}}  # fmt: skip
    for name, others in examples.items():
        for key, field in SECTIONS[name].model_fields.items():
            assert (getattr(getattr(settings, name), key) == field.default) == (key not in others), (name, key)


@pytest.mark.parametrize(
    ("source", "left_out"),
    [
        ("csv", ("table", "url", "password_env")),
        ("parquet", ("table", "url", "password_env")),
        ("duckdb", ("url", "password_env")),
        ("sql", ("path",)),
    ],
)
def test_its_example_of_a_table_works_for_each_source(source: str, left_out: tuple[str, ...], tmp_path: Path) -> None:
    lines = [
        line for line in uncommented("data").splitlines() if not line.startswith(tuple(f"{k} =" for k in left_out))
    ]
    text = "\n".join(lines).replace('source = "csv"', f'source = "{source}"')
    assert f'"{source}"' in TEMPLATE
    settings = load(tmp_path, text)
    assert settings.data is not None
    assert settings.data.source == source
    assert settings.data.columns == read_toml(tmp_path / FILE)["data"]["columns"]
