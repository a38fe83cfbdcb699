"""Draws a study from the tables that the programs follow: `python -m protocols.diagrams` writes `diagrams.md`.

Relies on `RULES` (what may come next, `hefed.protocol.rules`) and `DUTIES` (what a member sends of its own accord,
`hefed.protocol.member`) alone, so that a picture cannot say what the code does not do; and on the pages for where a
kind is specified. Diagrams are Mermaid text. It must not hold a phase, a sender or a kind of its own.
"""

from pathlib import Path

from hefed.protocol.member import DUTIES
from hefed.protocol.rules import RULES, RUNNING, Phase, Rule

TARGET = Path(__file__).with_name("diagrams.md")
PAGES = tuple(TARGET.with_name(f"{name}.md") for name in ("invitation", "dealing", "round", "closing"))
"""Where kinds of messages are specified, each in bold once."""

ANALYST, AGGREGATOR, EVERYBODY = "analyst", "aggregator", "everybody"

ONCE = {duty.kind: duty.once for duty in DUTIES}

HEAD = """\
# Diagrams

Drawn by `python -m protocols.diagrams` from the tables `RULES` in `hefed/protocol/rules.py` and `DUTIES` in
`hefed/protocol/member.py`. Do not edit; a test compares. What each message says and what is
checked about it is on the page that the table names.
"""

STATES = """\
## Phases

An arrow is a kind of message and who sends it. An arrow from one phase to another is taken once the message completes
the phase: a `deal`, a `cohort` or a `closing` when all of its senders have sent one, any other message at once.
"""

FLOW = """\
## Messages

Every message goes to the aggregator, which puts it into the one record of the study and relays it to everybody; the
arrows back are left out. The aggregator's own messages go into the same record.
"""

TABLE = """\
## Table

`once`: how often a member sends it of its own accord. `late`: taken without effect when its phase has passed.
"""


def draw() -> str:
    """The whole of diagrams.md."""
    parts = [HEAD, STATES, _fenced(_states()), FLOW, _fenced(_flow()), TABLE, "\n".join(_table()) + "\n"]
    return "\n".join(parts)


def _fenced(lines: list[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```", ""])


def _in_every_phase(rule: Rule) -> bool:
    return rule.phases == RUNNING


def _states() -> list[str]:
    first, last = next(iter(Phase)), Phase.ENDED
    lines = ["stateDiagram-v2", "    direction LR", f"    [*] --> {first}", '    state "running" as running {']
    inner, outer = [], []
    for rule in RULES.values():
        label = f"{rule.kind} ({rule.sender})"
        if _in_every_phase(rule):
            outer.append(f"    running --> {rule.then}: {label}")
            continue
        for phase in rule.phases:
            then = rule.then or phase
            within = phase in RUNNING and then in RUNNING
            (inner if within else outer).append(f"    {phase} --> {then}: {label}")
    return [*lines, *(f"    {line}" for line in inner), "    }", *outer, f"    {last} --> [*]"]


def _flow() -> list[str]:
    """RULES stand in the order of a study; what a round repeats is between its first message and its last."""
    lines = ["sequenceDiagram"]
    lines += [f"    participant {party}" for party in _parties()]
    lines.append(f"    participant {EVERYBODY}")
    ordinary = [rule for rule in RULES.values() if not _in_every_phase(rule)]
    repeated = [rule for rule in ordinary if _is_of_a_round(rule)]
    for rule in ordinary:
        if rule is repeated[0]:
            lines.append("    loop every round, the known answer first")
        indent = "    " * (2 if rule in repeated else 1)
        lines.append(indent + _arrow(rule))
        if rule is repeated[-1]:
            lines.append("    end")
    anytime = ", ".join(f"{rule.kind} ({rule.sender})" for rule in RULES.values() if _in_every_phase(rule))
    return [*lines, f"    Note over {ANALYST},{EVERYBODY}: at any time instead: {anytime}"]


def _parties() -> list[str]:
    order = [rule.sender for rule in RULES.values()]
    return [*dict.fromkeys([ANALYST, AGGREGATOR, *order])]


def _is_of_a_round(rule: Rule) -> bool:
    return rule.then is not Phase.ENDED and bool({Phase.CONTRIBUTION, Phase.OPENING} & set(rule.phases))


def _arrow(rule: Rule) -> str:
    if rule.sender == AGGREGATOR:
        return f"{AGGREGATOR}->>{EVERYBODY}: {rule.kind}"
    instead = " (study ends)" if rule.then is Phase.ENDED and rule.kind not in ONCE else ""
    return f"{rule.sender}->>{AGGREGATOR}: {rule.kind}{instead}"


def _table() -> list[str]:
    lines = ["| kind | sender | in phase | then | once a | late | page |", "|---|---|---|---|---|---|---|"]
    for rule in RULES.values():
        phases = "any from approval on" if _in_every_phase(rule) else ", ".join(rule.phases)
        late = "yes" if rule.late else ""
        lines.append(
            f"| `{rule.kind}` | {rule.sender} | {phases} | {rule.then or ''} | {ONCE.get(rule.kind, '')} | {late} "
            f"| {_page(rule.kind)} |"
        )
    return lines


def _page(kind: str) -> str:
    """The link to the one page that specifies a kind. Raises ValueError when there is none or another."""
    (page,) = (page.name for page in PAGES if f"**`{kind}`**" in page.read_text(encoding="utf-8"))
    return f"[{page}]({page})"


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
