"""However `hefed simulate` ends, no process stays behind and no secret is left in a file."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hefed.node.errors import StudyFailedError
from hefed.node.parties import Parties
from hefed.node.simulate import run
from hefed.report.progress import Progress
from hefed.report.table import console
from hefed.study import Study
from tests.node.runs import (
    hefed,
    parties_in,
    processes_of,
    read_until,
    secret_files,
    started,
    study_file,
    wait_for,
)


def _nothing_is_left(folder: Path) -> bool:
    return not processes_of(folder) and not secret_files(folder)


def _is_locked(folder: Path) -> bool:
    inode = (folder / "lock").stat().st_ino
    return any(f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    """The example study; what a test that failed leaves running is ended after it."""
    yield study_file(tmp_path)
    for number in processes_of(tmp_path):
        os.kill(number, signal.SIGKILL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + 15)], ids=str)
def test_a_signal_in_the_middle_of_a_study_ends_everything(study: Path, number: int, code: int) -> None:
    out = study.parent / "out"
    with started("simulate", study, "--out", out) as process:
        read_until(process, "round 1")
        held = parties_in(out)["halland"]
        os.kill(held, signal.SIGSTOP)  # so that the study does not end before the signal comes
        assert len(parties_in(out)) == 4
        assert len(secret_files(out)) == 4 + 3  # identities and study keys
        process.send_signal(number)
        os.kill(held, signal.SIGCONT)
        said, _ = process.communicate(timeout=15)
        assert _nothing_is_left(out)  # at once: simulate itself waited for its parties
    assert process.returncode == code
    assert "Traceback" not in said
    assert not (out / "result.json").exists()


def test_a_second_simulation_is_kept_out_of_the_folder_and_a_closed_terminal_ends_the_first(study: Path) -> None:
    out = study.parent / "out"
    with started("simulate", study, "--out", out) as process:
        wait_for(lambda: len(parties_in(out)) == 4)
        second = hefed("simulate", study, "--out", out)
        assert (second.code, second.out) == (2, "")
        assert second.err == f"hefed: {out / 'parties'} is in use by another hefed process; stop that one first\n"
        assert len(parties_in(out)) == 4
        assert len(secret_files(out)) >= 4
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=15)
        assert _nothing_is_left(out)
    assert process.returncode == 128 + 1


def test_when_simulate_is_killed_its_parties_end_by_themselves_and_destroy_their_secrets(study: Path) -> None:
    out = study.parent / "out"
    with started("simulate", study, "--out", out) as process:
        read_until(process, "round 3")
        assert len(parties_in(out)) == 4
        assert len(secret_files(out)) == 4 + 3
        process.kill()
        process.communicate()
        wait_for(lambda: _nothing_is_left(out), 10)


def test_when_simulate_is_killed_while_its_parties_start_they_end_too(study: Path) -> None:
    out = study.parent / "out"
    with started("simulate", study, "--out", out) as process:
        wait_for(lambda: len(parties_in(out)) == 4)
        process.kill()
        process.communicate()
        wait_for(lambda: _nothing_is_left(out), 15)
        assert not list(out.glob("parties/*/state.sqlite")) or not secret_files(out)


def test_a_folder_whose_simulation_was_killed_can_be_used_again_at_once(study: Path) -> None:
    out = study.parent / "out"
    with started("simulate", study, "--out", out) as process:
        read_until(process, "round 1")
        parties = parties_in(out)
        os.kill(parties["orebro"], signal.SIGSTOP)  # one that takes its time to end
        process.kill()
        process.communicate()
        wait_for(lambda: set(parties_in(out)) == {"orebro"})
        with started("simulate", study, "--out", out) as again:
            wait_for(lambda: _is_locked(out / "parties"))
            assert set(parties_in(out)) == {"orebro"}
            os.kill(parties["orebro"], signal.SIGCONT)
            read_until(again, "regions read their tables")
            assert set(parties_in(out)) == {"aggregator", "halland", "kronoberg", "orebro"}
            assert parties["orebro"] != parties_in(out)["orebro"]
            again.terminate()
            again.communicate(timeout=15)
            assert _nothing_is_left(out)


def test_simulate_says_whose_process_has_ended_and_ends_when_it_is_the_aggregators(study: Path) -> None:
    out = study.parent / "out"
    with started("simulate", study, "--out", out) as process:
        read_until(process, "round 2")
        os.kill(parties_in(out)["orebro"], signal.SIGKILL)
        read_until(process, "the process of orebro has ended (signal 9)")
        assert process.poll() is None  # it may come back: the study waits for it
        os.kill(parties_in(out)["aggregator"], signal.SIGKILL)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("hefed: the aggregator has stopped: ")
    assert _nothing_is_left(out)


def test_the_last_sentence_names_the_process_that_the_study_waited_for_in_vain(study: Path) -> None:
    study = study_file(study.parent, security='deadline = "40 s"')
    out = study.parent / "out"
    with started("simulate", study, "--out", out) as process:
        read_until(process, "round 2")
        os.kill(parties_in(out)["orebro"], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    sentence = err.splitlines()[-1]
    assert "the study's time is over ([security] deadline); in round " in sentence
    assert sentence.endswith(f"the process of orebro has ended (signal 9); see {out / 'parties/orebro/log.txt'}")
    assert _nothing_is_left(out)


def test_a_region_that_cannot_start_is_not_waited_for(study: Path) -> None:
    out = study.parent / "out"

    def spoil(parties: Parties) -> None:
        (out / "parties/orebro/identity.key").chmod(0o644)

    begun = time.monotonic()
    with pytest.raises(StudyFailedError) as failed, Progress(console(stderr=True)) as progress:
        run(Study.load(study), out, progress, ready=spoil)
    assert time.monotonic() - begun < 40
    assert str(failed.value).startswith("orebro cannot take part: ")
    assert "chmod 600" in str(failed.value)
    assert failed.value.refused


def test_what_a_region_says_against_its_part_reaches_the_analyst_in_its_own_words(study: Path) -> None:
    out = study.parent / "out"
    table = study.parent / "halland.csv"
    with pytest.raises(StudyFailedError) as failed, Progress(console(stderr=True)) as progress:
        run(Study.load(study), out, progress, ready=lambda parties: table.unlink())  # right when it was checked
    assert str(failed.value) == "region halland: there is no file halland.csv where it should be; check the path"
    assert failed.value.refused  # so that the command ends with code 2
    assert _nothing_is_left(out)
