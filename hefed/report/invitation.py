"""What a study asks of a region, on the screen, for the people who approve or refuse it.

Relies on rich. The words are the analyst's: they were validated as printable, and are printed as text.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.data.releases import Difference
from hefed.report.roster import in_lines
from hefed.report.table import describe_model, folds, plain_rows
from hefed.study import Cox, Study
from hefed.wording import counted, quoted

EACH_ROUND = "log-likelihood, gradient and information matrix, summed over all regions"


def print_invitation(study: Study, digest: bytes, analyst: str, until: str, to: Console) -> None:
    """Prints purpose, model, columns, who reads what, how many rounds and what each opens."""
    to.print(Text(study.id, style="bold"))
    to.print(Text(study.purpose))
    to.print()
    _print_lines(list(_lines(study, analyst, until)), to)
    to.print()
    to.print(Text("What its sums open to the readers, over all regions together:", style="bold"))
    for words in released(study):
        _item(words, to)
    to.print()
    to.print(Text("Hash of the study; an approval is for this one and no other:"))
    for line in in_lines(" ".join(digest.hex()[at : at + 8] for at in range(0, 64, 8)), 4):
        to.print(Text(f"  {line}", style="bold"))


def _print_lines(lines: list[tuple[str, str]], to: Console) -> None:
    if not folds(to):
        for line in plain_rows(lines):
            to.print(line)
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for label, words in lines:
        grid.add_row(Text(label), Text(words))
    to.print(grid)


def _lines(study: Study, analyst: str, until: str) -> Iterator[tuple[str, str]]:
    security, limits = study.security, study.limits
    yield "Model", f"{describe_model(study)}: {_names(study.model.responses)} on {_names(study.model.covariates)}"
    yield "Columns", f"{_names(study.model.columns)}; rows with a gap: {_MISSING[study.model.missing]}"
    yield "Asked by", f"{analyst}, who gets the result and not the sums"
    yield "Data of", ", ".join(study.contributors)
    yield "Read by", f"{', '.join(study.readers)}: they see every sum"
    yield (
        "Opened by",
        f"any {security.threshold} of {', '.join(study.keyholders)}; with fewer nobody can open anything",
    )
    yield "Rounds", f"at most {limits.rounds} of Newton's method, after {_before(study)} to prepare"
    yield (
        "Limits",
        f"at least {security.min_contributors} regions with data; a region refuses with fewer than {limits.min_events} "
        f"events, when its patients count for fewer than {limits.min_effective:g}, or beyond a linear predictor of "
        f"{limits.linear_predictor:g}",
    )
    yield "Profile", f"{security.profile}, engine {security.engine}"
    yield "Until", until


_MISSING = {"refuse": "refused", "drop-rows": "left out"}


def _before(study: Study) -> str:
    return "5 rounds" if not _shared(study) else "7 rounds"


def _shared(study: Study) -> bool:
    return isinstance(study.model, Cox) and study.model.baseline == "shared"


def released(study: Study) -> list[str]:
    """One phrase for each kind of round, as protocols/revealed.md has them at length."""
    p = len(study.model.covariates)
    yields = [
        "known answer: nothing about patients",
        f"ranges, spreads: for each of {counted(p, 'covariate')}, in how many regions its largest value lies between "
        "which powers of two; the same for the number of rows",
        "means, variances: numbers of patients and events; sum and sum of squares of each covariate",
    ]
    if _shared(study):
        yields += [
            "time ranges: how many regions have event times with so many decimals, and a largest one between which "
            "powers of two",
            "event times: how many events there are at each time, over all regions: event times lie open as such; "
            "sum of each covariate over all events",
            "newton: for each event time, sums of weights over the patients still at risk: differences between "
            "neighbouring times are sums over few patients, possibly one",
        ]
    else:
        yields.append(f"newton, up to {study.limits.rounds} times: {EACH_ROUND}")
    return yields


def differences(before: Study, now: Study) -> list[str]:
    """What differs between two studies, one phrase for each key."""
    old, new = _flat(before.public()), _flat(now.public())
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return [f"{key}: {_shown(old.get(key))} -> {_shown(new.get(key))}" for key in changed]


def print_differences(before: Study, when: str, now: Study, to: Console) -> None:
    """Prints what the study differs in from the last one that was approved here."""
    to.print()
    to.print(Text(f"Against {before.id}, approved here before ({when}):", style="bold"))
    changed = differences(before, now)
    for words in changed or ["the same definition; both together tell more than one where the tables differ a little"]:
        _item(words, to)


def print_repeated(found: Sequence[Difference], to: Console) -> None:
    """Prints what the study would tell beside others that were approved here."""
    if found:
        to.print()
        to.print(Text("Together with studies approved here before, its readers could also find out:", style="bold"))
        for one in found:
            _item(one.words, to)


def _item(words: str, to: Console) -> None:
    if not folds(to):
        to.print(Text(f"- {words}"))
        return
    grid = Table.grid()
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("- ", Text(words))
    to.print(grid)


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {place: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{place}.{key}" if place else str(key))
    return flat


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return _names(value)
    return f"'{value}'" if isinstance(value, str) else quoted(value)  # all of a text: what differs may be its end


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" if "," in name or "'" in name else name for name in names)
