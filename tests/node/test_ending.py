"""An identity whose end is near or over, in homes and processes: who is told what, and what is refused."""

import json
import re
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from hefed.data.policy import Policy
from hefed.node.analyst import Submission
from hefed.node.check import check_home
from hefed.node.consent import Consent
from hefed.node.decision import Decision, Decisions
from hefed.node.errors import NodeError, NotTakenError
from hefed.node.federation import draft
from hefed.node.home import Home
from hefed.node.operate import standing
from hefed.node.region import RegionNode
from hefed.node.rotation import rotate
from hefed.node.store import Store
from hefed.node.submit import Analyst, submit
from hefed.protocol import messages as m
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Roster, SignedRoster
from hefed.protocol.text import card_text
from hefed.study import Study
from tests.node.homes import answering, make_roster, sign
from tests.node.runs import free_port, hefed, read_until, started, study_file
from tests.node.test_hostile_aggregator import Setting, _aggregator, _greet, _say, _words, setting
from tests.node.test_submit import Says, progress, submitted

__all__ = ["setting"]

DAY = timedelta(1)
NAMES = ("aggregator", "analyst", "halland", "kronoberg", "orebro")


def today() -> date:
    return datetime.now(UTC).date()


def ending(made: Roster, **ends: date) -> Roster:
    return replace(made, members=tuple(replace(one, ends=ends.get(one.name)) for one in made.members))


def federation(folder: Path, address: str = "127.0.0.1:1", **ends: date) -> dict[str, Path]:
    """Homes with a roster in force; some members' identities end on these days."""
    homes = {name: Home.init(folder / name, name, ends=ends.get(name)) for name in NAMES}
    sign(homes, make_roster(homes, address))
    return {name: home.folder for name, home in homes.items()}


# --- Homes ------------------------------------------------------------------------------------------


def test_init_and_rotate_make_it_for_two_years_or_until_a_day(tmp_path: Path) -> None:
    home, last = tmp_path / "halland", today() + 400 * DAY
    made = hefed("init", "halland", "--home", home)
    assert made.code == 0
    ends = Home(home).card().ends
    assert ends is not None
    assert 729 <= (ends - today()).days <= 731
    assert f"It ends on {ends}; hefed keys rotate makes the next one." in made.out
    other = hefed("init", "orebro", "--home", tmp_path / "orebro", "--ends", str(last))
    assert (other.code, Home(tmp_path / "orebro").card().ends) == (0, last)
    assert hefed("keys", "rotate", "--home", home, "--ends", str(last)).code == 0
    following = Home(home).next_card()
    assert following is not None
    assert following.ends == last
    assert hefed("keys", "rotate", "--home", home).code == 0
    assert Home(home).next_card() == following  # the same again
    wrong = hefed("init", "lund", "--home", tmp_path / "lund", "--ends", "2020-01-01")
    assert (wrong.code, (tmp_path / "lund").exists()) == (2, False)
    assert re.fullmatch(r"hefed: an identity made today ends after \S+ and on \S+ at the latest, not on 2020-01-01\n",
                        wrong.err)  # fmt: skip


def test_a_home_signs_no_roster_with_another_end_than_its_card(tmp_path: Path) -> None:
    homes = {name: Home.init(tmp_path / name, name) for name in NAMES}
    right = make_roster(homes, "127.0.0.1:1")
    for ends in (today() + 9000 * DAY, None):
        wrong = replace(
            right, members=tuple(replace(one, ends=ends) if one.name == "orebro" else one for one in right.members)
        )
        with pytest.raises(RosterError, match=r"lets the identity of orebro end .*; do not use it, and ask"):
            homes["orebro"].sign(SignedRoster(wrong, {}))
    homes["orebro"].sign(SignedRoster(right, {}))


def test_the_end_of_an_identity_is_not_moved_without_a_new_identity(tmp_path: Path) -> None:
    ends = today() + 100 * DAY
    federation(tmp_path, orebro=ends)
    homes = {name: Home(tmp_path / name) for name in NAMES}
    force = homes["halland"].in_force()
    assert force is not None

    def moved(to: date | None, version: int, name: str = "orebro") -> Roster:
        members = tuple(replace(one, ends=to) if one.name == name else one for one in force.members)
        return replace(force, version=version, members=members)

    for to in (ends + DAY, ends - DAY, None):
        with pytest.raises(RosterError) as caught:
            homes["halland"].check(moved(to, 2))
        assert str(caught.value) == (
            f"version 2 of Heart failure lets the identity of orebro end {f'on {to}' if to else 'never'}, and it was "
            f"to end on {ends}; another end takes a new identity: orebro makes it with hefed keys rotate, and its new "
            "card goes into another version"
        )
        with pytest.raises(RosterError, match="lets the identity of orebro end"):
            homes["halland"].sign(SignedRoster(moved(to, 2), {}))
        # A roster that all signed, as with changed homes, is not taken either.
        signatures = {name: home.identity.sign_roster(moved(to, 2)) for name, home in homes.items()}
        with pytest.raises(RosterError, match="lets the identity of orebro end"):
            homes["kronoberg"].install(SignedRoster(moved(to, 2), signatures))

    # Under another name, or after a version without the member, it is the same identity.
    renamed = [replace(one, name="zorebro", ends=None) if one.name == "orebro" else one for one in force.members]
    with pytest.raises(RosterError, match="lets the identity of zorebro end never"):
        homes["halland"].check(Roster.of(force.federation, 2, renamed, addresses=force.addresses))
    others = {name: home for name, home in homes.items() if name != "orebro"}
    sign(others, replace(force, version=2, members=tuple(one for one in force.members if one.name != "orebro")))
    with pytest.raises(RosterError, match="lets the identity of orebro end"):
        homes["halland"].check(moved(None, 3))
    homes["halland"].check(moved(ends, 3))


def test_create_moves_no_end_and_takes_that_of_a_new_identity(tmp_path: Path) -> None:
    ends = today() + 100 * DAY
    homes = federation(tmp_path, orebro=ends)
    force = Home(homes["orebro"]).in_force()
    card = homes["orebro"] / "orebro.card"
    card.write_text(card_text(Home(homes["orebro"]).identity.card("orebro", ends + DAY)))
    with pytest.raises(RosterError, match=f"end on {ends + DAY}, and it was to end on {ends}; another end takes a new"):
        draft("Heart failure", [str(card)], old=force)
    card.write_text(card_text(Home(homes["orebro"]).identity.card("orebro", ends)))
    rotate(homes["orebro"], ends=ends + DAY)
    made = draft("Heart failure", [str(homes["orebro"] / "orebro.next.card")], old=force)
    assert made.member("orebro").ends == ends + DAY
    Home(homes["halland"]).check(made)


def test_homes_of_before_have_no_end_and_go_on(tmp_path: Path) -> None:
    homes = {name: Home.init(tmp_path / name, name) for name in NAMES}
    for name, home in homes.items():
        home.card_file(name).write_text(card_text(home.identity.card(name)))
    sign(homes, make_roster(homes, "127.0.0.1:1"))
    member = standing(tmp_path / "halland")
    assert member.me.ends is None
    assert hefed("keys", "show", "--home", tmp_path / "halland").out.splitlines()[2] == "ends          never"
    rotate(tmp_path / "halland")
    following = Home(tmp_path / "halland").next_card()
    assert following is not None
    assert following.ends is not None


def test_a_card_that_is_written_again_says_what_the_roster_says(tmp_path: Path) -> None:
    homes = federation(tmp_path, halland=today() + 100 * DAY)
    (homes["halland"] / "halland.card").unlink()
    assert Home.init(homes["halland"], "halland").card().ends == today() + 100 * DAY


# --- What people are told ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "state", "words"),
    [(61, "works", "ends on"), (60, "note", "in 60 days; make"), (30, "note", "do now: make"), (-1, "wrong", "ended")],
)
def test_check_and_show_warn_at_their_levels(left: int, state: str, words: str, tmp_path: Path) -> None:
    ends = today() + left * DAY
    homes = federation(tmp_path, halland=ends)
    (row,) = [finding for finding in check_home(homes["halland"]).findings if finding.what == "end"]
    assert row.state == state
    assert words in row.words
    shown = hefed("keys", "show", "--home", homes["halland"]).out
    assert f"ends          {ends}\n" in shown
    assert ("warning       the identity of halland end" in shown) == (left <= 60)
    roster = homes["orebro"] / "rosters/1.roster"
    seen = " ".join(hefed("federation", "show", roster).out.split())
    assert str(ends) in seen
    assert ("the identity of halland end" in seen) == (left <= 60)
    assert ("hefed keys rotate" in seen) == (left <= 60)
    assert "the identity of orebro end" not in seen


@pytest.mark.parametrize(("command", "name"), [("aggregator", "aggregator"), ("node", "halland")])
def test_processes_log_it_and_status_says_it(command: str, name: str, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    homes = federation(tmp_path, address, **{name: today() + 20 * DAY})
    words = f"the identity of {name} ends on {today() + 20 * DAY}, in 20 days: no study begins with it after that"
    with started(command, "--home", homes[name]) as process:
        read_until(process, words)
        told = hefed("status", "--home", homes[name])
        plain = json.loads(hefed("status", "--home", homes[name], "--json").out)
    assert words in told.out
    assert plain["identity_ends"] == str(today() + 20 * DAY)


# --- What is refused --------------------------------------------------------------------------------


def region(setting: Setting, clock: list[float]) -> RegionNode:
    """halland with a person's consent, and a clock of the test's."""
    store = Store(setting.folder / "halland")
    setting.store = store
    identity = setting.identities["halland"]
    consent = Consent("halland", setting.study.tables["halland"], Policy(), Decisions(setting.folder, identity),
                      clock=lambda: clock[0])  # fmt: skip
    node = RegionNode(
        name="halland", roster=setting.roster, identity=identity, store=store,
        link=setting.link,  # type: ignore[arg-type]
        consent=consent,
    )  # fmt: skip
    node._link.send({"type": "hello"})
    node._welcome = True
    return node


@pytest.mark.parametrize("who", ["analyst", "aggregator", "halland", "orebro"])
def test_a_region_refuses_a_study_with_a_party_whose_identity_is_over_and_names_it(setting: Setting, who: str) -> None:
    setting.roster = ending(setting.roster, **{who: today() - DAY})
    node = region(setting, [time.time()])
    setting.invite(node)
    (words,) = _words(setting)
    assert (
        f"halland refuses: the identity of {who} ended on {today() - DAY}; a new one is made with hefed keys" in words
    )
    assert [running for running in node._studies.values() if not running.ended] == []


def test_a_study_that_waits_is_refused_once_an_identity_is_over_and_one_that_runs_goes_on(setting: Setting) -> None:
    setting.roster = ending(setting.roster, orebro=today())
    setting.study = Study.load(study_file(setting.folder / "long", security='deadline = "3 d"'))
    clock, later = [time.time()], int(time.time()) + 2 * 86400
    node = region(setting, clock)
    approved, waiting = (
        setting.invite(node, Submission(setting.study, setting.roster, "analyst", later)) for _ in range(2)
    )
    decisions = Decisions(setting.folder, setting.identities["halland"])
    decisions.write(Decision(study=approved.study, answer="approved", words="", at=time.time()))
    node._decide()
    node._settle_all()
    setting.link.sent.clear()
    clock[0] += 86400
    decisions.write(Decision(study=waiting.study, answer="approved", words="", at=time.time()))
    for _ in range(3):
        node._decide()
        node._settle_all()
    (words,) = _words(setting)
    assert f"the identity of orebro ended on {today()}" in words
    assert list(node._studies) == [approved.study]
    assert not node._studies[approved.study].ended


def test_an_aggregator_takes_no_invitation_with_a_party_whose_identity_is_over(setting: Setting) -> None:
    setting.roster = ending(setting.roster, kronoberg=today() - DAY)
    node = _aggregator(setting)
    made = setting.submission()
    _greet(node, "analyst", {})
    _say(node, made.study, "analyst", setting.signed(made.invitation, made.study))
    ((header, _),) = [one for one in setting.link.sent if one[0]["type"] == "refused"]
    assert header["study"] == made.study
    assert f"the identity of kronoberg ended on {today() - DAY}" in header["words"]
    assert (node.status()["studies"], node._store.length(made.study)) == ([], 0)


def test_an_aggregator_goes_on_with_a_study_that_runs(setting: Setting) -> None:
    setting.roster = ending(setting.roster, kronoberg=today())
    node = _aggregator(setting)
    made = setting.submission()
    _greet(node, "analyst", {})
    _say(node, made.study, "analyst", setting.signed(made.invitation, made.study))
    over = ending(setting.roster, kronoberg=today() - DAY)
    node._roster = over  # as if a day had passed
    _greet(node, "kronoberg", {})
    setting.link.sent.clear()
    refusal = setting.signed(m.Refusal(words="no"), made.study, "kronoberg")
    _say(node, made.study, "kronoberg", refusal)
    assert setting.link.take("refused") == []
    assert node.status()["studies"][0]["outcome"] == "no"


def test_an_analyst_is_told_before_anybody_hears_of_its_study(tmp_path: Path) -> None:
    homes = federation(tmp_path, halland=today() - DAY)
    study, me = Study.load(study_file(tmp_path / "study")), standing(homes["analyst"])
    analyst = Analyst("analyst", me.home.identity, me.roster, me.addresses)
    with pytest.raises(NodeError, match=f"cannot be submitted: the identity of halland ended on {today() - DAY}; "):
        submit(study, analyst, tmp_path / "out", progress())
    assert not (tmp_path / "out/submission.key").exists()


@pytest.mark.parametrize("over", [True, False])
def test_an_invitation_that_was_not_taken_before_an_end_is_not_sent_after_it(over: bool, tmp_path: Path) -> None:
    homes = federation(tmp_path, kronoberg=today() + (-DAY if over else DAY))
    study, me = Study.load(study_file(tmp_path / "study")), standing(homes["analyst"])
    analyst = Analyst("analyst", me.home.identity, me.roster, me.addresses)
    submitted(study, analyst, tmp_path / "out")  # by a command that was stopped before the aggregator was reached
    says = Says(type="refused", words="no")
    with (
        answering(homes["aggregator"], me.roster, "127.0.0.1:0", says) as address,
        pytest.raises(NotTakenError) as caught,
    ):
        submit(study, replace(analyst, addresses=(address,)), tmp_path / "out", progress())
    assert says.asked == (0 if over else 1)
    if over:
        ended = f"the study was not submitted: the identity of kronoberg ended on {today() - DAY}; a new one is made"
        assert str(caught.value).startswith(ended)
    assert not (tmp_path / "out/submission.key").exists()  # the next try is a new study
