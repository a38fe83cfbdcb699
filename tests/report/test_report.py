"""Result documents, tables on the screen, comparisons, and the equivalent call in R."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.report.comparison import PooledFit, PooledFitError, compare, load_pooled, print_comparison
from hefed.report.r_call import r_call
from hefed.report.result import Document, Encryption, Round, result_document, write_result
from hefed.report.table import chi_square_tail, console, folds, p_text, plain_rows, print_result, significant
from hefed.study import Study

EXAMPLES = {
    "heart-failure/cox": "heart-failure-cox",
    "heart-failure/cox-shared": "heart-failure-cox",
    "heart-failure/logistic": "heart-failure-logistic",
    "heart-disease/logistic": "heart-disease-logistic",
}
ENCRYPTION = Encryption(engine="tenseal", ring_degree=4096, modulus_bits=93)
ROUNDS = [Round("means", ("halland", "orebro"), ("orebro",), 9, 1234, 0.125, True)]


@dataclass(frozen=True)
class MadeFit:
    """A fit put together by a test."""

    names: Sequence[str]
    estimate: Sequence[float]
    std_error: Sequence[float]
    log_likelihood: float
    log_likelihood_null: float = -412.75909696729036
    iterations: int = 5
    converged: bool = True
    n: int = 299
    events: int = 96

    @property
    def z(self) -> list[float]:
        return [b / s for b, s in zip(self.estimate, self.std_error, strict=True)]

    @property
    def p_value(self) -> list[float]:
        return [2 * float(scipy.stats.norm.sf(abs(z))) for z in self.z]

    @property
    def ci_lower(self) -> list[float]:
        return [b - 1.959963984540054 * s for b, s in zip(self.estimate, self.std_error, strict=True)]

    @property
    def ci_upper(self) -> list[float]:
        return [b + 1.959963984540054 * s for b, s in zip(self.estimate, self.std_error, strict=True)]


def example(name: str) -> tuple[Study, PooledFit]:
    study = Study.load(Path(f"examples/{name}.toml"))
    return study, load_pooled(Path(f"examples/reference/{EXAMPLES[name]}.json"), study)


def document_of(study: Study, pooled: PooledFit) -> Document:
    fit = MadeFit(pooled.names, pooled.estimate, pooled.std_error, pooled.log_likelihood)
    return result_document(study, fit, ENCRYPTION, ROUNDS)


def printed(document: Document, study: Study, width: int = 80) -> str:
    to = Console(file=io.StringIO(), width=width)
    print_result(document, study, to)
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def test_the_document_has_the_stated_keys_in_the_stated_order() -> None:
    document = document_of(*example("heart-failure/cox"))
    assert list(document) == [
        "study", "model", "regions", "n", "events", "coefficients", "log_likelihood", "log_likelihood_null",
        "iterations", "converged", "security", "rounds",
    ]  # fmt: skip
    assert list(document["model"]) == ["kind", "ties", "baseline", "covariates"]
    for row in document["coefficients"]:
        assert list(row) == ["name", "estimate", "std_error", "z", "p_value", "ci_lower", "ci_upper"]
    security = ["threshold", "keyholders", "profile", "engine", "ring_degree", "modulus_bits"]
    assert list(document["security"]) == security
    columns = ["purpose", "contributors", "keyholders", "values", "bytes_sent", "seconds", "checked"]
    assert list(document["rounds"][0]) == columns


def test_the_document_says_what_was_fitted() -> None:
    study, pooled = example("heart-failure/cox")
    document = document_of(study, pooled)
    assert document["study"] == "heart-failure-mortality"
    assert document["model"]["ties"] == "efron"
    assert document["regions"] == ["halland", "kronoberg", "orebro"]
    assert [row["name"] for row in document["coefficients"]] == list(study.model.covariates)
    assert [row["estimate"] for row in document["coefficients"]] == list(pooled.estimate)
    assert document["security"] == {
        "threshold": 2,
        "keyholders": ["halland", "kronoberg", "orebro"],
        "profile": "precise",
        "engine": "tenseal",
        "ring_degree": 4096,
        "modulus_bits": 93,
    }
    assert document["rounds"] == [
        {
            "purpose": "means",
            "contributors": ["halland", "orebro"],
            "keyholders": ["orebro"],
            "values": 9,
            "bytes_sent": 1234,
            "seconds": 0.125,
            "checked": True,
        }
    ]


def test_a_logistic_document_lists_the_intercept_first_and_has_no_ties() -> None:
    document = document_of(*example("heart-failure/logistic"))
    assert document["coefficients"][0]["name"] == "(intercept)"
    assert document["model"]["ties"] is None
    assert document["model"]["baseline"] is None


def test_numbers_are_written_exactly_and_as_plain_numbers(tmp_path: Path) -> None:
    study, pooled = example("heart-failure/cox")
    fit = MadeFit(pooled.names, np.array(pooled.estimate), np.array(pooled.std_error), np.float64(-0.1))
    document = result_document(study, replace(fit, n=np.int64(299)), ENCRYPTION, ROUNDS)
    write_result(document, tmp_path / "result.json")
    again = json.loads((tmp_path / "result.json").read_text())
    assert again == document
    assert [row["estimate"] for row in again["coefficients"]] == list(pooled.estimate)


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    study, pooled = example("heart-failure/cox")
    document = document_of(study, pooled) | {"log_likelihood": math.nan}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_result(document, tmp_path / "result.json")
    assert not (tmp_path / "result.json").exists()


def test_the_table_shows_what_a_survival_analyst_looks_for() -> None:
    text = printed(document_of(*example("heart-failure/cox")), Study.load(Path("examples/heart-failure/cox.toml")))
    lines = [line.split() for line in text.splitlines()]
    assert ["age", "0.04428", "0.00885", "1.045", "1.027", "-", "1.064", "5.00", "<0.0001"] in lines
    assert ["serum_sodium", "-0.04668", "0.0239", "0.954", "0.911", "-", "1.000", "-1.95", "0.0511"] in lines
    assert "Cox proportional hazards, stratified by region, Efron ties" in text
    assert "n = 299, events = 96" in text
    assert "Log partial likelihood -372.3682, null -412.7591" in text
    assert "Likelihood ratio test 80.78 on 7 df, p < 0.0001" in text
    assert "5 iterations, converged" in text
    assert "opened by any 2 of 3 keyholders" in text


@pytest.mark.parametrize("name", EXAMPLES)
def test_tables_fit_in_80_columns_without_colours_in_a_pipe(name: str) -> None:
    study, pooled = example(name)
    document = document_of(study, pooled)
    to = Console(file=io.StringIO(), width=80)
    print_result(document, study, to)
    print_comparison(compare(document, pooled), to)
    assert isinstance(to.file, io.StringIO)
    text = to.file.getvalue()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    for covariate in study.model.covariates:
        assert any(line.split()[:1] == [covariate] for line in text.splitlines())


def test_in_a_pipe_tables_are_80_columns_wide_and_no_sentence_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    said, sentence = io.StringIO(), "one sentence of many words " * 10
    monkeypatch.setattr("sys.stdout", said)
    monkeypatch.setenv("COLUMNS", "40")
    to, table = console(), Table("a", "b")
    assert to.width == 80
    assert not folds(to)
    table.add_row("word", sentence)
    to.print(Text(sentence))
    to.print(table)
    first, *rows = said.getvalue().splitlines()
    assert first == sentence
    assert max(map(len, rows)) == 80
    assert folds(Console(file=io.StringIO(), force_terminal=True))


def test_rows_for_a_pipe_are_one_line_each_in_columns() -> None:
    rows = plain_rows([("name", "works", "a sentence"), ("", "note", ""), ("handshake", "wrong", "another one" * 20)])
    assert [row.plain for row in rows] == [
        "name       works  a sentence",
        "           note",
        "handshake  wrong  " + "another one" * 20,
    ]
    assert plain_rows([]) == []


def test_markup_in_a_column_name_is_printed_as_it_is(tmp_path: Path) -> None:
    source = Path("examples/heart-failure/cox.toml").read_text().replace('"age"', '"[red]age[/]"')
    (tmp_path / "study.toml").write_text(source)
    study = Study.load(tmp_path / "study.toml")
    _, pooled = example("heart-failure/cox")
    document = document_of(study, replace(pooled, names=study.model.covariates))
    assert "[red]age[/]" in printed(document, study, width=200)


def test_a_fit_that_did_not_converge_or_is_penalised_says_so(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(Path("examples/heart-failure/cox.toml").read_text().replace("= 0.0", "= 2.5"))
    study = Study.load(tmp_path / "s.toml")
    document = document_of(study, example("heart-failure/cox")[1]) | {"converged": False}
    text = printed(document, study)
    assert "Efron ties, ridge 2.5" in text
    assert "NOT CONVERGED" in text
    assert "Likelihood ratio" not in text
    assert "coxph" not in text


def test_the_table_shows_extreme_numbers(tmp_path: Path) -> None:
    study, pooled = example("heart-failure/cox")
    wide = replace(pooled, estimate=tuple(800.0 for _ in pooled.names), std_error=tuple(1e-7 for _ in pooled.names))
    text = printed(document_of(study, wide), study)
    assert "Inf - Inf" in text
    assert "1.00e-07" in text


CALLS = {
    "heart-failure/cox": "survival::coxph(Surv(time, DEATH_EVENT) ~ age + ejection_fraction + serum_creatinine + "
    'serum_sodium + anaemia + high_blood_pressure + creatinine_phosphokinase + strata(region), ties = "efron")',
    "heart-failure/cox-shared": "survival::coxph(Surv(time, DEATH_EVENT) ~ age + ejection_fraction + serum_creatinine "
    '+ serum_sodium + anaemia + high_blood_pressure + creatinine_phosphokinase, ties = "efron")',
    "heart-failure/logistic": "glm(DEATH_EVENT ~ age + ejection_fraction + serum_creatinine + serum_sodium + anaemia + "
    "high_blood_pressure, family = binomial)",
    "heart-disease/logistic": "glm(disease ~ age + sex + cp + trestbps + thalach + exang + oldpeak, family = binomial)",
}


@pytest.mark.parametrize("name", CALLS)
def test_the_call_in_r(name: str) -> None:
    assert r_call(example(name)[0]) == CALLS[name]


@pytest.mark.parametrize(
    ("column", "term"),
    [
        ("a b", "`a b`"),
        ("2nd", "`2nd`"),
        (".5", "`.5`"),
        ("TRUE", "`TRUE`"),
        ("x`\\\\y", "`x\\`\\\\y`"),
        ("_a", "`_a`"),
        ("a.b_1", "a.b_1"),
        ("längd", "`längd`"),
    ],
)
def test_names_that_r_would_misread_are_quoted(tmp_path: Path, column: str, term: str) -> None:
    source = Path("examples/heart-failure/cox.toml").read_text().replace('"age"', f'"{column}"')
    (tmp_path / "study.toml").write_text(source)
    assert f"~ {term} + ejection_fraction" in r_call(Study.load(tmp_path / "study.toml"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_fit_beside_itself_differs_in_nothing(name: str) -> None:
    study, pooled = example(name)
    comparison = compare(document_of(study, pooled), pooled)
    assert (comparison.estimate, comparison.std_error, comparison.log_likelihood) == (0, 0, 0)


def test_differences_are_in_pooled_standard_errors() -> None:
    study, pooled = example("heart-failure/cox")
    estimate = list(pooled.estimate)
    estimate[3] += 0.25 * pooled.std_error[3]
    estimate[5] -= 0.5 * pooled.std_error[5]
    moved = replace(
        pooled,
        estimate=tuple(estimate),
        std_error=(pooled.std_error[0] * 1.125, *pooled.std_error[1:]),
        log_likelihood=pooled.log_likelihood * 1.5,
    )
    comparison = compare(document_of(study, moved), pooled)
    assert comparison.estimate == pytest.approx(0.5)
    assert comparison.std_error == pytest.approx(0.125)
    assert comparison.log_likelihood == pytest.approx(0.5)
    to = Console(file=io.StringIO(), width=80)
    print_comparison(comparison, to)
    assert isinstance(to.file, io.StringIO)
    assert "Largest difference of an estimate: 5.0e-01 standard errors" in to.file.getvalue()


def test_the_pooled_fit_is_the_one_of_the_model() -> None:
    _, stratified = example("heart-failure/cox")
    _, shared = example("heart-failure/cox-shared")
    assert stratified.log_likelihood == -372.36819109816122
    assert shared.log_likelihood == -468.91383260742583
    assert example("heart-failure/logistic")[1].names[0] == "(intercept)"


@pytest.mark.parametrize(
    ("old", "new", "reference"),
    [
        ("ridge = 0.0", "ridge = 1.0", "heart-failure-cox"),
        ('"age", ', "", "heart-failure-cox"),
        ('"age", "ejection_fraction"', '"ejection_fraction", "age"', "heart-failure-cox"),
        ("[regions.halland]", "[regions.lund]", "heart-failure-cox"),
        ("ridge = 0.0", "ridge = 0.0", "heart-failure-logistic"),
    ],
)
def test_a_file_without_this_model_is_refused(tmp_path: Path, old: str, new: str, reference: str) -> None:
    source = Path("examples/heart-failure/cox.toml").read_text()
    assert old in source
    (tmp_path / "study.toml").write_text(source.replace(old, new))
    study = Study.load(tmp_path / "study.toml")
    with pytest.raises(PooledFitError, match="holds no pooled answer for the model of heart-failure-mortality"):
        load_pooled(Path(f"examples/reference/{reference}.json"), study)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"fits": 3}', '{"fits": [{}]}', '{"fits": [3], "kind": "cox"}'])
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "pooled.json").write_text(content)
    with pytest.raises(PooledFitError, match="is not a file of pooled answers"):
        load_pooled(tmp_path / "pooled.json", example("heart-failure/cox")[0])
    with pytest.raises(PooledFitError, match="cannot be read: no such file"):
        load_pooled(tmp_path / "none.json", example("heart-failure/cox")[0])


def test_other_coefficients_cannot_be_compared() -> None:
    study, pooled = example("heart-failure/cox")
    with pytest.raises(PooledFitError, match="other coefficients"):
        compare(document_of(study, pooled), replace(pooled, names=tuple(reversed(pooled.names))))


@given(st.floats(0, 700), st.integers(1, 60))
def test_the_chi_square_tail_is_scipys(statistic: float, degrees: int) -> None:
    assert chi_square_tail(statistic, degrees) == pytest.approx(scipy.stats.chi2.sf(statistic, degrees), rel=1e-10)


@given(st.floats(-1e300, 1e300))
def test_four_significant_digits_say_the_number(value: float) -> None:
    assert float(significant(value)) == pytest.approx(value, rel=5.1e-4, abs=0)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "<0.0001"), (9.9e-5, "<0.0001"), (1e-4, "0.0001"), (0.05, "0.0500"), (1.0, "1.0000")]
)
def test_p_values_are_printed_as_journals_do(value: float, text: str) -> None:
    assert p_text(value) == text
