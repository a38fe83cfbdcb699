"""An audit in words that a data-protection officer can read, and for programs.

Relies on `protocol.audit` for what is so. Names and words come from transcripts of anybody: printed as text, never as
markup.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.protocol.audit import Release, StudyAudit, unfinished
from hefed.protocol.board import Board
from hefed.protocol.record import Outcome
from hefed.protocol.rules import Phase
from hefed.wording import counted


def print_audit(audits: Sequence[StudyAudit], to: Console) -> None:
    """Every study: who showed what, what was released to whom, and what is wrong."""
    for one in audits:
        _print_study(one, to)
        to.print()
    wrong = [finding for one in audits for finding in one.findings]
    if wrong:
        first = wrong[0]
        to.print(Text(f"NOT WELL: {counted(len(wrong), 'broken rule')}; the first names {first.party}.", style="bold"))
    else:
        to.print(Text("All is well: every rule that can be checked from outside was kept.", style="bold"))


def _print_study(one: StudyAudit, to: Console) -> None:
    board, known = one.board, one.board.phase is not Phase.INVITATION
    title = f"{board.study.id} ({one.study.hex()[:8]})" if known else one.study.hex()
    to.print(Text(title, style="bold"))
    for words in _about(one, board, known):
        to.print(Text(words))
    to.print()
    if one.releases:
        _print_releases(one.releases, board.study.keyholders, to)
    else:
        to.print(Text("Nothing was released."))
    to.print(Text(_ended(board)))
    for finding in one.findings:
        to.print(Text(f"! {finding.party}: {finding.words} ({finding.where})", style="bold red"))


def _print_releases(releases: Sequence[Release], keyholders: Sequence[str], to: Console) -> None:
    """One line a sum; who gave and who got it is the same for all sums of a study."""
    first = releases[0]
    to.print(
        Text(
            f"Released, to {_listed(first.readers)} only: {counted(len(releases), 'sum')}, each over the patients of "
            f"{_listed(first.contributors)} together, from {_time(first)} to {_time(releases[-1])} UTC."
        )
    )
    table = Table(box=box.SIMPLE_HEAD if to.is_terminal else None)
    for heading in ("round", "time", "what", "values", "opened by keyholders", "verified"):
        table.add_column(heading, justify="right" if heading in ("round", "values") else "left")
    for release in releases:
        table.add_row(
            str(release.round),
            _time(release).split()[1],
            Text(release.purpose),
            f"{release.values:,}",
            Text(
                f"all {len(keyholders)}" if set(release.keyholders) == set(keyholders) else _listed(release.keyholders)
            ),
            {"added": "added again", "checks": "by check values", "no": "no"}[release.verified],
        )
    to.print(table)
    if not all(release.verified == "added" for release in releases):
        words = "Not all was added again: that takes contributions, which only the aggregator's transcript can hold"
        to.print(Text(f"{words}; what it leaves out cannot be looked at."))


def _about(one: StudyAudit, board: Board, known: bool) -> list[str]:
    lines = []
    if known:
        study = board.study
        lines += [
            f"Asked by {board.analyst}: {study.purpose}",
            f"Patients of {_listed(study.contributors)}; keys held by {_listed(study.keyholders)}, of whom "
            f"{study.security.threshold} open a sum; sums read by {_listed(study.readers)}",
        ]
    for fingerprint in sorted({shown.roster.fingerprint for shown in one.replayed}):
        roster = next(shown.roster for shown in one.replayed if shown.roster.fingerprint == fingerprint)
        lines.append(f"Roster of {roster.federation}, version {roster.version}, to be compared: {fingerprint}")
    for shown in one.replayed:
        whole = "signed, whole" if shown.whole else "NOT whole"
        lost = f"; {counted(len(shown.unrecorded), 'message')} of its own not in the record" if shown.unrecorded else ""
        lines.append(f"Transcript of {shown.party}: {counted(len(shown.digests), 'message')}, {whole}{lost}")
    return lines


def _time(release: Release) -> str:
    return datetime.fromtimestamp(release.at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _ended(board: Board) -> str:
    waits, outcome = unfinished(board), board.outcome
    if waits is not None or outcome is None:
        return f"It has not ended: {waits}."
    if outcome.how in ("result", "error"):
        return (
            f"It ended: {outcome.words}, its {outcome.how} sealed to {board.analyst}. That says how many patients "
            "stand behind it; no transcript does."
        )
    if outcome.how == "complaint":
        return (
            f"It was ended by a complaint: {outcome.words}. The fault is with {outcome.by} or {outcome.about}; no "
            "transcript shows with whom of the two."
        )
    return f"It was ended by {outcome.by} ({outcome.how}): {outcome.words}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def document(audits: Sequence[StudyAudit]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "ok": not any(one.findings for one in audits),
        "studies": [_study_document(one) for one in audits],
    }


def _study_document(one: StudyAudit) -> dict[str, Any]:
    board, known = one.board, one.board.phase is not Phase.INVITATION
    outcome = board.outcome
    return {
        "study": one.study.hex(),
        "name": board.study.id if known else None,
        "purpose": board.study.purpose if known else None,
        "analyst": board.analyst if known else None,
        "rosters": sorted({shown.roster.fingerprint for shown in one.replayed}),
        "contributors": list(board.study.contributors) if known else [],
        "keyholders": list(board.study.keyholders) if known else [],
        "readers": list(board.study.readers) if known else [],
        "threshold": board.threshold if known else None,
        "transcripts": [
            {
                "file": shown.name,
                "party": shown.party,
                "messages": len(shown.digests),
                "whole": shown.whole,
                "unrecorded": [message.body.kind for message in shown.unrecorded],
            }
            for shown in one.replayed
        ],
        "releases": [
            {
                "round": release.round,
                "purpose": release.purpose,
                "values": release.values,
                "contributors": list(release.contributors),
                "keyholders": list(release.keyholders),
                "readers": list(release.readers),
                "at": datetime.fromtimestamp(release.at, UTC).isoformat(),
                "verified": release.verified,
                "checked_again": list(release.checked_again),
            }
            for release in one.releases
        ],
        "outcome": _outcome_document(outcome) if outcome else None,
        "unfinished": unfinished(board),
        "findings": [
            {"rule": finding.rule, "party": finding.party, "where": finding.where, "words": finding.words}
            for finding in one.findings
        ],
    }


def _outcome_document(outcome: Outcome) -> dict[str, Any]:
    return {"how": outcome.how, "by": outcome.by, "about": outcome.about or None, "words": outcome.words}
