"""`hefed init` and `hefed federation ...`: identities, cards and rosters."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from hefed.cli.app import Home, app, confirm, mendable
from hefed.cli.keys import Ends, keys_app, last_day

federation_app = typer.Typer(
    help="Make, sign and change the roster of a federation, in files that the members send each other.",
    no_args_is_help=True,
)
app.add_typer(federation_app, name="federation")
app.add_typer(keys_app, name="keys")

RosterFile = Annotated[Path, typer.Argument(metavar="FILE.roster", help="The roster's file.")]


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What this member is called in the federation.")],
    home: Home,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Keep its keys under a passphrase, which is asked for.")
    ] = False,
    ends: Ends = None,
) -> None:
    """Make the identity of a member, and its card to give to others."""
    from hefed.node.federation import shown
    from hefed.node.home import Home as MemberHome
    from hefed.node.passphrase import new_passphrase

    with mendable():
        made = MemberHome.init(home, name, new_passphrase if passphrase else None, last_day(ends))
        card = made.card()
    print(f"{shown(made.card_file(name))}: the card of {name}; give it to whoever makes the roster")
    print(f"It ends on {card.ends}; hefed keys rotate makes the next one." if card.ends else "It has no end.")
    print(f"Fingerprint of {name}, to be read aloud to the others over the telephone:")
    print(f"  {card.fingerprint}")


@federation_app.command("create")
def create(
    federation: Annotated[str, typer.Argument(metavar="FEDERATION", help="The federation's name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The roster's file to write.")],
    member: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CARD[:ROLE,ROLE]",
            help="A member's card and its roles: contributor,keyholder,reader unless said otherwise; a card called "
            "aggregator or analyst is that. With --from also the name of a member. Give it once for each.",
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Where the aggregator is dialled; once for each address."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=2, help="Least threshold of a study; 2 unless said otherwise.")
    ] = None,
    min_contributors: Annotated[
        int | None, typer.Option(min=3, help="Least min_contributors of a study; the threshold and one if not given.")
    ] = None,
    old: Annotated[
        Path | None, typer.Option("--from", metavar="OLD.roster", help="Make the next version of this roster.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --from: who is no longer a member.")
    ] = None,
) -> None:
    """Make a roster from the members' cards, for every member to sign with `join`."""
    from hefed.node.federation import changes, draft, load_roster, shown, write_new_roster
    from hefed.protocol.roster import SignedRoster
    from hefed.report.roster import print_changes, print_roster
    from hefed.report.table import console

    with mendable():
        before = load_roster(old).roster if old else None
        roster = draft(
            federation,
            member or (),
            old=before,
            remove=remove or (),
            addresses=address or (),
            least_threshold=threshold,
            least_min_contributors=min_contributors,
        )
        signed = SignedRoster(roster, {})
        write_new_roster(output, signed)
    print_roster(signed, console())
    if before:
        print_changes(before, changes(before, roster), console())
    print(f"\nSend {shown(output)} to every member, to sign: hefed federation join {quote(shown(output))} --home HOME")


@federation_app.command("join")
def join(
    file: RosterFile,
    home: Home,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking, for scripts.")] = False,
) -> None:
    """Look at a roster, sign it, and put it in force once every member has signed."""
    from hefed.node.federation import changes, load_roster, replace_durably, shown
    from hefed.node.home import Home as MemberHome
    from hefed.node.status import is_running
    from hefed.protocol.text import roster_text
    from hefed.report.roster import print_changes, print_roster
    from hefed.report.table import console

    with mendable():
        member, signed = MemberHome(home), load_roster(file)
        roster = signed.roster
        member.check(roster)
        print_roster(signed, console())
        force = member.in_force()
        if force and force != roster:
            print_changes(force, changes(force, roster), console())
        me = member.me(roster).name
        if not (yes or member.has_signed(roster)):
            confirm(
                f"Have you compared the fingerprint of the whole roster with the others? Sign as {me}?",
                "nothing was signed",
            )
        if not (member.has_signed(roster) and me in signed.signatures):
            signed = member.sign(signed)
            replace_durably(file, roster_text(signed).encode())
            print(f"\n{shown(file)}: now with the signature of {me}")
        if signed.missing:
            print(
                f"Send it back, to be united with those of {', '.join(signed.missing)}: hefed federation merge "
                f"{quote(shown(file))} OTHER.roster -o ALL.roster"
            )
            return
        member.install(signed)
    print(f"Every member has signed: version {roster.version} of {roster.federation} is in force in {shown(home)}")
    if force and force != roster:
        here = f"One runs in {shown(home)}; restart it." if is_running(home) else f"None runs in {shown(home)}."
        print(
            f"Processes that run keep version {force.version} until they are restarted: hefed aggregator first, then "
            f"hefed node. {here}"
        )


@federation_app.command("merge")
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="A.roster B.roster ...", help="Copies that members signed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
) -> None:
    """Unite the signatures of copies of one roster."""
    from hefed.node.federation import shown, unite, write_new_roster

    with mendable():
        signed = unite(files)
        write_new_roster(output, signed)
    if signed.missing:
        print(f"{shown(output)}: still without {', '.join(signed.missing)}")
    else:
        print(
            f"{shown(output)}: every member has signed; each puts it in force with: hefed federation join "
            f"{quote(shown(output))} --home HOME"
        )


@federation_app.command("show")
def show(file: RosterFile) -> None:
    """Say what a roster says, and who signed it."""
    from hefed.node.federation import load_roster
    from hefed.report.roster import print_roster
    from hefed.report.table import console

    with mendable():
        signed = load_roster(file)
    print_roster(signed, console())
