"""A federated fit beside the pooled one: the same numbers twice, and how far they are apart, in standard errors.

Relies on rich, on the document of `result.py`, and on files of pooled answers as in examples/reference. Must not round
before it compares.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from hefed.errors import InputError
from hefed.report.result import Document
from hefed.report.table import coefficient_table, significant
from hefed.study import INTERCEPT, Cox, Study


class PooledFitError(InputError):
    """A file of pooled answers that cannot be read or holds none for this study."""


@dataclass(frozen=True)
class PooledFit:
    """The answer of another program on all rows together; one entry for each coefficient, the intercept first."""

    tool: str
    names: tuple[str, ...]
    estimate: tuple[float, ...]
    std_error: tuple[float, ...]
    log_likelihood: float


@dataclass(frozen=True)
class Comparison:
    """Both fits and their largest differences.

    `estimate`: of an estimate, in pooled standard errors. `std_error` and `log_likelihood`: relative.
    """

    document: Document
    pooled: PooledFit
    estimate: float
    std_error: float
    log_likelihood: float


def load_pooled(path: Path, study: Study) -> PooledFit:
    """The pooled fit of the study's model in a file like examples/reference/*.json. Raises PooledFitError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fits = [fit for fit in content["fits"] if _is_of(content, fit, study)]
        if len(fits) != 1:
            raise PooledFitError(f"{path}: holds no pooled answer for the model of {study.id}; choose another file")
        return _pooled(content, fits[0])
    except OSError as error:
        raise PooledFitError(f"{path}: cannot be read: {(error.strerror or 'unknown reason').lower()}") from None
    except PooledFitError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError):  # JSON can be wrong in each of these ways
        raise PooledFitError(f"{path}: is not a file of pooled answers; see examples/reference for the form") from None


def compare(document: Document, pooled: PooledFit) -> Comparison:
    """Sets a result beside the pooled fit of the same coefficients. Raises PooledFitError if they are others."""
    coefficients = document["coefficients"]
    if tuple(row["name"] for row in coefficients) != pooled.names:
        raise PooledFitError("the pooled answer has other coefficients than the result; choose another file")
    pairs = list(zip(coefficients, pooled.estimate, pooled.std_error, strict=True))
    return Comparison(
        document,
        pooled,
        estimate=max(abs(row["estimate"] - estimate) / error for row, estimate, error in pairs),
        std_error=max(abs(row["std_error"] - error) / error for row, _, error in pairs),
        log_likelihood=abs(document["log_likelihood"] - pooled.log_likelihood) / abs(pooled.log_likelihood),
    )


def print_comparison(comparison: Comparison, to: Console) -> None:
    """Prints both fits side by side and the largest differences."""
    table = coefficient_table(("federated", "pooled", "pooled SE", "diff / SE"))
    pooled = comparison.pooled
    for row, estimate, error in zip(
        comparison.document["coefficients"], pooled.estimate, pooled.std_error, strict=True
    ):
        table.add_row(
            Text(row["name"]),
            significant(row["estimate"], 6),
            significant(estimate, 6),
            significant(error),
            f"{abs(row['estimate'] - estimate) / error:.0e}",
        )
    to.print(Text(f"Beside the pooled answer ({pooled.tool}):"))
    to.print()
    to.print(table)
    to.print()
    to.print(Text(f"Largest difference of an estimate: {comparison.estimate:.1e} standard errors", style="bold"))
    to.print(Text(f"Largest relative difference of a standard error: {comparison.std_error:.1e}"))
    to.print(Text(f"Relative difference of the log-likelihood: {comparison.log_likelihood:.1e}"))


def _is_of(content: dict[str, Any], fit: dict[str, Any], study: Study) -> bool:
    model = study.model
    same_rows = content["kind"] == model.kind and sorted(content["sites"]) == list(study.contributors)
    if model.ridge or not same_rows or tuple(content["covariates"]) != model.covariates:
        return False
    if isinstance(model, Cox):
        return bool(fit["ties"] == model.ties and fit["stratified_by_site"] == (model.baseline == "per-region"))
    return not fit["site_intercepts"]


def _pooled(content: dict[str, Any], fit: dict[str, Any]) -> PooledFit:
    names: Sequence[str] = content["covariates"]
    if content["kind"] == "logistic":
        names, estimate = [INTERCEPT, *names], fit["coef_with_intercept_first"]
    else:
        estimate = fit["coef"]
    return PooledFit(str(content["tool"]), tuple(names), tuple(estimate), tuple(fit["se"]), float(fit["loglik"]))
