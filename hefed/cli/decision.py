"""`hefed approve` and `hefed refuse`: what the people of a region say to a study that waits for them."""

import time
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from hefed.cli.app import Home, app, confirm, mendable, program
from hefed.errors import InputError

if TYPE_CHECKING:
    from hefed.data.policy import Policy
    from hefed.data.releases import Earlier
    from hefed.node.invited import Invitations, Invited
    from hefed.node.operate import Standing
    from hefed.study import Study

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="The study's name, or the first digits of its hash; see hefed status.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Decide without asking, for scripts.")]


@app.command()
def approve(
    study: StudyName,
    home: Home,
    yes: Yes = False,
    look: Annotated[bool, typer.Option("--look", help="Only show what the study asks for.")] = False,
) -> None:
    """Look at a study that waits for this region, and approve it by a signature over its hash."""
    from hefed.node.decision import Decision, Decisions

    with mendable():
        member, invitations, invited = _invited(study, home)
        _show(invitations, invited)
        if look:
            _table(member, invitations, invited)
            return
        if invited.approved:
            refusal = _refusal(member, invited, "we take our approval back")
            raise InputError(f"{invited.definition.id} is approved already; to take that back: {refusal}")
        table = _table(member, invitations, invited)
        if not yes:
            confirm(f"Approve this study as {member.me.name}?", "nothing was signed")
        decision = Decision(study=invited.study, answer="approved", table=table, at=time.time())
        Decisions(home, member.home.identity).write(decision)
    print(f"Approved {invited.definition.id} ({invited.study.hex()[:16]}); {_then(home)}")


@app.command()
def refuse(
    study: StudyName,
    home: Home,
    words: Annotated[str, typer.Option("--because", metavar="WORDS", help="Why, in a sentence that the analyst gets.")],
    yes: Yes = False,
) -> None:
    """Refuse a study that waits for this region, or take back an approval; either ends the study for all."""
    from hefed.node.decision import Decision, Decisions
    from hefed.protocol.messages import printable

    with mendable():
        member, _, invited = _invited(study, home)
        if not words.strip() or printable(words) != words:
            raise InputError("--because needs one sentence of printable text; the analyst reads it")
        if not yes:
            print(f"{invited.definition.id} ({invited.study.hex()[:16]}): {invited.definition.purpose}")
            confirm(f"Refuse it as {member.me.name}? That ends it for all regions.", "nothing was signed")
        decision = Decision(study=invited.study, answer="refused", words=words, at=time.time())
        Decisions(home, member.home.identity).write(decision)
    print(f"Refused {invited.definition.id} ({invited.study.hex()[:16]}); {_then(home)}")


def _invited(study: str, home: Home) -> tuple["Standing", "Invitations", "Invited"]:
    from hefed.node.invited import Invitations
    from hefed.node.operate import standing

    member = standing(home, "contributor", "keyholder", "reader")
    invitations = Invitations(home, member.roster, member.earlier)
    return member, invitations, invitations.running(study)


def _show(invitations: "Invitations", invited: "Invited") -> None:
    from hefed.report.invitation import print_differences, print_invitation
    from hefed.report.table import console
    from hefed.report.times import local

    to, board = console(), invited.board
    print_invitation(invited.definition, invited.study, board.analyst, local(board.invitation.expires), to)
    before = invitations.before(invited)
    if before is not None:
        print_differences(before.definition, local(before.came), invited.definition, to)


def _table(member: "Standing", invitations: "Invitations", invited: "Invited") -> bytes | None:
    """Reads the region's table and says what the study would use of it; None where the region gives no data. Raises
    InputError for a table or a policy with which the region refuses.
    """
    from hefed.node.consent import describe, look_at_table, table_digest
    from hefed.node.decision import Decisions
    from hefed.node.settings import FILE
    from hefed.protocol.ports import DeclinedError

    name, study, data = member.me.name, invited.definition, member.settings.data
    decisions, policy = Decisions(member.home.folder, member.home.identity), member.settings.policy
    earlier = invitations.earlier(invited, decisions.is_approved)
    if name not in study.contributors:
        print(f"\n{name} gives no data to this study.")
        _repeated(study, None, earlier, policy)
        return None
    if data is None:
        raise InputError(f"{member.home.folder / FILE} has no section [data], so {name} has no table to give; add one")
    try:
        table, reasons = look_at_table(data, policy, invited.board, name, earlier)
    except DeclinedError as error:
        refusal = _refusal(member, invited, "our table cannot be used for it")
        raise InputError(f"{error}; mend the table, or refuse the study: {refusal}") from error
    if reasons:
        raise InputError(
            f"the policy in {member.home.folder / FILE} is against it: {'; '.join(reasons)}; "
            f"change the policy, or refuse the study: {_refusal(member, invited, 'our policy is against it')}"
        )
    print(f"\nThe table of {name} ({data.where}): {describe(table, invited.board)}.")
    _repeated(study, table.rows, earlier, policy)
    return table_digest(table, invited.study)


def _refusal(member: "Standing", invited: "Invited", words: str) -> str:
    """The command that refuses a study, named by its hash as another may have its name; the words are to be changed."""
    from hefed.node.federation import shown

    home = quote(shown(member.home.folder))
    return f"{program()} refuse {invited.study.hex()[:16]} --home {home} --because {quote(words)}"


def _repeated(study: "Study", rows: int | None, earlier: list["Earlier"], policy: "Policy") -> None:
    """Says what the study would tell beside those that were approved here before."""
    from hefed.data.releases import differences
    from hefed.report.invitation import print_repeated
    from hefed.report.table import console

    print_repeated(differences(study, rows, earlier, policy.min_rows), console())


def _then(home: Home) -> str:
    from hefed.node.status import is_running

    if is_running(home):
        return "the running node takes it up now"
    return f"the node takes it up when it runs: hefed node --home {home}"
