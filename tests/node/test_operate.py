"""From a home to a process: who may run it, and where it dials or listens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hefed.data.policy import Policy
from hefed.node import participation, region
from hefed.node.consent import Consent
from hefed.node.decision import Decisions
from hefed.node.errors import NodeError
from hefed.node.home import Home
from hefed.node.operate import run_node, standing
from hefed.node.store import Store
from hefed.protocol.errors import RosterError
from tests.node.homes import make_federation, make_roster, sign
from tests.node.test_region import Switch

REGIONS = ("halland", "kronoberg", "orebro")


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, Path]:
    return make_federation(tmp_path, REGIONS, ["agg.example.org:7100", "10.0.0.1:7101"])


def test_a_home_is_dialled_from_as_its_settings_say_or_else_as_the_roster_says(homes: dict[str, Path]) -> None:
    assert standing(homes["halland"]).addresses == ("agg.example.org:7100", "10.0.0.1:7101")
    (homes["halland"] / "settings.toml").write_text('[network]\naggregator = ["10.9.9.9:1"]\n')
    assert standing(homes["halland"]).addresses == ("10.9.9.9:1",)
    assert standing(homes["aggregator"]).bind == "*:7100"
    (homes["aggregator"] / "settings.toml").write_text('[network]\nbind = "10.0.0.1:7000"\n')
    assert standing(homes["aggregator"]).bind == "10.0.0.1:7000"


class MadeError(Exception):
    """Made with that many threads."""


def made(**options: Any) -> None:
    raise MadeError(options["threads"])


@pytest.mark.parametrize(("text", "threads"), [("", 1), ("[operation]\nthreads = 5\n", 5)])
def test_a_region_runs_with_as_many_threads_as_its_settings_say(
    text: str, threads: int, homes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the settings to each study, and from there to the machine that encrypts."""
    (homes["halland"] / "settings.toml").write_text(text)
    member, study = standing(homes["halland"]), bytes(32)
    store = Store(homes["halland"])
    store.add_study(study)
    store.commit()
    one = participation.Participation(
        name="halland", identity=member.home.identity, roster=member.roster, store=store,
        consent=Consent("halland", None, Policy(), Decisions(homes["halland"], member.home.identity)),
        study=study, threads=threads,
    )  # fmt: skip
    monkeypatch.setattr(participation, "Member", made)
    with pytest.raises(MadeError, match=f"^{threads}$"):
        one.decline("no")
    store.close()
    monkeypatch.setattr(region, "Participation", made)
    with pytest.raises(MadeError, match=f"^{threads}$"):
        run_node(member, Switch())  # type: ignore[arg-type]


def test_nobody_says_where(homes: dict[str, Path]) -> None:
    region, aggregator = standing(homes["halland"]), standing(homes["aggregator"])
    with pytest.raises(NodeError) as caught:
        _ = replace(region, roster=replace(region.roster, addresses=())).addresses
    assert str(caught.value) == (
        "the roster of Heart failure does not say where aggregator is dialled; make its next version with "
        f"--address HOST:PORT, or set [network] aggregator in {homes['halland'] / 'settings.toml'}"
    )
    with pytest.raises(NodeError) as caught:
        _ = replace(aggregator, roster=replace(aggregator.roster, addresses=())).bind
    assert str(caught.value) == (
        f"neither [network] bind in {homes['aggregator'] / 'settings.toml'} nor the roster says on which port to "
        "listen; set one"
    )


@pytest.mark.parametrize(
    ("who", "roles", "words"),
    [
        ("analyst", ("aggregator",), "as analyst, and not as aggregator"),
        ("halland", ("analyst",), "as contributor, keyholder, reader, and not as analyst"),
        ("aggregator", ("contributor", "reader"), "as aggregator, and not as contributor or reader"),
    ],
)
def test_a_command_is_for_those_of_its_role(
    who: str, roles: tuple[str, ...], words: str, homes: dict[str, Path]
) -> None:
    with pytest.raises(RosterError) as caught:
        standing(homes[who], *roles)  # type: ignore[arg-type]
    assert str(caught.value) == f"{who} is on the roster of Heart failure {words}"
    assert standing(homes[who]).me.name == who


def test_a_home_without_a_roster_or_none_at_all(tmp_path: Path) -> None:
    Home.init(tmp_path / "lund", "lund")
    with pytest.raises(NodeError) as caught:
        standing(tmp_path / "lund")
    assert str(caught.value) == (
        f"no roster is in force in {tmp_path / 'lund'}; sign one with all other members: "
        f"hefed federation join FILE.roster --home {tmp_path / 'lund'}"
    )
    with pytest.raises(NodeError, match=r"there is no folder .*/none; check the name, or make a home"):
        standing(tmp_path / "none")


def test_earlier_rosters_are_those_that_all_signed(homes: dict[str, Path]) -> None:
    assert standing(homes["halland"]).earlier == []
    made = {name: Home(folder) for name, folder in homes.items()}
    rosters = [standing(homes["halland"]).roster]
    for address in ("b:1", "c:1"):
        rosters.append(make_roster(made, address, old=rosters[-1]))
        if address == "b:1":
            sign(made, rosters[-1])
    assert standing(homes["halland"]).earlier == rosters[:1]
    sign(made, rosters[-1])
    assert sorted(standing(homes["halland"]).earlier, key=lambda one: one.version) == rosters[:2]
