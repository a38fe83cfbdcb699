"""An audit in words that a data-protection officer can read, and for programs.

Relies on `protocol.audit` and `node.proof` for what is so. Names and words come from transcripts of anybody: printed as
text, never as markup.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hefed.protocol.audit import Release, StudyAudit, unfinished
from hefed.protocol.board import Board
from hefed.protocol.record import Outcome
from hefed.protocol.result_file import ResultReader
from hefed.protocol.rules import Phase
from hefed.protocol.transcript import FORMAT
from hefed.wording import counted


class Counts(Protocol):
    """See `hefed.node.proof.Counts`."""

    @property
    def patients(self) -> int: ...
    @property
    def events(self) -> int: ...


class Proof(Protocol):
    """See `hefed.node.proof.Proof`."""

    @property
    def reader(self) -> ResultReader: ...
    @property
    def counts(self) -> Counts | None: ...


class Audited(Protocol):
    """See `hefed.node.proof.Audited`."""

    @property
    def studies(self) -> Sequence[StudyAudit]: ...
    @property
    def proofs(self) -> Mapping[bytes, tuple[str, Proof]]: ...


def print_audit(audited: Audited, to: Console) -> None:
    """Every study: who showed what, what was released to whom, how many patients stand behind it, and what is wrong."""
    for one in audited.studies:
        _print_study(one, audited.proofs.get(one.study), to)
        to.print()
    wrong = [finding for one in audited.studies for finding in one.findings]
    if wrong:
        first = wrong[0]
        to.print(Text(f"NOT WELL: {counted(len(wrong), 'broken rule')}; the first names {first.party}.", style="bold"))
    elif left := sum(release.verified != "added" for one in audited.studies for release in one.releases):
        words = f"All is well as far as these files show; {counted(left, 'sum')} could not be added again."
        to.print(Text(words, style="bold"))
    else:
        to.print(Text("All is well: every rule that can be checked from outside was kept.", style="bold"))


def _print_study(one: StudyAudit, proof: tuple[str, Proof] | None, to: Console) -> None:
    board, known = one.board, one.board.phase is not Phase.INVITATION
    title = f"{board.study.id} ({one.study.hex()[:8]})" if known else one.study.hex()
    to.print(Text(title, style="bold"))
    for words in _about(one, board, known):
        to.print(Text(words))
    to.print()
    if not known:
        to.print(Text("Nothing can be said of this study: no file that was handed in counts."))
    elif one.releases:
        _print_releases(one.releases, board.study.keyholders, _behind(one, proof), to)
    else:
        to.print(Text("Nothing was released."))
    if known:
        to.print(Text(_ended(board)))
    for finding in one.findings:
        to.print(Text(f"! {finding.party}: {finding.words} ({finding.where})", style="bold red"))


def _print_releases(releases: Sequence[Release], keyholders: Sequence[str], behind: str, to: Console) -> None:
    """One line a sum; who gave and who got it is the same for all sums of a study."""
    first = releases[0]
    to.print(
        Text(
            f"Released, to {_listed(first.readers)} only: {counted(len(releases), 'sum')}, from {_time(first)} to "
            f"{_time(releases[-1])} UTC. The known answer, round 0, is of made-up numbers"
            + (f"; the rest is over the patients of {_listed(first.contributors)} together." if releases[1:] else ".")
        )
    )
    to.print(Text(behind))
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


def _behind(one: StudyAudit, proof: tuple[str, Proof] | None) -> str:
    """How many patients stand behind what was released, or why that cannot be said and what to add."""
    if all(release.round == 0 for release in one.releases):
        return "No patient stands behind it."
    if proof is not None and (counts := proof[1].counts) is not None:
        how = "the sum that counts them is in it" if proof[1].reader.is_full else "each reader signed it"
        return (
            f"By the regions' own counts {counted(counts.patients, 'patient')} of all of them together stand behind "
            f"these, {counts.events} with an event. {proof[0]} proves it: {how}."
        )
    why = "How many patients stand behind these no transcript tells, since none holds anything that was opened"
    if proof is not None:
        return f"{why}; {proof[0]} does not tell it, having neither the sum that counts them nor a result."
    if one.board.outcome is None or one.board.outcome.how not in ("result", "error"):
        return f"{why}; there is no result that would tell it, and only those who read the sums know."
    return (
        f"{why}. A result's file does; name one too: hefed audit PATH... FILE.hefed. A region that read the sums "
        "writes it, by hefed result, and one without the sums by hefed publish."
    )


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
        what = "Transcript" if shown.format == FORMAT else "Result's file"
        lines.append(f"{what} of {shown.party}: {counted(len(shown.digests), 'message')}, {whole}{lost}")
    return lines


def _moment(release: Release) -> datetime:
    """A time of the years that there are: of others no entry is read (`protocol.transcript`)."""
    return datetime.fromtimestamp(release.at, UTC)


def _time(release: Release) -> str:
    return _moment(release).strftime("%Y-%m-%d %H:%M:%S")


def _ended(board: Board) -> str:
    waits, outcome = unfinished(board), board.outcome
    if waits is not None or outcome is None:
        return f"It has not ended: {waits}."
    if outcome.how in ("result", "error"):
        return f"It ended: {outcome.words}, its {outcome.how} sealed to {board.analyst}."
    if outcome.how == "complaint":
        return (
            f"It was ended by a complaint: {outcome.words}. The fault is with {outcome.by} or {outcome.about}; no "
            "transcript shows with whom of the two."
        )
    return f"It was ended by {outcome.by} ({outcome.how}): {outcome.words}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def document(audited: Audited) -> dict[str, Any]:
    """The same for programs."""
    return {
        "ok": not any(one.findings for one in audited.studies),
        "studies": [_study_document(one, audited.proofs.get(one.study)) for one in audited.studies],
    }


def _study_document(one: StudyAudit, proof: tuple[str, Proof] | None) -> dict[str, Any]:
    board, known = one.board, one.board.phase is not Phase.INVITATION
    outcome, counts = board.outcome, proof[1].counts if proof else None
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
                "form": shown.format.partition(" ")[2],
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
                "patients": 0 if release.round == 0 else counts.patients if counts else None,
                "at": _moment(release).isoformat(),
                "verified": release.verified,
                "checked_again": list(release.checked_again),
            }
            for release in one.releases
        ],
        "patients": {
            "number": counts.patients if counts else None,
            "events": counts.events if counts else None,
            "proved_by": proof[0] if proof and counts else None,
            "steps_taken_again": proof[1].reader.is_full if proof and counts else None,
            "words": _behind(one, proof) if one.releases else "Nothing was released.",
        },
        "outcome": _outcome_document(outcome) if outcome else None,
        "unfinished": unfinished(board),
        "findings": [
            {"rule": finding.rule, "party": finding.party, "where": finding.where, "words": finding.words}
            for finding in one.findings
        ],
    }


def _outcome_document(outcome: Outcome) -> dict[str, Any]:
    return {"how": outcome.how, "by": outcome.by, "about": outcome.about or None, "words": outcome.words}
