"""Studies in sequence and at once for minutes, while processes are killed, stopped and cut off at random moments.

Every study must end with R's answer, every message must be sent once, and what processes and homes take up must be
level. Killing a process gives back all its memory, so one region is never killed, and the aggregator not in the first
half: what those take up is followed from study to study.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hefed.study import Study
from tests.node.runs import (
    COX,
    LOGISTIC,
    REGIONS,
    assert_same_fit,
    cox_reference,
    reference,
    study_file,
    to_submit,
    wait_for,
)
from tests.node.soaking import AGGREGATOR, ANALYST, Disturber, Federation, Submission, Taken, disk_of, slope

SEED = int(os.environ.get("HEFED_SOAK_SEED", "20261126"))
SPARED = "kronoberg"
IN_SEQUENCE, AT_ONCE, CALM = 20, 5, 3
LONGEST = 400.0
"""Seconds that a study may take on a machine with much else to do; bounds hanging only."""
GROWTH_MB, TREND_MB = 5.0, 0.15
"""Of a process's memory after the warm-up: in all, and a study."""
ENVELOPES = 250_000
"""Bytes of a small study's signed messages at a member; they are kept for ten years."""


@dataclass
class Soak:
    """What is left to look at after the soak."""

    federation: Federation
    studies: dict[str, Path]
    results: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    taken: dict[int, list[Taken]] = field(default_factory=lambda: defaultdict(list))
    """Of each process by its number, after each study that it has served."""
    before: dict[str, Taken] = field(default_factory=dict)
    middle: dict[str, Taken] = field(default_factory=dict)
    after: dict[str, Taken] = field(default_factory=dict)
    kept_before: dict[str, int] = field(default_factory=dict)
    held: list[dict[str, int]] = field(default_factory=list)
    """Of the region that is never killed: while a study runs, and in the end."""
    compared: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def submit(self) -> Submission:
        """Begins the next study, of one model and of the other in turn."""
        number = len(list(self.federation.folder.glob("run-*")))
        kind = list(self.studies)[number % len(self.studies)]
        out = self.federation.folder / f"run-{number}-{kind}"
        out.mkdir(mode=0o700)
        return Submission(self.federation, self.studies[kind], out)

    def finish(self, submission: Submission) -> None:
        """Waits for a study's result and looks at what everybody has then."""
        submission.wait(LONGEST)
        self.federation.assert_alive()
        kind = submission.out.name.rpartition("-")[2]
        self.results.append((kind, json.loads((submission.out / "result.json").read_text())))
        self.compared += assert_every_message_was_sent_once(self.federation)
        for taken in self.federation.taken().values():
            self.taken[taken.pid].append(taken)

    def in_sequence(self, count: int, disturber: Disturber | None = None) -> None:
        """Studies one after another."""
        for _ in range(count):
            submission = self.submit()
            if disturber:
                disturber.attack([submission])
            self.finish(submission)

    def at_once(self, count: int, disturber: Disturber | None = None) -> None:
        """Studies at once, of one analyst."""
        submissions = [self.submit() for _ in range(count)]
        if disturber:
            disturber.attack(submissions)
        for submission in submissions:
            self.finish(submission)


def assert_every_message_was_sent_once(federation: Federation) -> int:
    """What the aggregator has of a region is, byte for byte and in order, what that stored before it sent it; and what
    a region has of the record is what the aggregator has. Returns how many messages were compared with attachments.
    """
    compared = 0
    select = "SELECT study, number, sender, envelope FROM entry ORDER BY study, number"
    rows = federation.rows(AGGREGATOR, select)
    relayed = {(study, number): (sender, envelope) for study, number, sender, envelope in rows}
    attached = _attachments(federation, AGGREGATOR, "attachment")
    for name in REGIONS:
        by_study: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        for (study, number), (sender, envelope) in relayed.items():
            if sender == name:
                by_study[study].append((number, envelope))
        stored: dict[bytes, list[bytes]] = defaultdict(list)
        for study, envelope in federation.rows(name, "SELECT study, envelope FROM sent ORDER BY study, number"):
            stored[study].append(envelope)
        sent = _attachments(federation, name, "sent_attachment")
        assert by_study
        for study, messages in by_study.items():
            assert [envelope for _, envelope in messages] == stored[study][: len(messages)]
            assert len(set(stored[study])) == len(stored[study])
            for place, (number, _) in enumerate(messages):
                if (study, number) in attached and (study, place) in sent:
                    assert attached[study, number] == sent[study, place]
                    compared += 1
        for study, number, sender, envelope in federation.rows(name, select):
            assert relayed.get((study, number), (sender, envelope)) == (sender, envelope)
    return compared


def _attachments(federation: Federation, name: str, table: str) -> dict[tuple[bytes, int], list[bytes]]:
    found: dict[tuple[bytes, int], list[bytes]] = defaultdict(list)
    statement = f"SELECT study, number, data FROM {table} ORDER BY study, number, position"  # noqa: S608
    for study, number, data in federation.rows(name, statement):
        found[study, number].append(data)
    return found


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    """A federation that has gone through all that."""
    folder = tmp_path_factory.mktemp("soak")
    security, limits = 'deadline = "15 min"', 'wait = "6 s"'
    studies = {
        kind: study_file(folder / kind, example, security=security, limits=limits)
        for kind, example in (("cox", COX), ("logistic", LOGISTIC))
    }
    for path in studies.values():
        path.write_text(to_submit(path.read_text()))
    began = time.monotonic()
    with Federation(folder / "homes", [Study.load(path) for path in studies.values()]) as federation:
        soak = Soak(federation, studies)
        soak.at_once(AT_ONCE)  # the most that they ever have to do at the same time
        soak.in_sequence(CALM)
        soak.before = federation.taken_in_rest()
        soak.kept_before = {name: federation.kept(name) for name in federation.names}
        others = [name for name in REGIONS if name != SPARED]
        with Disturber(federation, SEED, killed=others) as first:
            soak.in_sequence(IN_SEQUENCE // 2, first)
        soak.middle = federation.taken()
        with Disturber(federation, SEED + 1, killed=[AGGREGATOR, *others]) as second:
            soak.in_sequence(IN_SEQUENCE - IN_SEQUENCE // 2, second)
            soak.at_once(AT_ONCE, second)
        running = soak.submit()
        wait_for(lambda: federation.contributes(SPARED), LONGEST)
        soak.held.append(federation.held(SPARED))
        soak.finish(running)
        soak.in_sequence(CALM - 1)
        soak.after = federation.taken_in_rest()
        soak.held.append(federation.held(SPARED))
        soak.counts = dict(first.counts + second.counts)
        soak.seconds = time.monotonic() - began
        yield soak


def test_every_study_ended_with_the_references_answer(soak: Soak) -> None:
    fits = {"cox": cox_reference(), "logistic": reference(LOGISTIC)}
    assert len(soak.results) == AT_ONCE + CALM + IN_SEQUENCE + AT_ONCE + CALM
    for kind, result in soak.results:
        by_name = result["coefficients"]
        assert_same_fit(
            [one["estimate"] for one in by_name],
            [one["std_error"] for one in by_name],
            result["log_likelihood"],
            result["log_likelihood_null"],
            fits[kind],
        )


def test_every_message_was_sent_once_as_it_was_stored(soak: Soak) -> None:
    assert_every_message_was_sent_once(soak.federation)
    assert soak.compared > 100 * len(soak.results)  # in the course of it, with their ciphertexts


def test_enough_went_wrong(soak: Soak) -> None:
    assert sum(count for what, count in soak.counts.items() if what.startswith("kills of ")) >= 10
    assert soak.counts["kills of aggregator"] >= 2
    assert soak.counts["kills of submissions"] >= 2
    assert soak.counts["cuts"] >= 10
    assert soak.counts["stops"] >= 5
    assert soak.before[SPARED].pid == soak.after[SPARED].pid
    assert soak.before[AGGREGATOR].pid == soak.middle[AGGREGATOR].pid != soak.after[AGGREGATOR].pid


def test_memory_is_level(soak: Soak) -> None:
    for name, before in soak.before.items():
        after = [soak.middle[name], soak.after[name]]
        assert max(one.resident for one in after) - before.resident < GROWTH_MB * 1024, (name, before, after)
    for name, series in _series(soak).items():
        assert len(series) >= IN_SEQUENCE // 2
        for values in ([one.resident for one in series], [one.anonymous for one in series]):
            assert slope(values) < TREND_MB * 1024, (name, values)


def _series(soak: Soak) -> dict[str, list[Taken]]:
    """What those took up after each study after the warm-up who were not killed meanwhile."""
    return {name: soak.taken[soak.before[name].pid][AT_ONCE + CALM :] for name in (SPARED, AGGREGATOR)}


def test_a_region_holds_nothing_of_a_study_that_has_ended(soak: Soak) -> None:
    assert soak.held[0]["ContributorKey"] >= 1  # while one runs
    assert soak.held[0]["StudyVault"] >= 1
    assert soak.held[1] == {}


def test_open_files_and_threads_are_level(soak: Soak) -> None:
    for name, before in soak.before.items():
        after = soak.after[name]
        assert (after.files, after.threads) == (before.files, before.threads), name


def test_the_disk_holds_the_signed_messages_and_nothing_else_of_a_study(soak: Soak) -> None:
    for name in soak.federation.names:
        messages = soak.federation.kept(name) - soak.kept_before[name]
        growth = soak.after[name].disk - soak.before[name].disk
        studies = IN_SEQUENCE + AT_ONCE + CALM
        assert messages < studies * ENVELOPES
        assert growth < 1.6 * messages + 300_000, (name, growth, messages)
        assert not list(soak.federation.home(name).glob("study-keys/*"))
    assert not list(soak.federation.folder.glob("run-*/submission.key"))
    assert disk_of(soak.federation.home(ANALYST)) < 10_000


def test_what_happened_is_said(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    happened = ", ".join(f"{count} {what}" for what, count in sorted(soak.counts.items()))
    grown = soak.after[SPARED]
    memory = {name: slope([one.resident for one in series]) for name, series in _series(soak).items()}
    with capsys.disabled():
        print(
            f"\nsoak: {len(soak.results)} studies in {soak.seconds:.0f} s, seed {SEED}: {happened}; {SPARED}: "
            f"{(grown.resident - soak.before[SPARED].resident) / 1024:+.1f} MB, "
            f"{grown.files - soak.before[SPARED].files:+d} files; a study: "
            + ", ".join(f"{name} {value / 1024:+.2f} MB" for name, value in memory.items())
            + f", {(grown.disk - soak.before[SPARED].disk) / 1024 / (IN_SEQUENCE + AT_ONCE + CALM):.0f} kB on disk"
        )
