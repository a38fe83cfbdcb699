"""A region's own table and policy, tried before a start: opened, its columns named, read as a study would read it.

Relies on `data`, and keeps nothing of what it reads. What is said here stays in the region, so it may count patients.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hefed.data.connectors import open_source
from hefed.data.policy import Policy, refusals
from hefed.data.settings import DataSettings
from hefed.data.source import DataError, Source
from hefed.data.table import load_table
from hefed.errors import InputError
from hefed.node.analyst import Submission
from hefed.node.dial import in_background
from hefed.node.finding import Finding, Tell, not_tried, note, works, wrong
from hefed.node.identity import Identity
from hefed.node.work import fault
from hefed.protocol.errors import ProtocolError
from hefed.protocol.roster import Role, Roster
from hefed.study import Study
from hefed.wording import counted, quoted, suggestion

SECONDS = 300.0
"""For reading the table once; a database that is busy for longer has its people look at it."""
_LISTED = 40


def table_findings(data: DataSettings, policy: Policy, name: str, tell: Tell) -> list[Finding]:
    """Whether the table can be opened, which columns it has, and whether those that the settings name hold numbers."""
    tell(f"{data.where}, for at most {SECONDS:.0f} s")
    return _in_time("table", lambda: list(_of_table(data, policy, f"region {name}")))


def _in_time(what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return in_background(look).result(SECONDS)
    except TimeoutError:
        return [
            wrong(what, f"the table was not read within {SECONDS:.0f} s; see what else keeps its disk or server busy")
        ]


def _of_table(data: DataSettings, policy: Policy, who: str) -> Iterator[Finding]:
    if data.password_env is not None and data.password_env not in os.environ:
        yield wrong(
            "table",
            f"{who}: the environment variable {data.password_env}, which password_env in [data] names, is not set; set "
            "it here and for the node, to the password of the database",
        )
        yield not_tried("columns", "table")
        return
    try:
        opened = open_source(data, who)
    except DataError as error:
        yield wrong("table", error)
        yield not_tried("columns", "table")
        return
    with opened as source:
        try:
            rows = _rows(source, data)
        except DataError as error:
            yield wrong("table", error)
            yield not_tried("columns", "table")
            return
        yield works("table", f"{data.where}: {counted(rows, 'row')}; {_listed(source.header)}")
        names = dict.fromkeys([*data.columns, *(policy.columns or ())])
        if names:
            yield from _columns(source, data.columns, list(names))


def _rows(source: Source, data: DataSettings) -> int:
    """How many rows there are, by reading one column."""
    own_names = {own: name for name, own in data.columns.items()}
    counts = Counter(source.header)
    for own in source.header:
        name = own_names.get(own, own)
        if counts[own] == 1 and data.columns.get(name, name) == own:
            return len(source.read([name]))
    raise source.error("has no column whose name is there once; rename its columns")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(quoted(name).strip("'") for name in names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{counted(len(names), 'column')}: {shown}{more}"


def _columns(source: Source, own: Mapping[str, str], names: Sequence[str]) -> Iterator[Finding]:
    counts = Counter(source.header)
    there = [name for name in names if counts[own.get(name, name)] == 1]
    faults = [_fault(source.read, [name]) for name in names if name not in there]
    good: list[str] = []
    try:
        frame = source.read(there) if there else None
    except DataError as error:
        faults.append(str(error))
    else:
        if frame is not None:
            faults += [_fault(source.numbers, frame[name]) for name in there]
            gaps = frame.isna().sum()
            good = [f"{name} ({gaps[name]} missing)" if gaps[name] else name for name in there]
    sentences = [sentence for sentence in faults if sentence]
    if sentences:
        yield from (wrong("columns", sentence) for sentence in sentences)
    else:
        yield works("columns", f"numbers in {', '.join(good)}")


def _fault(look: Callable[[Any], object], what: object) -> str | None:
    try:
        look(what)
    except DataError as error:
        return str(error)
    return None


def policy_findings(policy: Policy, roster: Roster) -> list[Finding]:
    """Whether some study of this federation could be within the policy."""
    faults = list(_policy_faults(policy, roster))
    if faults:
        return [wrong("policy", sentence) for sentence in faults]
    who = "by hand: hefed approve" if policy.approve == "by-hand" else "without a person, within the policy"
    return [works("policy", f"studies are approved {who}")]


def _policy_faults(policy: Policy, roster: Roster) -> Iterator[str]:
    named: tuple[tuple[str, Role, Sequence[str]], ...] = (
        ("readers", "reader", policy.readers or ()),
        ("analysts", "analyst", policy.analysts or ()),
    )
    for key, role, names in named:
        there = [member.name for member in roster.having(role)]
        for name in names:
            if name not in there:
                near = suggestion(name, there) or f"; it has {', '.join(there) or 'none'}"
                yield f"[policy] {key} names {quoted(name)}, who is no {role} on the roster{near}"
    least: tuple[tuple[str, Role, int], ...] = (
        ("min_threshold", "keyholder", policy.min_threshold),
        ("min_contributors", "contributor", policy.min_contributors),
    )
    for key, role, asked in least:
        has = len(roster.having(role))
        if has < asked:
            yield (
                f"[policy] {key} is {asked}, but the roster of {roster.federation} has {counted(has, role)}, so every "
                "study would be refused; lower it if you may"
            )


def study_findings(
    path: Path, data: DataSettings | None, policy: Policy, name: str, roster: Roster, tell: Tell
) -> list[Finding]:
    """Whether this region could take part in a study, as it would look at it before an approval."""
    try:
        study = Study.load(path)
    except InputError as error:
        return [wrong("study", error), not_tried("study's policy", "study"), not_tried("study's table", "study")]
    try:
        _require_allowed(study, roster)
    except ProtocolError as error:
        rows = [wrong("study", error)]
    else:
        rows = [works("study", f"{study.id}: the roster allows it")]
    reasons = refusals(policy, study, None)
    rows += [wrong("study's policy", f"{name} refuses: {reason}") for reason in reasons]
    rows += [] if reasons else [works("study's policy", "grants the study")]
    if name not in study.contributors:
        return [*rows, note("study's table", f"{name} gives no data to {study.id}")]
    if data is None:
        return [*rows, not_tried("study's table", "settings")]
    tell(f"{data.where} for {study.id}, for at most {SECONDS:.0f} s")
    return [*rows, *_in_time("study's table", lambda: _of_study(study, data, policy, name))]


def _require_allowed(study: Study, roster: Roster) -> None:
    analysts = roster.having("analyst")
    if analysts:
        expires = int(time.time()) + study.security.deadline
        Submission(study, roster, analysts[0].name, expires).signed(Identity.passing().signer)


def _of_study(study: Study, data: DataSettings, policy: Policy, name: str) -> list[Finding]:
    try:
        table = load_table(data, study, name)
    except DataError as error:
        return [wrong("study's table", error)]
    alone = refusals(policy, study, None)
    reasons = [f"{name} refuses: {reason}" for reason in refusals(policy, study, table) if reason not in alone]
    unfit = fault(study, name, table)
    reasons += [unfit] if unfit else []
    if reasons:
        return [wrong("study's table", reason) for reason in reasons]
    left_out = f"; {counted(table.dropped, 'row')} left out for missing values" if table.dropped else ""
    same = f"; {counted(table.duplicates, 'row')} the same as another" if table.duplicates else ""
    events = counted(table.events(study.model), "event")
    return [works("study's table", f"{counted(table.rows, 'row')}, {events}{left_out}{same}")]
