"""`hefed audit`, as whoever audits a study meets it: on the transcripts that `hefed simulate` leaves."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from hefed.cli.audit import result
from tests.node.runs import REGIONS, hefed, secret_files, study_file

PARTIES = ("aggregator", *REGIONS)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulation that found its result."""
    folder = tmp_path_factory.mktemp("audited")
    ended = hefed("simulate", study_file(folder, security='engine = "vectorised"'), "--out", folder / "out")
    assert ended.code == 0, ended.err
    return folder / "out"


def audited(*paths: Path) -> tuple[int, dict[str, Any]]:
    ended = hefed("audit", "--json", *paths)
    assert ended.err == ""
    return ended.code, json.loads(ended.out)


def test_a_simulation_leaves_one_transcript_a_party_and_no_secret(out: Path) -> None:
    assert sorted(path.name for path in (out / "transcripts").iterdir()) == [
        f"{name}.transcript" for name in sorted(PARTIES)
    ]
    assert secret_files(out) == []


def test_the_audit_says_what_was_released_to_whom(out: Path) -> None:
    ended = hefed("audit", out)
    assert (ended.code, ended.err) == (0, "")
    said = " ".join(ended.out.split())
    assert "Transcript of aggregator: 139 messages, signed, whole" in said
    assert "Released, to halland, kronoberg, orebro only: 11 sums, from " in said
    assert (
        "The known answer, round 0, is of made-up numbers; the rest is over the patients of halland, kronoberg, orebro "
        "together. By the regions' own counts 299 patients of all of them together stand behind these, 96 with an "
        "event. result.hefed proves it: the sum that counts them is in it."
    ) in said
    assert "All is well: every rule that can be checked from outside was kept." in said
    assert ended.out.count("\nReleased, to") == 1
    assert re.search(r"^Released, to halland, .* over the patients of halland, .* together\.$", ended.out, re.MULTILINE)


def test_programs_get_the_same(out: Path) -> None:
    code, document = audited(out)
    (study,) = document["studies"]
    assert (code, document["ok"], study["findings"], study["unfinished"]) == (0, True, [], None)
    assert [one["party"] for one in study["transcripts"]] == [*sorted(PARTIES), "halland"]
    assert [one["form"] for one in study["transcripts"]] == ["transcript"] * len(PARTIES) + ["result"]
    assert (study["patients"]["number"], study["patients"]["events"]) == (299, 96)
    assert study["patients"]["proved_by"] == "result.hefed"
    assert [one["round"] for one in study["releases"]] == list(range(11))
    assert all(one["verified"] == "added" and one["checked_again"] == list(REGIONS) for one in study["releases"])
    assert study["outcome"]["how"] == "result"


def test_transcripts_alone_tell_no_number_of_patients_and_say_what_does(out: Path) -> None:
    ended = hefed("audit", out / "transcripts")
    assert (ended.code, ended.err) == (0, "")
    assert (
        "How many patients stand behind these no transcript tells, since none holds anything that was opened. A "
        "result's file does; name one too: hefed audit PATH... FILE.hefed."
    ) in " ".join(ended.out.split())
    assert audited(out / "transcripts")[1]["studies"][0]["patients"]["number"] is None
    code, document = audited(out / "transcripts" / "aggregator.transcript", out / "result.hefed")
    assert (code, document["studies"][0]["patients"]["number"]) == (0, 299)


def test_what_could_not_be_added_again_is_said_in_the_verdict(out: Path) -> None:
    ended = hefed("audit", out / "transcripts" / "halland.transcript")
    rounds = len(json.loads((out / "result.json").read_text())["rounds"])
    assert ended.code == 0
    verdict = " ".join(ended.out.splitlines()[-1].split())
    assert verdict == f"All is well as far as these files show; {rounds} sums could not be added again."


def test_of_a_file_that_does_not_count_nothing_is_said(out: Path, tmp_path: Path) -> None:
    data = bytearray((out / "transcripts" / "halland.transcript").read_bytes())
    data[-1] ^= 1
    (tmp_path / "halland.transcript").write_bytes(data)
    ended = hefed("audit", tmp_path / "halland.transcript")
    assert ended.code != 0
    said = " ".join(ended.out.split())
    assert "Nothing can be said of this study: no file that was handed in counts." in said
    assert "Nothing was released" not in said
    assert "has not ended" not in said


def test_another_file_of_a_result_is_not_taken_for_an_attack(out: Path) -> None:
    for path, words in ((out / "result.json", "proves nothing; name the result's file"), (out, "is a folder; name")):
        ended = hefed("verify", path)
        assert ended.code == 2
        assert words in " ".join(ended.err.split())


def test_what_is_no_result_is_not_said_to_be_unproved(out: Path, tmp_path: Path) -> None:
    transcript, other = out / "transcripts" / "halland.transcript", tmp_path / "other.hefed"
    for other_data in (b"", b"hello, world" * 100, (out / "result.json").read_bytes()):
        other.write_bytes(other_data)
        for options in ((), ("--json",)):
            ended = hefed("verify", other, *options)
            assert (ended.code, ended.out) == (2, "")
            assert ended.err == (
                f"hefed: {other} is no result of hefed; name a file that hefed result or hefed publish wrote, which "
                "ends in .hefed\n"
            )
    ended = hefed("verify", transcript)
    assert (ended.code, ended.out, ended.err) == (
        2,
        "",
        f"hefed: {transcript} is a transcript: hefed audit {transcript}\n",
    )


def test_a_file_that_begins_as_a_result_and_breaks_off_is_not_proved(out: Path, tmp_path: Path) -> None:
    (tmp_path / "result.hefed").write_bytes((out / "result.hefed").read_bytes()[:300])
    ended = hefed("verify", tmp_path / "result.hefed")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.startswith("NOT PROVED: frame 1 ")


def test_an_audit_of_another_file_says_what_to_name(out: Path) -> None:
    ended = hefed("audit", out / "result.json")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"hefed: {out / 'result.json'} is no transcript and no result of hefed; name files that hefed transcript, "
        "result or publish wrote, which end in .transcript or .hefed\n"
    )


def test_a_file_of_another_name_is_known_by_its_beginning(out: Path, tmp_path: Path) -> None:
    shutil.copy(out / "result.hefed", tmp_path / "a")
    shutil.copy(out / "transcripts" / "halland.transcript", tmp_path / "b.hefed")
    code, document = audited(tmp_path / "a", tmp_path / "b.hefed")
    assert (code, document["studies"][0]["patients"]["number"]) == (0, 299)


def test_one_regions_transcript_alone_is_audited_too(out: Path) -> None:
    ended = hefed("audit", out / "transcripts" / "orebro.transcript")
    assert ended.code == 0
    assert (
        "Not all was added again: that takes contributions, which only the aggregator's transcript can hold"
        in " ".join(ended.out.split())
    )


def test_an_altered_transcript_names_its_party(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / "transcripts", tmp_path / "transcripts")
    path = tmp_path / "transcripts" / "kronoberg.transcript"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    ended = hefed("audit", tmp_path)
    assert ended.code == 1
    assert "NOT WELL: 1 broken rule; the first names whoever handed in kronoberg.transcript." in ended.out
    code, document = audited(tmp_path)
    assert (code, document["ok"]) == (1, False)
    assert [(one["rule"], one["party"]) for one in document["studies"][0]["findings"]] == [
        ("transcript", "whoever handed in kronoberg.transcript")
    ]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda path: path.mkdir(),
            "no file in {} ends in .transcript or .hefed; name transcripts, or a folder of them",
        ),
        (
            lambda path: path.write_bytes(b"hello, world"),
            "{} is no transcript and no result of hefed; name files that hefed transcript, result or publish wrote",
        ),
        (lambda path: None, "{} cannot be read: no such file or directory; check the name"),
    ],
)
def test_what_is_no_transcript_is_one_sentence(make: Any, sentence: str, tmp_path: Path) -> None:
    make(tmp_path / "given")
    ended = hefed("audit", tmp_path / "given")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"hefed: {sentence.format(tmp_path / 'given')}")
    assert len(ended.err.splitlines()) == 1


# --- A result's file ------------------------------------------------------------------------------


def test_a_simulation_leaves_a_result_that_proves_itself(out: Path) -> None:
    ended = hefed("verify", out / "result.hefed")
    assert (ended.code, ended.err) == (0, "")
    said = " ".join(ended.out.split())
    assert "n = 299, events = 96" in said
    assert "the result follows from the sums: every step was taken again here" in said
    after = ended.out.partition("Proved by this file")[2].splitlines()[1:]
    assert all(line.startswith(("- ", "Not proved by it:", "Roster of ", "Written with ")) for line in after)
    ended = hefed("verify", "--json", out / "result.hefed")
    document = json.loads(ended.out)
    result = json.loads((out / "result.json").read_text())
    assert (document["ok"], document["form"], document["signed_by"]) == (True, "full", "halland")
    assert document["finding"]["estimate"] == [row["estimate"] for row in result["coefficients"]]
    assert document["finding"]["std_error"] == [row["std_error"] for row in result["coefficients"]]


def test_an_altered_result_is_not_proved(out: Path, tmp_path: Path) -> None:
    data = bytearray((out / "result.hefed").read_bytes())
    data[-500] ^= 1
    (tmp_path / "result.hefed").write_bytes(data)
    ended = hefed("verify", tmp_path / "result.hefed")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.startswith("NOT PROVED: frame ")
    ended = hefed("verify", "--json", tmp_path / "result.hefed")
    assert (ended.code, json.loads(ended.out)["ok"]) == (1, False)


def test_who_writes_a_result_hears_that_it_holds_the_sums_and_how_to_publish(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hefed.node.proof.export_result", lambda home, study, out: Path("full.hefed"))
    result(Path("halland"), "heart-failure-mortality")
    out, err = capsys.readouterr()
    assert out == "full.hefed\n"  # alone, for scripts
    assert err == (
        "full.hefed holds the sums that were opened, which are for their readers only; to make one for others: hefed "
        "publish full.hefed --home halland --out PUBLISHED.hefed\n"
    )


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    ended = hefed("verify", tmp_path / "none.hefed")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"hefed: {tmp_path / 'none.hefed'} cannot be read: no such file or directory; check the name\n"
