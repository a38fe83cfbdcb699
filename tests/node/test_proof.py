"""A result's file proves what its readers opened and signed; whatever else it says is refused."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.crypto import packing
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.parameters import PRECISE
from hefed.node import proof
from hefed.node.proof import NotProvedError, Proof, audit, verify
from hefed.node.transcripts import opened
from hefed.protocol import messages as m
from hefed.protocol.coordinator import Entry
from hefed.protocol.result_file import ResultWriter
from hefed.protocol.transcript import Head
from tests.protocol.conftest import study_file
from tests.protocol.federation import EXAMPLES, NOW, Federation
from tests.protocol.transcripts import frames, signing, written

REGIONS = ("halland", "kronoberg", "orebro")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """A federation that has finished a small study."""
    federation = Federation(study_file(tmp_path_factory.mktemp("proof") / "study.toml", university=False))
    federation.run()
    return federation


def result_of(
    federation: Federation,
    *,
    entries: Sequence[Entry] | None = None,
    opened: dict[int, bytes] | None = None,
    published: bool = False,
    **other: Any,
) -> bytes:
    """A result's file as halland can write it, whose keys are its own; `other` is what it says otherwise."""
    entries = federation.log if entries is None else entries
    opened = federation.parties["halland"].opened if opened is None else opened
    found = {"outcome": "result", "document": {}, "decided": bytes(32), **honest(federation), **other}
    file = BytesIO()
    writer = ResultWriter(file, Head("halland", federation.submission.study, federation.roster))
    for number, entry in enumerate(entries):
        is_sum = entry.message.body.kind == "sum"
        writer.add(number, NOW, entry.message, entry.attachments if is_sum else ())
    add_sums(writer, opened, published)
    writer.add_found(**found, versions=proof.versions())
    writer.finish(signing(federation.signers["halland"]))
    return file.getvalue()


def add_sums(writer: ResultWriter, opened: dict[int, bytes], published: bool) -> None:
    """All sums, or the hash of the last one."""
    if published:
        writer.add_hashed(tagged_hash("opened", list(opened.values())[-1]))
    else:
        for number, packed in opened.items():
            writer.add_opened(number, packed)


def honest(federation: Federation) -> dict[str, Any]:
    """What follows from the sums that were opened."""
    sums = {
        entry.message.content.round: entry.attachments  # type: ignore[attr-defined]
        for entry in federation.log
        if entry.message.body.kind == "sum"
    }
    again = proof._taken_again(federation.board, sums, list(federation.parties["halland"].opened.values()))
    return {"outcome": again.finding.outcome, "document": again.finding.document, "decided": again.decided}


def verified(data: bytes) -> Proof:
    return verify(BytesIO(data))


def refused(data: bytes) -> str:
    """Why a file proves nothing."""
    with pytest.raises(NotProvedError) as error:
        verified(data)
    return str(error.value)


def changed(packed: bytes) -> bytes:
    """The same with the first value one more."""
    profile = PRECISE
    values = 8 * len(packed) // profile.bits_per_value
    residues = packing.residue_array(profile, values)
    packing.add_packed(profile, packing.checked(profile, packed, values), values, residues)
    residues[:, 0] = (residues[:, 0] + 1) % np.array(profile.primes)
    return packing.pack_array(profile, residues, values)


BOTH = pytest.mark.parametrize("published", [False, True], ids=["full", "published"])


# --- what is so -----------------------------------------------------------------------------------


def test_the_result_follows_from_what_readers_opened_and_signed(finished: Federation) -> None:
    shown = verified(result_of(finished))
    assert shown.reader.is_full
    assert shown.reader.document == finished.finding().document
    assert any("every step was taken again" in words for words in shown.proved)
    assert all("halland, kronoberg, orebro" in words for words in shown.proved[:3])


def test_the_published_form_proves_the_same_result_without_the_sums(finished: Federation) -> None:
    data = result_of(finished, published=True)
    shown = verified(data)
    assert not shown.reader.is_full
    assert shown.reader.document == finished.finding().document
    assert "on the word of each of halland, kronoberg, orebro" in shown.taken[0]
    opened = finished.parties["halland"].opened.values()
    assert not any(packed[16:48] in data for packed in opened)
    full = result_of(finished)
    assert all(packed[16:48] in full for packed in opened)  # the control


def test_every_reader_has_the_same_sums(finished: Federation) -> None:
    kept = [finished.parties[name].opened for name in REGIONS]
    assert kept[0] == kept[1] == kept[2]
    assert list(kept[0]) == list(range(len(finished.board.rounds) - 1))


def with_a_constant_column(tmp_path: Path) -> Federation:
    """A federation whose study ends with an error that all readers find: one covariate is the same for all patients."""
    tables = {}
    for name in REGIONS:
        table = pd.read_csv(EXAMPLES / "heart-failure" / f"{name}.csv").assign(age=60)
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        tables[name] = tmp_path / f"{name}.csv"
    federation = Federation(study_file(tmp_path / "study.toml", university=False), **tables)
    federation.run()
    return federation


@BOTH
def test_an_error_that_all_readers_found_is_proved_too(published: bool, tmp_path: Path) -> None:
    federation = with_a_constant_column(tmp_path)
    shown = verified(result_of(federation, published=published))
    assert shown.reader.outcome == "error"
    assert "age" in shown.reader.document["words"]
    assert "the file says that it has a result" in refused(result_of(federation, published=published, outcome="result"))
    other = {"words": "everything is well"}
    assert "another" in refused(result_of(federation, published=published, document=other))


# --- what is not ----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", range(4))
def test_an_altered_sum_does_not_lead_to_what_was_signed(which: int, finished: Federation) -> None:
    opened = dict(finished.parties["halland"].opened)
    last = len(opened) - 1
    number = min(which, last) if which < 3 else last
    opened[number] = changed(opened[number])
    words = "the readers signed other sums" if number == last else f"round {number + 1} was made for another label"
    assert words in refused(result_of(finished, opened=opened))
    if number == last:
        assert "the readers signed other sums" in refused(result_of(finished, opened=opened, published=True))


@BOTH
def test_another_coefficient_is_not_what_readers_signed(published: bool, finished: Federation) -> None:
    document = dict(honest(finished)["document"])
    document["estimate"] = [document["estimate"][0], document["estimate"][1] * (1 + 1e-15)]
    assert "another result than the file's" in refused(result_of(finished, published=published, document=document))


@BOTH
def test_another_hash_of_the_decisions_is_refused(published: bool, finished: Federation) -> None:
    words = refused(result_of(finished, published=published, decided=bytes(32)))
    assert "decisions" in words or "another way to it" in words


def test_a_sum_too_few_or_too_many_is_refused(finished: Federation) -> None:
    opened = dict(finished.parties["halland"].opened)
    last = len(opened) - 1
    fewer = {number: packed for number, packed in opened.items() if number != last}
    assert "does not have all of them" in refused(result_of(finished, opened=fewer))
    more = opened | {last + 1: opened[last]}
    assert "does not have all of them" in refused(result_of(finished, opened=more))
    assert "has no place here" in refused(result_of(finished, opened={1: opened[1]}))


def test_sums_and_a_hash_do_not_go_together(finished: Federation) -> None:
    file = BytesIO()
    writer = ResultWriter(file, Head("halland", finished.submission.study, finished.roster))
    writer.add_hashed(bytes(32))
    writer.add_opened(0, finished.parties["halland"].opened[0])
    assert "has no place here" in refused(file.getvalue())


@BOTH
def test_a_study_that_its_readers_have_not_closed_has_no_result(published: bool, finished: Federation) -> None:
    words = refused(result_of(finished, entries=finished.log[:-1], published=published))
    assert "have not closed this study" in words


@BOTH
def test_readers_that_close_a_study_without_a_sum_have_no_result(published: bool, finished: Federation) -> None:
    first = next(i for i, entry in enumerate(finished.log) if entry.message.body.kind == "contribution")
    entries, previous = list(finished.log[:first]), {}
    for entry in entries:
        previous[entry.message.sender] = entry.message.digest
    closing = next(entry.message.content for entry in finished.log if entry.message.body.kind == "closing")
    for name in REGIONS:
        message = finished.signers[name].sign(
            closing,
            federation="test",
            study=finished.submission.study,
            sender=name,
            previous=previous[name],
        )
        entries.append(Entry(message))
    assert "does not have all of them" in refused(result_of(finished, entries=entries, published=published))


@BOTH
def test_a_record_that_breaks_a_rule_proves_nothing(published: bool, finished: Federation) -> None:
    left_out = next(i for i, entry in enumerate(finished.log) if entry.message.body.kind == "approval")
    entries = [entry for i, entry in enumerate(finished.log) if i != left_out]
    assert refused(result_of(finished, entries=entries, published=published))


@BOTH
def test_a_sum_that_is_not_that_of_the_contributions_is_refused(published: bool, small_study_lied: Federation) -> None:
    words = refused(result_of_what_it_has(small_study_lied, published))
    assert "have not closed this study" in words  # readers noticed in the same round, and refused


@pytest.fixture(scope="module")
def small_study_lied(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """The aggregator altered the sum of round 1."""
    federation = Federation(study_file(tmp_path_factory.mktemp("lied") / "study.toml", university=False))
    say = federation.coordinator._say

    def lie(content: m.Content, attachments: tuple[bytes, ...], now: float) -> Entry:
        if isinstance(content, m.Open) and content.round == 1:
            federation.coordinator._total = changed(federation.coordinator._packed_sum())
            content = content.model_copy(update={"total": m.Attachment.of(federation.coordinator._total).sha256})
        return say(content, attachments, now)

    federation.coordinator._say = lie  # type: ignore[method-assign]
    federation.run()
    return federation


def result_of_what_it_has(federation: Federation, published: bool) -> bytes:
    """A file of a study that has none."""
    file = BytesIO()
    writer = ResultWriter(file, Head("halland", federation.submission.study, federation.roster))
    for number, entry in enumerate(federation.log):
        writer.add(number, NOW, entry.message, entry.attachments if entry.message.body.kind == "sum" else ())
    add_sums(writer, federation.parties["halland"].opened, published)
    writer.add_found("result", {}, bytes(32), {})
    writer.finish(signing(federation.signers["halland"]))
    return file.getvalue()


@pytest.mark.parametrize("document", [{}, {"names": 1}, {"estimate": "none"}])
def test_a_document_that_is_no_result_is_refused(document: dict[str, Any], finished: Federation) -> None:
    assert "does not have the form of one" in refused(result_of(finished, published=True, document=document))


def test_a_file_that_does_not_say_what_was_found_or_says_it_twice_is_refused(finished: Federation) -> None:
    parts = frames(result_of(finished))
    assert "cannot be as its party wrote it" in refused(b"".join([*parts[:-2], parts[-1]]))
    assert "cannot be as its party wrote it" in refused(b"".join([*parts[:-1], parts[-2], parts[-1]]))
    file = BytesIO()
    writer = ResultWriter(file, Head("halland", finished.submission.study, finished.roster))
    writer.finish(signing(finished.signers["halland"]))
    assert "does not say what was found" in refused(file.getvalue())


@BOTH
@settings(max_examples=25)
@given(data=st.data())
def test_any_changed_byte_is_found(published: bool, data: st.DataObject, finished: Federation) -> None:
    altered = bytearray(result_of(finished, published=published))
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    refused(bytes(altered))


def test_a_sum_beyond_the_range_is_refused(finished: Federation) -> None:
    opened = dict(finished.parties["halland"].opened)
    values = 8 * len(opened[2]) // PRECISE.bits_per_value
    residues = packing.residue_array(PRECISE, values)
    residues[:, 0] = [math.prod(PRECISE.primes) // 2 % prime for prime in PRECISE.primes]  # as large as there is
    opened[2] = packing.pack_array(PRECISE, residues, values)
    assert "outside the range of right sums" in refused(result_of(finished, opened=opened))


def test_a_transcript_is_no_result(finished: Federation) -> None:
    assert "not the beginning of a result" in refused(written(finished, "halland"))


# --- what the published form binds, and what a file may hold --------------------------------------


def test_nothing_of_a_published_result_can_be_changed(finished: Federation) -> None:
    document = honest(finished)["document"]
    for changes in (
        {"converged": False},
        {"names": [*document["names"][:-1], "another"]},
        {
            "names": ["(Intercept) 0x1p0, 0x1p0; age"],
            "estimate": document["estimate"][1:],
            "std_error": document["std_error"][1:],
        },
        {"n": document["n"] + 1},
        {"more": 1},
    ):
        assert refused(result_of(finished, published=True, document={**document, **changes}))


def test_who_knows_the_hash_of_the_last_sum_cannot_try_guesses_of_earlier_decisions(finished: Federation) -> None:
    """Their salt is of the known answer's integers, of which the published form shows nothing."""
    opened = [tagged_hash("opened", packed) for packed in finished.parties["halland"].opened.values()]
    decided = honest(finished)["decided"]
    lines = decisions_of(finished)[:-1]
    guesses = [tagged_hash("decided", tagged_hash("decision salt", one), *lines) for one in opened]
    assert [guess == decided for guess in guesses] == [True] + [False] * (len(opened) - 1)


def decisions_of(federation: Federation) -> tuple[str, ...]:
    return tuple(federation.parties["halland"].machine.reader._work.decisions())


@pytest.mark.parametrize("kind", ["contribution", "answer"])
def test_a_file_holds_the_attachments_of_sums_and_no_others(kind: str, finished: Federation) -> None:
    file = BytesIO()
    writer = ResultWriter(file, Head("halland", finished.submission.study, finished.roster))
    for number, entry in enumerate(finished.log):
        writer.add(number, NOW, entry.message, entry.attachments if entry.message.body.kind in ("sum", kind) else ())
    assert "has attachments that have no place here" in refused(file.getvalue())


def test_nothing_stands_in_another_order(finished: Federation) -> None:
    parts = frames(result_of(finished))
    assert refused(b"".join([parts[0], parts[-2], *parts[1:-2], parts[-1]]))
    file = BytesIO()
    writer = ResultWriter(file, Head("halland", finished.submission.study, finished.roster))
    writer.add_found("result", {}, bytes(32), {})
    writer.add(0, NOW, finished.log[0].message, ())
    assert "stands where entry 0 belongs" in refused(file.getvalue())
    file = BytesIO()
    writer = ResultWriter(file, Head("halland", finished.submission.study, finished.roster))
    writer.add_unrecorded(finished.log[0].message.envelope)
    assert "has no place here" in refused(file.getvalue())


def test_only_who_approved_is_said_to_have_approved(tmp_path: Path) -> None:
    federation = Federation(study_file(tmp_path / "study.toml"))
    federation.leave_at("university", "approval")
    federation.run(until=lambda one: one.now > NOW)
    federation.now += federation.study.limits.wait + 1
    federation.run(federation.coordinator.tick(federation.now, federation.present))
    shown = verified(result_of(federation))
    assert "university" in federation.board.members
    assert not any("university" in words for words in shown.proved)
    assert any("on the word of halland, kronoberg, orebro, who opened them" in words for words in shown.taken)


# --- Beside transcripts -------------------------------------------------------------------------------


def in_folders(folder: Path, **files: bytes) -> list[Path]:
    """Each in a folder of its own, all of one name."""
    paths = [folder / name / "r.hefed" for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.parent.mkdir()
        path.write_bytes(data)
    return paths


def test_files_of_one_name_do_not_hide_each_other(finished: Federation, tmp_path: Path) -> None:
    """One is altered, so nobody's; the other is whole, and not proved: it names who signed it."""
    whole = result_of(finished)
    altered = bytearray(whole)
    altered[-500] ^= 1
    false = result_of(finished, document={**honest(finished)["document"], "n": 300})
    paths = in_folders(tmp_path, altered=bytes(altered), false=false, whole=whole)
    with opened(paths) as files:
        (study,) = (found := audit(files)).studies
    with opened(paths[1:2]) as files:
        (alone,) = audit(files).studies
    assert [(finding.rule, finding.party, finding.where) for finding in study.findings] == [
        ("transcript", f"whoever handed in {paths[0]}", str(paths[0])),
        ("result", "halland", str(paths[1])),
    ]
    assert [name for name, _ in found.proofs.values()] == [str(paths[2])]
    assert [finding.where for finding in alone.findings] == ["r.hefed"]
