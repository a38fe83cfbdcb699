"""What a region refuses whatever is asked of it, in words that tell nothing of its patients."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from hefed.data.policy import ModelName, Policy, model_name, refusals
from hefed.data.settings import SettingsError
from hefed.data.table import LocalTable, load_table
from hefed.study import Study

COX = Study.load(Path("examples/heart-failure/cox.toml"))
LOGISTIC = Study.load(Path("examples/heart-failure/logistic.toml"))


def table(study: Study, rows: int, events: int) -> LocalTable:
    """So many rows, of which so many have the event."""
    columns = {name: np.ones(rows) for name in study.model.columns}
    columns[study.model.responses[-1]] = np.arange(rows) < events
    return LocalTable({name: values.astype(np.float64) for name, values in columns.items()}, rows, 0, 0)


def load(folder: Path, text: str) -> Policy:
    (folder / "region.toml").write_text(text)
    return Policy.load(folder / "region.toml")


@pytest.mark.parametrize("study", [COX, LOGISTIC], ids=["cox", "logistic"])
def test_the_defaults_let_the_examples_through(study: Study, tmp_path: Path) -> None:
    assert load(tmp_path, "[policy]\n") == Policy()
    assert refusals(Policy(), study, None) == []
    for region in study.contributors:
        assert refusals(Policy(), study, load_table(study.tables[region], study, region)) == []


def test_every_key_of_a_policy(tmp_path: Path) -> None:
    policy = load(
        tmp_path,
        '[policy]\nmin_rows = 50\nmin_events = 10\ncolumns = ["age", "time"]\nreaders = ["orebro"]\nmin_threshold = 3\n'
        'min_contributors = 5\nmax_rounds = 15\nanalysts = ["analyst"]\nmodels = ["logistic", "cox-shared-baseline"]\n'
        'approve = "within-policy"\nkeyholders = ["lund"]\nrefuse_differences = ["patients"]\n',
    )
    assert policy.refused_differences == ("patients",)
    assert Policy().refused_differences == ()
    assert policy.model_copy(update={"refuse_differences": None}).refused_differences == ("region", "patients")
    assert set(policy.model_fields_set) == set(Policy.model_fields)
    assert (policy.columns, policy.readers) == (("age", "time"), ("orebro",))
    assert (policy.analysts, policy.models) == (("analyst",), ("logistic", "cox-shared-baseline"))
    assert policy.approve == "within-policy"


FAULTS = [
    ("", "has no section [policy]; add it"),
    ("[policy]\nmin_row = 1\n", "unknown key 'min_row' in [policy]; did you mean 'min_rows'?"),
    ("[policy]\nmin_rows = 0\n", "[policy] min_rows must be at least 1, not 0"),
    ("[policy]\nmin_rows = 1.5\n", "[policy] min_rows must be a whole number, not 1.5"),
    ("[policy]\nmin_events = -1\n", "[policy] min_events must be at least 0, not -1"),
    ("[policy]\nmin_threshold = 1\n", "[policy] min_threshold must be at least 2, not 1"),
    ("[policy]\nmin_contributors = 2\n", "[policy] min_contributors must be at least 3, not 2"),
    ("[policy]\nmax_rounds = 0\n", "[policy] max_rounds must be at least 1, not 0"),
    ('[policy]\ncolumns = "age"\n', "[policy] columns must be a list in square brackets, not 'age'"),
    ('[policy]\nreaders = ["Örebro"]\n',
     "[policy] readers, entry 1 must be small letters, digits and inner hyphens, at most 64, not 'Örebro'"),
    ('[policy]\nanalysts = ["a", "a"]\n', "[policy] analysts names 'a' twice; name it once"),
    ('[policy]\nanalysts = "a"\n', "[policy] analysts must be a list in square brackets, not 'a'"),
    ('[policy]\nmodels = ["cox-shared"]\n',
     "[policy] models, entry 1 must be 'logistic' or 'cox' or 'cox-shared-baseline', not 'cox-shared'; "
     "did you mean 'cox-shared-baseline'?"),
    ('[policy]\napprove = "always"\n', "[policy] approve must be 'by-hand' or 'within-policy', not 'always'"),
    ("[policy]\napprove = true\n", "[policy] approve must be 'by-hand' or 'within-policy', not true"),
    ('[policy]\napprove = "within-policy"\n',
     '[policy] approve = "within-policy" approves without a person what the policy grants, so it must name that: '
     "add columns, keyholders, readers, analysts, models"),
    ('[policy]\napprove = "within-policy"\ncolumns = ["age"]\nreaders = []\nmodels = ["cox"]\n',
     '[policy] approve = "within-policy" approves without a person what the policy grants, so it must name that: '
     "add keyholders, analysts"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), FAULTS, ids=range(len(FAULTS)))
def test_each_mistake_gets_its_sentence(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'region.toml'}: {words}"


def test_a_study_that_asks_for_too_much_is_refused_for_every_reason() -> None:
    columns = tuple(name for name in COX.model.columns if name not in ("age", "time"))
    policy = Policy(
        columns=columns, readers=("orebro", "kronoberg"), min_threshold=3, min_contributors=5, max_rounds=15
    )
    assert refusals(policy, COX, table(COX, 10, 2)) == [
        "the policy here does not grant columns 'time', 'age'",
        "the policy here does not grant reader 'halland'",
        "the policy here asks for a threshold of at least 3 keyholders, and the study has 2",
        "the policy here asks for min_contributors of at least 5, and the study has 3",
        f"the policy here grants at most 15 rounds, and the study asks for up to {COX.limits.rounds}",
        "the policy here asks for at least 20 complete rows, and the table has fewer",
        "the policy here asks for at least 5 events, and the table has fewer",
    ]


@pytest.mark.parametrize(
    ("study", "rows", "events", "reasons"),
    [
        (COX, 20, 5, 0),
        (COX, 19, 5, 1),
        (COX, 20, 4, 1),
        (COX, 20, 20, 0),
        (LOGISTIC, 20, 5, 0),
        (LOGISTIC, 20, 15, 0),
        (LOGISTIC, 20, 16, 1),
        (LOGISTIC, 20, 4, 1),
        (LOGISTIC, 19, 19, 2),
    ],
)
def test_the_least_rows_and_events(study: Study, rows: int, events: int, reasons: int) -> None:
    """Of a binary outcome the rarer value counts: all but one of the patients tell of that one."""
    assert len(refusals(Policy(), study, table(study, rows, events))) == reasons


def test_just_what_is_granted_is_granted() -> None:
    policy = Policy(
        approve="within-policy",
        columns=COX.model.columns,
        keyholders=COX.keyholders,
        readers=COX.readers,
        analysts=("analyst",),
        models=("cox",),
        min_threshold=COX.security.threshold,
        min_contributors=COX.security.min_contributors,
        max_rounds=COX.limits.rounds,
    )
    assert refusals(policy, COX, None, "analyst") == []


def test_who_asks_is_looked_at_where_it_is_known() -> None:
    policy = Policy(analysts=("analyst", "other"))
    assert refusals(policy, COX, None, "other") == []
    assert refusals(policy, COX, None, "third") == ["the policy here does not grant analyst 'third'"]
    assert refusals(Policy(analysts=()), COX, None, "other") == ["the policy here does not grant analyst 'other'"]
    assert refusals(policy, COX, None) == []
    assert refusals(Policy(), COX, None, "anybody") == []


@pytest.mark.parametrize("granted", ["logistic", "cox", "cox-shared-baseline"])
def test_each_model_is_granted_by_itself(granted: ModelName, tmp_path: Path) -> None:
    path = tmp_path / "shared.toml"
    path.write_text(Path("examples/heart-failure/cox.toml").read_text().replace('"per-region"', '"shared"', 1))
    shared = Study.load(path)
    for study in (LOGISTIC, COX, shared):
        name = model_name(study)
        expected = [] if name == granted else [f"the policy here does not grant model '{name}'"]
        assert refusals(Policy(models=(granted,)), study, None) == expected
    assert {model_name(study) for study in (LOGISTIC, COX, shared)} == set(get_args(ModelName))


def test_a_policy_that_only_lists_nothing_grants_nothing() -> None:
    nothing = Policy(approve="within-policy", columns=(), keyholders=(), readers=(), analysts=(), models=())
    said = refusals(nothing, COX, None, "analyst")
    assert [words.split()[6].rstrip("s") for words in said] == ["analyst", "column", "model", "keyholder", "reader"]


@pytest.mark.parametrize(("rows", "events"), [(17, 3), (13, 1), (7, 0)])
@pytest.mark.parametrize("study", [COX, LOGISTIC], ids=["cox", "logistic"])
def test_a_refusal_does_not_say_how_many_there_are(study: Study, rows: int, events: int) -> None:
    said = refusals(Policy(), study, table(study, rows, events))
    assert len(said) == 2
    assert set(re.findall(r"\d+", " ".join(said))) == {"20", "5"}
