"""A study goes on under the roster that it began under, while all who have a part in it are listed as they were."""

import time
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from hefed.node.home import Home
from hefed.node.invited import Invitations
from hefed.node.rosters import Rosters
from hefed.node.store import Store
from hefed.protocol import messages as m
from hefed.protocol.roster import Roster
from hefed.study import Study
from tests.node.asking import EVERYTHING, Asked, ask, changed, identities_of, roster_of
from tests.node.homes import FEDERATION, make_roster, sign
from tests.node.runs import EXAMPLES, free_port, started

COX = Study.load(EXAMPLES / "heart-failure" / "cox.toml")
AGAIN = "restart what still runs with that, hefed aggregator before hefed node, and then submit the study again"


@pytest.fixture
def asked() -> Asked:
    """A study among the three regions of the example, a fourth one, and a second analyst."""
    identities = identities_of(COX, "skane", "other")
    return ask(COX, among=(identities, roster_of(identities, skane=("keyholder",), other=("analyst",))))


def stored(folder: Path, asked: Asked) -> Store:
    store = Store(folder)
    store.add_study(asked.study)
    store.append(asked.study, 0, asked.invitation, time.time(), ())
    store.commit()
    return store


def newer(asked: Asked, **changes: object) -> Roster:
    return replace(asked.roster, version=2, **changes)


def without(asked: Asked, name: str) -> Roster:
    return newer(asked, members=tuple(one for one in asked.roster.members if one.name != name))


def with_other(asked: Asked, name: str, **changes: object) -> Roster:
    members = tuple(replace(one, **changes) if one.name == name else one for one in asked.roster.members)
    return newer(asked, members=members)


def words(asked: Asked, now: Roster, folder: Path) -> str | None:
    return Rosters("halland", now, [asked.roster]).changed(stored(folder, asked), asked.study)


def test_what_does_not_touch_a_study_does_not_end_it(asked: Asked, tmp_path: Path) -> None:
    for number, now in enumerate(
        (
            asked.roster,
            newer(asked),
            newer(asked, addresses=("agg:1",)),
            newer(asked, least_min_contributors=4),
            without(asked, "skane"),
            without(asked, "other"),
            with_other(asked, "skane", roles=EVERYTHING),
        )
    ):
        assert words(asked, now, tmp_path / str(number)) is None, number


@pytest.mark.parametrize("name", ["aggregator", "analyst", "halland", "kronoberg", "orebro"])
@pytest.mark.parametrize("key", ["identity", "transport"])
def test_another_key_of_a_member_ends_its_studies(name: str, key: str, asked: Asked, tmp_path: Path) -> None:
    assert words(asked, with_other(asked, name, **{key: bytes(range(32))}), tmp_path) == (
        f"version 2 of the roster is in force at halland, and {name} changed since version 1; {AGAIN}"
    )


def test_a_member_that_left_or_has_other_roles_ends_its_studies(asked: Asked, tmp_path: Path) -> None:
    for number, (name, now) in enumerate(
        [
            ("orebro", without(asked, "orebro")),
            ("orebro", with_other(asked, "orebro", roles=("contributor", "reader"))),
            ("kronoberg", with_other(asked, "kronoberg", roles=("contributor", "keyholder"))),
            ("analyst", without(asked, "analyst")),
        ]
    ):
        assert words(asked, now, tmp_path / str(number)) == (
            f"version 2 of the roster is in force at halland, and {name} changed since version 1; {AGAIN}"
        )
    both = replace(without(asked, "orebro"), version=3)
    both = replace(both, members=tuple(one for one in both.members if one.name != "analyst"))
    assert words(asked, both, tmp_path / "both") == (
        f"version 3 of the roster is in force at halland, and analyst, orebro changed since version 1; {AGAIN}"
    )


@pytest.mark.parametrize("name", ["skane", "orebro"])
def test_a_mere_keyholder_or_reader_counts_too(name: str, asked: Asked, tmp_path: Path) -> None:
    text = (EXAMPLES / "heart-failure" / "cox.toml").read_text()
    roles = "[security]\nkeyholders = ['halland', 'kronoberg', 'skane']\n"
    study = changed(text.replace("[security]\n", roles, 1), "[regions.halland]", "[regions.skane]\n[regions.halland]",
                    tmp_path)  # fmt: skip
    here = ask(study, among=(asked.identities, asked.roster))
    assert name in study.members
    assert words(here, without(asked, name), tmp_path / "state") == (
        f"version 2 of the roster is in force at halland, and {name} changed since version 1; {AGAIN}"
    )


def test_each_study_keeps_the_roster_that_it_began_under(asked: Asked, tmp_path: Path) -> None:
    first, second = asked.roster, newer(asked)
    later = ask(COX, among=(asked.identities, second))
    store = stored(tmp_path, asked)
    store.add_study(later.study)
    store.append(later.study, 0, later.invitation, time.time(), ())
    rosters = Rosters("halland", second, [first])
    assert rosters.of(store, asked.study) == first
    assert rosters.of(store, later.study) == second
    assert rosters.of(store, bytes(32)) == second
    forgotten = Rosters("halland", second)
    assert forgotten.of(store, asked.study) == second  # its board then says that the study is of another version
    assert forgotten.changed(store, asked.study) is None


def test_a_definition_that_is_none_does_not_keep_a_node_from_starting(asked: Asked, tmp_path: Path) -> None:
    """It is stored before it is understood, and a restart under the next roster comes across it."""
    for number, definition in enumerate(({}, {"security": 1}, {**COX.public(), "contributors": ["nobody-known"]})):
        invitation = asked.submission.invitation.model_copy(update={"definition": definition})
        study = m.study_hash(invitation, "analyst")
        message = asked.identities["analyst"].signer.sign(
            invitation, federation="test", study=study, sender="analyst", previous=m.ZERO_HASH
        )
        store = Store(tmp_path / str(number))
        store.add_study(study)
        store.append(study, 0, message, time.time(), ())
        assert Rosters("halland", newer(asked), [asked.roster]).changed(store, study) is None


# --- People and processes ---------------------------------------------------------------------------


def test_people_can_decide_on_a_study_that_began_under_the_last_roster(asked: Asked, tmp_path: Path) -> None:
    stored(tmp_path, asked).close()
    now = newer(asked)
    found = Invitations(tmp_path, now, [asked.roster]).running(COX.id)
    assert found.study == asked.study
    assert found.board.roster == asked.roster
    assert Invitations(tmp_path, now).all == []  # the control: nobody knows that roster


def test_an_aggregator_goes_on_with_a_study_of_the_last_roster(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    homes = {name: Home.init(tmp_path / name, name) for name in ("aggregator", "analyst", "other", *COX.members)}
    first = make_roster(homes, address, roles={"other": "keyholder"})
    sign(homes, first)
    asked = ask(COX, among=({name: home.identity for name, home in homes.items()}, first))
    assert asked.roster.federation == FEDERATION
    stored(tmp_path / "aggregator", asked).close()
    sign(homes, make_roster(homes, address, old=first, roles={"other": "reader"}))
    with started("aggregator", "--home", tmp_path / "aggregator") as process:
        assert process.stderr is not None
        said = list(takewhile(lambda line: "listens on" not in line, process.stderr))
    assert any(f"took up study {asked.study.hex()[:8]} again in phase approval" in line for line in said), said
    store = Store(tmp_path / "aggregator")
    assert store.running() == [asked.study]
    assert store.length(asked.study) == 1
