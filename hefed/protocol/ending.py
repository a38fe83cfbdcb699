"""The end of an identity: the last day, in UTC, on which anybody takes part in a new study with it. One without an end
has none.

What is said here is of a member as the roster lists it, so it is under everybody's signature. It must not read a clock.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime

from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Roster, read_day
from hefed.wording import counted

USUAL_YEARS, MOST_YEARS = 2, 10
"""For which an identity is made unless somebody says otherwise, and at most."""
SOON, NEAR = 60, 30
"""Days before the end at which people are warned, and warned with urgency."""


class EndedError(RosterError):
    """The identity of a party to a study has come to its end."""


def day(seconds: float) -> date:
    """The day of a time in seconds since 1970, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).date()


def over(ends: date) -> float:
    """When an identity's last day is over, in seconds since 1970."""
    return datetime(ends.year, ends.month, ends.day, tzinfo=UTC).timestamp() + 86400


def usual_end(today: date) -> date:
    """Of an identity that is made today."""
    return _years_after(today, USUAL_YEARS)


def read_end(words: str, today: date) -> date:
    """The end that a person asks for. Raises RosterError for what is no date, is over or is too far away."""
    last = _years_after(today, MOST_YEARS)
    ends = read_day(words)
    if not today < ends <= last:
        raise RosterError(f"an identity made today ends after {today} and on {last} at the latest, not on {ends}")
    return ends


def has_ended(ends: date | None, today: date) -> bool:
    """Whether an identity is over."""
    return ends is not None and today > ends


def require_lasting(roster: Roster, names: Iterable[str], today: date) -> None:
    """Raises EndedError when the identity of one of these members is over: nobody begins a study with it."""
    over = [member for member in map(roster.member, sorted(set(names))) if has_ended(member.ends, today)]
    if over:
        raise EndedError(
            f"the identity of {' and of '.join(f'{one.name} ended on {one.ends}' for one in over)}; a new one is made "
            "with hefed keys rotate, and comes into force with the roster's next version"
        )


def warning(name: str, ends: date | None, today: date) -> str | None:
    """What people are told of an identity whose end is near, or over; None before that."""
    if ends is None or (left := (ends - today).days) > SOON:
        return None
    if left < 0:
        return f"the identity of {name} ended on {ends}: no study begins with it any more; {_NEXT}"
    if left > NEAR:
        return f"the identity of {name} ends on {ends}, in {counted(left, 'day')}; {_NEXT}"
    when = f"in {counted(left, 'day')}" if left else "today"
    return f"the identity of {name} ends on {ends}, {when}: no study begins with it after that; do now: {_NEXT}"


_NEXT = "make the next one with hefed keys rotate, and have it put into the roster's next version"


def _years_after(today: date, years: int) -> date:
    try:
        return today.replace(year=today.year + years)
    except ValueError:  # the 29th of February
        return today.replace(year=today.year + years, day=28)
