"""What people see before they approve a study: all that it asks for, on a narrow terminal, and nothing that obeys."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hefed.report.invitation import differences, print_differences, print_invitation, released
from hefed.report.table import WIDTH
from hefed.statistics import columns, cox_shared, newton
from hefed.study import Study

FOLDER = Path("examples/heart-failure")
COX, SHARED, LOGISTIC = (Study.load(FOLDER / f"{name}.toml") for name in ("cox", "cox-shared", "logistic"))
DIGEST = bytes(range(32))


def shown(study: Study, width: int = WIDTH) -> str:
    to = Console(file=io.StringIO(), width=width, highlight=False)
    print_invitation(study, DIGEST, "analyst", "2026-11-27 12:00", to)
    return to.file.getvalue()  # type: ignore[attr-defined]


def words(text: str) -> str:
    """The text as one line."""
    return re.sub(r"\s+", " ", text)


def made(study: Study, /, **sections: dict[str, Any]) -> Study:
    """The study with other values in some sections."""
    public = study.public()
    return Study.from_public({key: value | sections.get(key, {}) if isinstance(value, dict) else value
                              for key, value in public.items()})  # fmt: skip


@pytest.mark.parametrize("study", [COX, SHARED, LOGISTIC], ids=["cox", "shared", "logistic"])
def test_all_that_matters_is_shown(study: Study) -> None:
    text = words(shown(study))
    for part in (
        study.id,
        study.purpose,
        *study.model.columns,
        *study.members,
        "Asked by analyst, who gets the result and not the sums",
        f"Read by {', '.join(study.readers)}: they see every sum",
        f"any {study.security.threshold} of {', '.join(study.keyholders)}; with fewer nobody can open anything",
        f"at most {study.limits.rounds} of Newton's method",
        study.security.profile,
        "Until 2026-11-27 12:00",
        "rows with a gap: refused",
        "00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f",
    ):
        assert part in text


def test_each_model_is_called_by_its_name() -> None:
    assert "Model Cox proportional hazards, stratified by region, Efron ties: time, DEATH_EVENT on age, " in words(
        shown(COX)
    )
    assert "one baseline for all regions" in words(shown(SHARED))
    assert "Logistic regression: DEATH_EVENT on age, " in words(shown(LOGISTIC))
    assert "ridge 0.5" in words(shown(made(COX, model={"ridge": 0.5})))
    assert "rows with a gap: left out" in words(shown(made(COX, model={"missing": "drop-rows"})))


def _purposes(*modules: Any) -> set[str]:
    """The purposes of the phases in a module of statistics."""
    return {
        kind.purpose
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and isinstance(vars(kind).get("purpose"), str)
    }


def test_what_each_round_releases_is_said() -> None:
    every, of_shared = _purposes(columns, newton), _purposes(cox_shared) - _purposes(newton)
    assert {"ranges", "means", "spreads", "variances", "newton"} <= every
    assert of_shared
    for study, purposes in ((COX, every), (LOGISTIC, every), (SHARED, every | of_shared)):
        named = {name.strip() for words in released(study) for name in words.split(":")[0].split(",")}
        assert named - {f"up to {study.limits.rounds} times"} == purposes | {"known answer"}
        before = len(purposes)  # the known answer, and all but Newton's
        assert f"after {before} rounds to prepare" in words(shown(study))
    assert any("event times lie open" in words for words in released(SHARED))
    assert not any("event times" in words for words in released(COX))


def test_it_fits_on_a_narrow_terminal_whatever_the_study_calls_things() -> None:
    long = [f"{'long' * 30}{number}" for number in range(40)]
    study = made(COX, model={"covariates": long}, study={"purpose": "why " * 120 + "x" * 20, "id": "a" * 64})
    for width in (WIDTH, 60):
        text = shown(study, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        flat = re.sub(r"\s+", "", text)
        assert all(name in flat for name in long)
        assert ("why" * 120 + "x" * 20) in flat


def test_the_words_of_an_analyst_are_text_and_no_markup() -> None:
    study = made(
        COX,
        study={"purpose": "[bold red]Approved[/] [link=http://x]see[/link] :smile: \\[x]"},
        model={"covariates": ["[/]", "[red]age[/red]", "b, c", "d's"]},
    )
    text = words(shown(study))
    assert "[bold red]Approved[/] [link=http://x]see[/link] :smile: \\[x]" in text
    assert "on [/], [red]age[/red], 'b, c', 'd's'" in text
    assert "\x1b" not in text
    to = Console(file=io.StringIO(), width=WIDTH, highlight=False)
    print_differences(COX, "2026-11-26 12:00", study, to)
    assert "[bold red]Approved[/]" in to.file.getvalue()  # type: ignore[attr-defined]


# --- Against the last one ---------------------------------------------------------------------------


def test_each_changed_key_is_listed_with_both_values() -> None:
    now = made(
        COX,
        study={"purpose": COX.purpose + " And why?"},
        model={"covariates": ["age", "a, b"], "ridge": 0.5},
        security={"deadline": "900 s"},
        limits={"rounds": 12, "linear_predictor": 50.0},
    )
    assert differences(COX, now) == [
        "limits.linear_predictor: 100.0 -> 50.0",
        "limits.rounds: 40 -> 12",
        f"model.covariates: {', '.join(COX.model.covariates)} -> age, 'a, b'",
        "model.ridge: 0.0 -> 0.5",
        "security.deadline: '600 s' -> '900 s'",
        f"study.purpose: '{COX.purpose}' -> '{COX.purpose} And why?'",
    ]
    assert differences(COX, COX) == []


def test_another_model_shows_the_keys_that_only_one_has() -> None:
    found = differences(COX, LOGISTIC)
    assert "model.kind: 'cox' -> 'logistic'" in found
    assert "model.duration: 'time' -> none" in found
    assert "model.outcome: none -> 'DEATH_EVENT'" in found


def test_a_difference_at_the_end_of_a_long_text_is_seen() -> None:
    (found,) = differences(
        made(COX, study={"purpose": "x" * 400 + " a"}), made(COX, study={"purpose": "x" * 400 + " b"})
    )
    before, now = found.removeprefix("study.purpose: ").split(" -> ")
    assert before != now


def test_every_key_of_a_study_can_be_told_to_differ() -> None:
    """One at a time, in the plain values: nothing that is hashed is left out."""
    text = str(differences(COX, SHARED) + differences(COX, LOGISTIC))
    for section in ("study", "model"):
        assert section + "." in text

    def flat(value: Any, place: str = "") -> list[str]:
        if not isinstance(value, dict):
            return [place]
        return [one for key, item in value.items() for one in flat(item, f"{place}.{key}" if place else key)]

    class Plain:
        """A study with whatever public form."""

        def __init__(self, public: dict[str, Any]) -> None:
            self.public = lambda: public

    for place in flat(COX.public()):
        other = Study.from_public(COX.public()).public()
        inner, keys = other, place.split(".")
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = "another"
        assert [one.split(":")[0] for one in differences(COX, Plain(other))] == [place]  # type: ignore[arg-type]


def test_the_same_definition_again_is_pointed_out() -> None:
    to = Console(file=io.StringIO(), width=WIDTH, highlight=False)
    print_differences(COX, "2026-11-26 12:00", COX, to)
    text = words(to.file.getvalue())  # type: ignore[attr-defined]
    assert f"Against {COX.id}, approved here before (2026-11-26 12:00): - the same definition; both together" in text


def test_differences_fit_on_a_narrow_terminal() -> None:
    to = Console(file=io.StringIO(), width=60, highlight=False)
    print_differences(COX, "2026-11-26 12:00", made(COX, study={"purpose": "y" * 499, "id": "b" * 64}), to)
    text = to.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 60
    assert "y" * 499 in re.sub(r"\s", "", text)
