"""A study in which parties kill themselves again and again, each time at another moment, and are started again.

The test's side of `killing`: it starts the parties, sees each die, looks at what it left, and starts it again.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hefed.node.decision import Decision, Decisions
from hefed.node.identity import Identity
from hefed.node.parties import AGGREGATOR, ANALYST
from hefed.node.process import ROSTER, ProcessConfig
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.roster import Roster
from tests.node.killing import RESULT, Case, Plan, Strike, envelope_hash
from tests.node.runs import Run, Stored, assert_same_fit, environment, free_port, wait_for

SECONDS = 10.0
"""In which what was handed to the network has been stored at its other end."""


AFTERWARDS = 60.0
"""Seconds after the analyst's end in which everybody has died as planned, was started again and has ended too."""
HOST = "127.0.0.7"
"""Where the aggregator listens: no outgoing connection takes its port while it is away."""


@dataclass(frozen=True)
class Death:
    """What there was when a party had died: its own messages by key, its copy of the record, the analyst's files."""

    name: str
    strike: Strike
    sent: dict[str, Stored]
    record: list[Stored]
    files: dict[str, bytes]


def cases(kinds: dict[str, int | None], moments: tuple[str, ...]) -> list[Case]:
    """Every moment of every kind, in the round that goes with the kind."""
    return [Case(kind, number, moment) for kind, number in kinds.items() for moment in moments]


class Chain(Run):
    """A run whose parties die as planned, the analyst's command among them. `deaths` are in the order in which they
    were seen.
    """

    def __init__(
        self, study_path: Path, folder: Path, plans: dict[str, list[Case]], *, spoils: dict[str, str] | None = None
    ) -> None:
        """`spoils` names dishonest regions, and what each spoils."""
        super().__init__(study_path, folder / "parties", port=free_port())
        self.deaths: list[Death] = []
        self.ended: int | None = None
        self._decided, self._until = False, 0.0
        self._give_the_analyst_a_home()
        config = ProcessConfig.read(self.folder / AGGREGATOR)
        config.model_copy(update={"endpoint": config.endpoint.replace("127.0.0.1", HOST)}).write(
            self.folder / AGGREGATOR
        )
        self.plans = {name: Plan(folder / "plans" / name) for name in (AGGREGATOR, *self.study.members, ANALYST)}
        for name, plan in self.plans.items():
            study = str(study_path) if name == ANALYST else ""
            plan.write(plans.get(name, []), self.study.members, (spoils or {}).get(name, ""), study)

    def _give_the_analyst_a_home(self) -> None:
        home = self.folder / ANALYST
        home.mkdir(mode=0o700)
        old, analyst = self.parties.roster, Identity.create(home).member(ANALYST, ("analyst",))
        others = [member for member in old.members if member.name != ANALYST]
        self.parties.roster = Roster.of(old.federation, old.version, [*others, analyst])
        for name in (AGGREGATOR, *self.study.members, ANALYST):
            (self.folder / name / ROSTER).write_bytes(self.parties.roster.to_bytes())

    def launch(self, name: str) -> None:
        """Starts a party that will die as planned."""
        folder = self.folder / name
        with self.parties.log(name).open("ab") as log:
            self.parties.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.node.killing", str(folder), str(self.plans[name].folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment() | {"OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def start(self) -> None:
        """Starts everybody but the analyst, and waits until all are connected."""
        for name in (AGGREGATOR, *self.study.members):
            self.launch(name)
        wait_for(lambda: all("ready" in self.log(name) for name in self.study.members), 120)

    def run(self) -> Board:
        """Submits the study, and goes on until every planned death has happened and everybody has ended the study."""
        self.launch(ANALYST)
        self._until = time.monotonic() + self.study.security.deadline
        while not self._is_over():
            assert time.monotonic() < self._until, {name: plan.pending for name, plan in self.plans.items()}
            self._revive()
            self._approve()
            time.sleep(0.02)
        return self.board()

    def _approve(self) -> None:
        """Once the aggregator has a study, the people of every region approve it."""
        record = [] if self._decided else self.record(AGGREGATOR)
        if record:
            self._decided = True
            study = m.read_message(record[0].envelope, self.parties.roster).body.study
            for name in self.study.members:
                decisions = Decisions(self.folder / name, Identity.load(self.folder / name))
                decisions.write(Decision(study=study, answer="approved", at=time.time()))

    def _is_over(self) -> bool:
        planned = sum(len(plan.read()["cases"]) for plan in self.plans.values())
        keys = list(self.folder.glob("*/study-keys/*"))
        return self.ended is not None and len(self.deaths) == planned and not keys

    def _revive(self) -> None:
        """Starts again whoever has died, after a look at what it left."""
        for name, code in self.parties.ended().items():
            process = self.parties.processes.pop(name)
            assert process.stdin is not None
            process.stdin.close()
            if name == ANALYST and code != -signal.SIGKILL:
                self.ended, self._until = code, time.monotonic() + AFTERWARDS
                continue
            assert code == -signal.SIGKILL, f"{name} ended with {code}: {self.parties.last_words(name)}"
            strike = self.plans[name].strikes[-1]
            assert strike.pid == process.pid
            sent, record = ({}, []) if name == ANALYST else (self.sent(name), self.record(name))
            files = {path.name: path.read_bytes() for path in (self.folder / name / "out").glob("*")}
            death = Death(name, strike, sent, record, files)
            self._look(death)
            self.deaths.append(death)
            self.launch(name)

    # --- what there is at a death

    def _look(self, death: Death) -> None:
        """That it died at that moment, by what is on its disk and what the others have."""
        if death.name == AGGREGATOR:
            self._look_at_aggregator(death)
        elif death.name == ANALYST:
            self._look_at_analyst(death)
        else:
            own = {envelope_hash(stored.envelope) for stored in death.sent.values()}
            assert (death.strike.digest in own) == (death.strike.case.moment != "made"), death.strike
            self._look_what_arrived(death)

    def _look_what_arrived(self, death: Death) -> None:
        """What was made and not stored has reached nobody; neither has what was stored and not sent."""
        digest = death.strike.digest
        if death.strike.case.moment == "sent":
            wait_for(lambda: digest in self._known(AGGREGATOR) or self.plans[AGGREGATOR].pending, SECONDS)
        else:
            assert digest not in self._known(AGGREGATOR), death.strike

    def _look_at_analyst(self, death: Death) -> None:
        case, files = death.strike.case, set(death.files)
        if case.kind == RESULT:
            assert "submission.key" in files
            assert ("result.json" in files) == (case.moment == "stored")
        else:
            assert ("submission.key" in files) == (case.moment != "made")
            if case.moment == "sent":
                self._look_what_arrived(death)
            else:
                assert self.record(AGGREGATOR) == []

    def _look_at_aggregator(self, death: Death) -> None:
        moment, digest = death.strike.case.moment, death.strike.digest
        senders = {envelope_hash(stored.envelope): stored.sender for stored in death.record}
        assert (digest in senders) == (moment != "taken"), death.strike
        if moment in ("taken", "stored"):
            assert [name for name in self.study.members if digest in self._known(name)] == [], death.strike
        if moment == "told all":
            others = set(self.study.members) - {senders[digest]}  # who refused does not listen any more
            wait_for(lambda: all(digest in self._known(name) for name in others), SECONDS)

    def _known(self, name: str) -> set[str]:
        return {envelope_hash(stored.envelope) for stored in self.record(name)}

    # --- what must hold after all that

    def board(self) -> Board:
        """What follows from the aggregator's record."""
        messages = [m.read_message(stored.envelope, self.parties.roster) for stored in self.record(AGGREGATOR)]
        board = Board(self.parties.roster, messages[0].body.study)
        for message in messages:
            board.post(message)
        return board

    def assert_result(self, fit: dict[str, Any]) -> None:
        """The analyst has R's answer, and nothing more that would open it."""
        if any(death.strike.case == Case(RESULT, None, "stored") for death in self.deaths):
            assert self.ended == 2  # it was killed after it had written the result, and says that it is there
            assert "result.json is there already" in " ".join(self.log(ANALYST).split())
        else:
            assert self.ended == 0, self.log(ANALYST)
        assert not (self.folder / ANALYST / "out" / "submission.key").exists()
        result = json.loads((self.folder / ANALYST / "out" / "result.json").read_text())
        found = result["coefficients"]
        assert_same_fit(
            [one["estimate"] for one in found],
            [one["std_error"] for one in found],
            result["log_likelihood"],
            result["log_likelihood_null"],
            fit,
        )

    def assert_all_died_as_planned(self) -> None:
        """Every case happened once, and nothing else."""
        assert {name: plan.pending for name, plan in self.plans.items() if plan.pending} == {}
        for name, plan in self.plans.items():
            assert [death.strike for death in self.deaths if death.name == name] == plan.strikes

    def assert_nothing_that_was_stored_changed(self) -> None:
        """Byte for byte: what a party had sent, and what it knew of the record, at each of its deaths."""
        for death in self.deaths:
            if death.name == ANALYST:
                continue
            sent, record = self.sent(death.name), self.record(death.name)
            assert {key: sent[key] for key in death.sent} == death.sent, death.strike
            assert record[: len(death.record)] == death.record, death.strike

    def assert_one_message_left_under_each_key(self) -> None:
        """At the aggregator's socket: whoever sends under a kind, a round and a number sends the same bytes."""
        arrived = self.plans[AGGREGATOR].passed
        different = {(one.sender, one.number, one.kind, one.round, one.digest) for one in arrived}
        assert len(different) == len({(one.sender, one.number) for one in arrived})
        contributions = {(one.sender, one.round) for one in arrived if one.kind == "contribution"}
        assert len(contributions) == len([one for one in different if one[2] == "contribution"])
        for name in (*self.study.members, ANALYST):
            left = self.plans[name].passed
            assert len({(one.number, one.digest) for one in left}) == len({one.number for one in left})
            assert {one.digest for one in arrived if one.sender == name} <= {one.digest for one in left}

    def assert_everybody_knows_the_same_record(self) -> None:
        """Each member's copy is the aggregator's, as far as it goes."""
        envelopes = [stored.envelope for stored in self.record(AGGREGATOR)]
        for name in self.study.members:
            known = [stored.envelope for stored in self.record(name)]
            assert known == envelopes[: len(known)]

    def assert_every_departure_is_noted(self) -> None:
        """Of everything that left a region its database says when: it was sent then or, where the region was killed at
        that moment, it was in the record by then.
        """
        for name in self.study.members:
            with closing(sqlite3.connect(f"file:{self.folder / name / 'state.sqlite'}?mode=ro", uri=True)) as db:
                rows = db.execute(
                    "SELECT key, left_at, (SELECT at FROM entry WHERE entry.envelope = sent.envelope) FROM sent"
                ).fetchall()
            assert rows
            assert [key for key, left, seen in rows if left is None and seen is None] == [], name
