"""`hefed keys ...`: the secret keys of a home, and the passphrase that they are under."""

import time
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from hefed.cli.app import Home, mendable
from hefed.errors import InputError

Ends = Annotated[
    str | None,
    typer.Option("--ends", metavar="DATE", help="Its last day, in UTC: 2028-11-26. Two years from now if not given."),
]

keys_app = typer.Typer(
    help="Look at the keys of a home, put them under a passphrase, change them.", no_args_is_help=True
)


def last_day(ends: str | None) -> date | None:
    """The day that --ends names. Raises RosterError."""
    from hefed.protocol.ending import day, read_end

    return None if ends is None else read_end(ends, day(time.time()))


@keys_app.command("protect")
def protect(
    home: Home,
    remove: Annotated[bool, typer.Option("--remove", help="Take the passphrase off.")] = False,
    change: Annotated[bool, typer.Option("--change", help="Take another passphrase than before.")] = False,
) -> None:
    """Put all secret keys of a home under a passphrase; its process must not be running."""
    from hefed.node import keys
    from hefed.node.federation import shown
    from hefed.wording import counted

    if remove and change:
        raise InputError("--remove and --change are two things; say one of them")
    with mendable():
        studies = keys.unprotect(home) if remove else keys.protect(home, change=change)
    state = "no longer under a passphrase" if remove else "under a passphrase"
    print(f"{shown(home)}: the identity and {counted(studies, 'study key')} are {state}")


@keys_app.command("show")
def show(home: Home) -> None:
    """Say which keys there are, and whether they are under a passphrase; shows no secret."""
    from hefed.node.federation import shown
    from hefed.node.keys import look

    with mendable():
        found = look(home)
    print(f"identity      {found.name}, made {found.made:%Y-%m-%d %H:%M}")
    print(f"fingerprint   {found.fingerprint}")
    print(f"ends          {found.ends or 'never'}")
    if found.protected:
        print("passphrase    yes")
    else:
        print(f"passphrase    none; for one: hefed keys protect --home {shown(home)}")
    for study, is_sealed in found.studies:
        open_one = found.protected and not is_sealed
        print(f"study key     {study}{', not yet under the passphrase: hefed keys protect again' if open_one else ''}")
    if not found.studies:
        print("study keys    none")
    if found.warning:
        print(f"warning       {found.warning}")


@keys_app.command("rotate")
def rotate(home: Home, ends: Ends = None) -> None:
    """Make the identity that follows this one; it takes its place once a roster that lists it is in force."""
    from hefed.node import rotation
    from hefed.node.federation import shown

    with mendable():
        made, card, word = rotation.rotate(home, last_day(ends))
    print(f"{shown(card)}: the new card of {made.name}, for the next version of the roster:")
    print(f"  hefed federation create NAME --from OLD.roster --member {shown(card)} -o NEW.roster")
    print(f"{shown(word)}: the word of the old identity for it; the others: hefed keys rotated FILE --from OLD.roster")
    print(f"New fingerprint of {made.name}, to be read aloud to the others over the telephone:")
    print(f"  {made.fingerprint}")
    print("Until that roster is in force here the old keys are used; then they are destroyed.")


@keys_app.command("rotated")
def rotated(
    file: Annotated[Path, typer.Argument(metavar="FILE.rotation", help="What the member sent.")],
    old: Annotated[Path, typer.Option("--from", metavar="OLD.roster", help="A roster with its old keys.")],
) -> None:
    """Say whether a member's old identity vouches for its new one."""
    from hefed.node.rotation import verify

    with mendable():
        made = verify(file, old)
    print(f"{made.name}'s old identity signed that it is followed by the one with this fingerprint:")
    print(f"  {made.fingerprint}")
