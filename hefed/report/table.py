"""The result on the screen, as survival analysts know it. In a pipe tables are plain and at most 80 columns wide, and
sentences are whole lines.

Relies on rich and on the document of `result.py`. Column names come from files: they are printed as text,
never as markup.
"""

from collections.abc import Sequence
from math import erfc, exp, pi, sqrt

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.report.r_call import r_call
from hefed.report.result import Document
from hefed.study import Cox, Study

WIDTH = 80
P_SMALLEST = 1e-4  # smaller p-values are printed as a bound
_KINDS = {"cox": "Cox proportional hazards", "logistic": "Logistic regression"}
_RATIOS = {"cox": "HR", "logistic": "OR"}


def console(stderr: bool = False) -> Console:
    """A console as wide as the terminal. In a pipe tables are at most WIDTH columns wide and no text is folded, so that
    whoever searches it finds sentences whole.
    """
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width, made.soft_wrap = WIDTH, True
    return made


def folds(to: Console) -> bool:
    """Whether text is folded to the console's width: on a terminal, and not in a pipe."""
    return not to.soft_wrap


def plain_rows(rows: Sequence[Sequence[str]]) -> list[Text]:
    """Rows of one line each, whose last cell is a sentence of any length: for a pipe."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    cells = ((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]) for row in rows)
    return [Text("  ".join(row).rstrip()) for row in cells]


def print_result(document: Document, study: Study, to: Console) -> None:
    """Prints heading, coefficients, likelihoods, and how the sums were protected."""
    for line in _heading(document, study):
        to.print(line)
    to.print()
    to.print(_coefficients(document))
    to.print()
    for line in _summary(document, study):
        to.print(line)


def _heading(document: Document, study: Study) -> list[Text]:
    regions = document["regions"]
    return [
        Text(document["study"], style="bold"),
        Text(describe_model(study)),
        Text(f"{len(regions)} regions: {', '.join(regions)}"),
        Text(f"n = {document['n']}, events = {document['events']}"),
    ]


def describe_model(study: Study) -> str:
    """Kind, strata, ties and penalty of the model, as one phrase."""
    model = study.model
    parts = [_KINDS[model.kind]]
    if isinstance(model, Cox):
        per_region = model.baseline == "per-region"
        parts += ["stratified by region" if per_region else "one baseline for all regions"]
        parts += [f"{model.ties.capitalize()} ties"]
    if model.ridge:
        parts += [f"ridge {model.ridge:g}"]
    return ", ".join(parts)


def _coefficients(document: Document) -> Table:
    ratio = _RATIOS[document["model"]["kind"]]
    table = coefficient_table(("coef", "SE", ratio, f"{ratio} 95% CI", "z", "p"))
    for row in document["coefficients"]:
        interval = f"{_ratio(row['ci_lower'])} - {_ratio(row['ci_upper'])}"
        table.add_row(
            Text(row["name"]),
            significant(row["estimate"]),
            significant(row["std_error"], 3),
            _ratio(row["estimate"]),
            interval,
            f"{row['z']:.2f}",
            p_text(row["p_value"]),
        )
    return table


def _summary(document: Document, study: Study) -> list[Text]:
    fitted, null = document["log_likelihood"], document["log_likelihood_null"]
    name = "Log partial likelihood" if document["model"]["kind"] == "cox" else "Log-likelihood"
    lines = [f"{name} {fitted:.4f}, null {null:.4f}"]
    covariates = len(document["model"]["covariates"])
    if not study.model.ridge:  # with a penalty the statistic has no chi-square distribution
        statistic = max(0.0, 2 * (fitted - null))
        p_value = _with_sign(chi_square_tail(statistic, covariates))
        lines.append(f"Likelihood ratio test {statistic:.2f} on {covariates} df, p {p_value}")
    state = "converged" if document["converged"] else "NOT CONVERGED"
    lines.append(f"{document['iterations']} iterations, {state}")
    security = document["security"]
    lines.append(
        f"Encrypted sums: {security['profile']} (N = {security['ring_degree']}, {security['modulus_bits']} bits), "
        f"opened by any {security['threshold']} of {len(security['keyholders'])} keyholders"
    )
    if not study.model.ridge:
        lines += ["The same in R, on the pooled table:", f"  {r_call(study)}"]
    return [Text(line) for line in lines]


def coefficient_table(columns: Sequence[str]) -> Table:
    """An empty table with a column for the names of coefficients and right-aligned ones for numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, header_style="bold")
    table.add_column("", overflow="fold", min_width=8)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def significant(value: float, digits: int = 4) -> str:
    """`value` with so many significant digits, without an exponent where it is of a readable size."""
    return f"{value:#.{digits}g}" if value == 0 or 1e-4 <= abs(value) < 1e5 else f"{value:.{digits - 1}e}"


def p_text(value: float) -> str:
    """A p-value as journals print it."""
    return f"<{P_SMALLEST:.4f}" if value < P_SMALLEST else f"{value:.4f}"


def chi_square_tail(statistic: float, degrees: int) -> float:
    """P(X > statistic) for a chi-square X with `degrees` >= 1 degrees of freedom (Abramowitz and Stegun 26.4.4-5)."""
    half = statistic / 2
    if degrees % 2:
        total, term = erfc(sqrt(half)), exp(-half) * sqrt(half) * 2 / sqrt(pi)
        denominators: Sequence[float] = [k + 0.5 for k in range(1, (degrees + 1) // 2)]
    else:
        total, term = 0.0, exp(-half)
        denominators = [float(k) for k in range(1, degrees // 2 + 1)]
    for denominator in denominators:
        total += term
        term *= half / denominator
    return min(total, 1.0)


def _with_sign(value: float) -> str:
    text = p_text(value)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"


def _ratio(log_ratio: float) -> str:
    try:
        ratio = exp(log_ratio)
    except OverflowError:  # a confidence limit can lie beyond 1.8e308
        return "Inf"
    return f"{ratio:.3f}" if 0.01 <= ratio < 1000 else significant(ratio, 3)
