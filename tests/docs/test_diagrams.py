"""The pictures of the protocol are those of the code as it is now."""

import re

import pytest

from hefed.protocol.member import DUTIES
from hefed.protocol.rules import RULES, Phase
from protocols import diagrams


def test_the_committed_pictures_are_what_the_code_draws_now():
    committed = diagrams.TARGET.read_text(encoding="utf-8")
    assert committed == diagrams.draw(), "run: python -m protocols.diagrams"


def section(name):
    return diagrams.draw().split(f"## {name}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("kind", RULES)
def test_every_kind_is_in_each_picture_and_in_the_table(kind):
    for name in ("Phases", "Messages", "Table"):
        assert re.search(rf"\b{kind}\b", section(name)), f"{kind} is not in {name}"


def test_every_phase_is_reached_in_the_picture_of_phases():
    arrows = set(re.findall(r"--> ([a-z]+):", section("Phases")))
    assert arrows == {str(phase) for phase in Phase} - {Phase.INVITATION}


def test_what_members_send_of_their_own_accord_is_allowed_by_the_rules():
    """The two tables do not contradict each other: whoever has a duty may send that kind in that phase."""
    for duty in DUTIES:
        rule = RULES[duty.kind]
        assert duty.role == rule.sender
        assert duty.phase in rule.phases


def test_another_table_draws_another_picture(monkeypatch):
    before = diagrams.draw()
    monkeypatch.delitem(RULES, "complaint")
    assert diagrams.draw() != before
