"""The last day of an identity: what it covers, when it is over, and what people are told before."""

import hashlib
from dataclasses import replace
from datetime import date, timedelta

import cbor2
import pytest

from hefed.protocol.ending import EndedError, day, has_ended, over, read_end, require_lasting, usual_end, warning
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Roster, SignedRoster
from hefed.protocol.text import card_text, read_card, read_roster, roster_text
from tests.protocol.test_roster import IDENTITIES, enc, roster
from tests.protocol.test_roster_hostile import altered

TODAY = date(2026, 11, 26)


def ending(**ends: date) -> Roster:
    members = tuple(replace(member, ends=ends.get(member.name)) for member in roster().members)
    return roster(members=members)


def test_an_identity_is_over_with_the_last_second_of_its_day() -> None:
    assert day(over(TODAY) - 1) == TODAY
    assert day(over(TODAY)) == TODAY + timedelta(days=1)


# --- What is signed ---------------------------------------------------------------------------------


def test_a_card_signs_its_end_and_one_without_is_as_it_ever_was() -> None:
    one = IDENTITIES["halland"]
    public = one.signer.public, one.transport_public
    with_end, without = one.card("halland", date(2028, 11, 26)), one.card("halland")
    assert with_end.signature == one._key.sign(enc("hefed/1 card", "halland", *public, "2028-11-26"))
    assert without.signature == one._key.sign(enc("hefed/1 card", "halland", *public))
    assert with_end.fingerprint == without.fingerprint
    text = card_text(with_end)
    for other in (altered(text, "ends", "2038-11-26"), text.replace("ends: 2028-11-26\n", "").encode()):
        with pytest.raises(RosterError, match="own signature"):
            read_card(other)
    added = card_text(without).replace("signature: ", "ends: 2028-11-26\nsignature: ")
    with pytest.raises(RosterError, match="own signature"):
        read_card(added.encode())


def test_the_digest_of_a_roster_covers_every_end_and_one_without_is_as_it_ever_was() -> None:
    made = ending(halland=date(2028, 11, 26))
    value = cbor2.loads(roster().to_bytes())
    assert all(set(member) == {"name", "identity", "transport", "roles"} for member in value["members"])
    for member in value["members"]:
        if member["name"] == "halland":
            member["ends"] = "2028-11-26"
    assert made.digest == hashlib.sha256(enc("hefed/1 roster", cbor2.dumps(value, canonical=True))).digest()
    assert Roster.from_bytes(made.to_bytes()) == made
    assert read_roster(roster_text(SignedRoster(made, {})).encode()).roster == made


@pytest.mark.parametrize("ends", ["2028-02-30", "2028-2-3", "20281126", "", None, 20281126, "2028-11-26 "])
def test_an_end_that_is_no_day_is_refused(ends: object) -> None:
    value = cbor2.loads(ending(halland=date(2028, 11, 26)).to_bytes())
    for member in value["members"]:
        if member["name"] == "halland":
            member["ends"] = ends
    with pytest.raises(RosterError):
        Roster.from_bytes(cbor2.dumps(value, canonical=True))
    text = roster_text(SignedRoster(ending(halland=date(2028, 11, 26)), {}))
    with pytest.raises(RosterError):
        read_roster(altered(text, "ends", str(ends)))


# --- Days -------------------------------------------------------------------------------------------


def test_the_last_day_is_whole_and_in_utc() -> None:
    last = date(2026, 11, 26)
    midnight = 1_795_651_200  # 2026-11-26 00:00 UTC
    assert day(midnight) == day(midnight + 86399) == last
    assert not has_ended(last, day(midnight + 86399))
    assert has_ended(last, day(midnight + 86400))
    assert not has_ended(None, date.max)


def test_an_identity_is_made_for_two_years() -> None:
    assert usual_end(TODAY) == date(2028, 11, 26)
    assert usual_end(date(2028, 2, 29)) == date(2030, 2, 28)


def test_an_end_that_a_person_asks_for() -> None:
    assert read_end("2026-11-27", TODAY) == date(2026, 11, 27)
    assert read_end("2036-11-26", TODAY) == date(2036, 11, 26)
    for words in ("2026-11-26", "2020-01-01", "2036-11-27"):
        with pytest.raises(RosterError, match="ends after 2026-11-26 and on 2036-11-26 at the latest, not on " + words):
            read_end(words, TODAY)
    for words in ("next year", "26.11.2028", "2028-13-01"):
        with pytest.raises(RosterError, match="is a day such as 2028-11-26, not '" + words):
            read_end(words, TODAY)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (61, None),
        (60, "ends on 2027-01-25, in 60 days; make the next one with hefed keys rotate"),
        (31, "ends on 2026-12-27, in 31 days; make the next one with hefed keys rotate"),
        (30, "ends on 2026-12-26, in 30 days: no study begins with it after that; do now: make the next"),
        (1, "ends on 2026-11-27, in 1 day: no study begins"),
        (0, "ends on 2026-11-26, today: no study begins with it after that; do now: make the next one with hefed keys"),
        (-1, "ended on 2026-11-25: no study begins with it any more; make the next one with hefed keys rotate"),
    ],
)
def test_people_are_warned_60_and_30_days_before_and_after(left: int, words: str | None) -> None:
    told = warning("halland", TODAY + timedelta(left), TODAY)
    if words is None:
        assert told is None
    else:
        assert told is not None
        assert told.startswith(f"the identity of halland {words}")
    assert warning("halland", None, TODAY) is None


def test_who_is_over_is_named_and_nobody_else() -> None:
    made = ending(halland=TODAY - timedelta(1), orebro=TODAY, kronoberg=TODAY - timedelta(900))
    require_lasting(made, ["orebro", "analyst", "aggregator"], TODAY)
    with pytest.raises(EndedError) as caught:
        require_lasting(made, [*IDENTITIES], TODAY)
    assert str(caught.value) == (
        "the identity of halland ended on 2026-11-25 and of kronoberg ended on 2024-06-09; a new one is made with "
        "hefed keys rotate, and comes into force with the roster's next version"
    )
