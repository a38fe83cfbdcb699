"""What an audit says, in words and for programs."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from hefed.node.proof import Audited, audit
from hefed.node.transcripts import Opened
from hefed.protocol import messages as m
from hefed.protocol.result_file import ResultReader
from hefed.protocol.rules import Phase
from hefed.protocol.transcript import END_OF_TIME, Head, TranscriptReader, TranscriptWriter
from hefed.report.audit import document, print_audit
from tests.attacks.cheating import replace, resigned
from tests.node.test_proof import honest, result_of, with_a_constant_column
from tests.protocol.conftest import study_file
from tests.protocol.federation import NOW, Federation
from tests.protocol.transcripts import AGGREGATOR, kept, signing, written


def audited(*files: bytes) -> Audited:
    """The audit of files that are not yet on a disk; results' files among them are told apart by their first frame."""
    opened = []
    for number, data in enumerate(files):
        file, is_result = io.BytesIO(data), b"hefed/1 result" in data[:200]
        reader = ResultReader(file) if is_result else TranscriptReader(file)
        opened.append(Opened(f"file {number}", file, reader))
    return audit(opened)


def text(found: Audited) -> str:
    to = io.StringIO()
    print_audit(found, Console(file=to, width=80))
    return " ".join(to.getvalue().split())


@pytest.mark.parametrize("phase", [Phase.ACKNOWLEDGEMENT, Phase.COHORT])
def test_a_complaint_names_who_complains_and_the_dealer(phase: Phase, tmp_path: Path) -> None:
    federation = Federation(study_file(tmp_path / "study.toml"))
    false = m.Complaint(dealer="orebro", words="a seed does not match its hash")
    replace(federation, "university", {"acknowledgement": lambda outgoing: resigned(federation, outgoing, false)})
    if phase is Phase.COHORT:
        federation.leave_at("university", "acknowledgement")
    federation.run()
    if phase is Phase.COHORT:
        federation.now += federation.study.limits.wait + 1
        federation.run([], until=lambda running: running.board.phase is phase)
        federation.parties["university"].sent["acknowledgement"] = resigned(
            federation, federation.parties["university"].sent["acknowledgement"], false
        )
        federation.come_back("university")
    found = audited(written(federation, "halland"), written(federation, AGGREGATOR))
    assert found.studies[0].findings == []
    words = "university complains about the key that orebro dealt: a seed does not match its hash"
    assert (
        f"It was ended by a complaint: {words}. The fault is with university or orebro; no transcript shows with whom "
        "of the two."
    ) in text(found)
    (study,) = document(found)["studies"]
    assert study["outcome"] == {"how": "complaint", "by": "university", "about": "orebro", "words": words}
    assert study["unfinished"] is None


def summed_at(federation: Federation, at: float) -> bytes:
    """Halland's transcript, with that time for each sum."""
    file = io.BytesIO()
    writer = TranscriptWriter(file, Head("halland", federation.submission.study, federation.roster))
    for number, entry in enumerate(kept(federation, "halland", federation.log)):
        writer.add(number, at if entry.message.body.kind == "sum" else NOW, entry.message, entry.attachments)
    writer.finish(signing(federation.signers["halland"]))
    return file.getvalue()


@pytest.mark.parametrize("at", [END_OF_TIME, 2**40])
def test_a_time_that_no_calendar_has_names_who_signed_it(at: int, finished: Federation) -> None:
    found = audited(summed_at(finished, at))
    (finding,) = found.studies[0].findings
    assert (finding.rule, finding.party) == ("transcript", "halland")
    assert "it does not have its form" in finding.words
    assert "NOT WELL: 1 broken rule; the first names halland." in text(found)
    assert document(found)["ok"] is False


def test_the_last_time_that_a_calendar_has_is_shown(finished: Federation) -> None:
    found = audited(summed_at(finished, END_OF_TIME - 1))
    assert found.studies[0].findings == []
    assert "from 9999-12-31 23:59:59 to 9999-12-31 23:59:59 UTC" in text(found)
    (study,) = document(found)["studies"]
    assert {release["at"] for release in study["releases"]} == {"9999-12-31T23:59:59+00:00"}


# --- How many patients stand behind it ------------------------------------------------------------

ALONE = "How many patients stand behind these no transcript tells, since none holds anything that was opened"
TOLD = (
    "By the regions' own counts 299 patients of all of them together stand behind these, 96 with an event. "
    "file 1 proves it: "
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    federation = Federation(study_file(tmp_path_factory.mktemp("audit") / "study.toml"))
    federation.run()
    return federation


@pytest.mark.parametrize(
    ("published", "how"), [(False, "the sum that counts them is in it."), (True, "each reader signed it.")]
)
def test_a_results_file_tells_how_many_patients_stand_behind_it(
    published: bool, how: str, finished: Federation
) -> None:
    found = audited(written(finished, AGGREGATOR), result_of(finished, published=published))
    assert found.studies[0].findings == []
    assert TOLD + how in text(found)
    assert "Result's file of halland: " in text(found)
    (study,) = document(found)["studies"]
    told = study["patients"]
    assert (told["number"], told["events"], told["proved_by"]) == (299, 96, "file 1")
    assert told["steps_taken_again"] is not published
    assert [release["patients"] for release in study["releases"]] == [0] + [299] * (len(study["releases"]) - 1)
    assert [one["form"] for one in study["transcripts"]] == ["transcript", "result"]


def test_transcripts_alone_say_what_to_add(finished: Federation) -> None:
    found = audited(written(finished, AGGREGATOR), written(finished, "halland"))
    assert f"{ALONE}. A result's file does; name one too: hefed audit PATH... FILE.hefed." in text(found)
    (study,) = document(found)["studies"]
    assert (study["patients"]["number"], study["patients"]["proved_by"]) == (None, None)
    assert study["patients"]["words"].startswith(ALONE)
    assert {release["patients"] for release in study["releases"]} == {0, None}


def test_a_study_without_a_result_says_that_only_readers_know(finished: Federation) -> None:
    cut = next(i for i, entry in enumerate(finished.log) if entry.message.body.kind == "closing")
    assert f"{ALONE}; there is no result that would tell it, and only those who read the sums know." in text(
        audited(written(finished, AGGREGATOR, finished.log[:cut]))
    )
    first = next(i for i, entry in enumerate(finished.log) if entry.message.body.kind == "sum")
    known = audited(written(finished, AGGREGATOR, finished.log[: first + 1]))
    assert "The known answer, round 0, is of made-up numbers. No patient stands behind it." in text(known)
    assert document(known)["studies"][0]["patients"]["words"] == "No patient stands behind it."
    before = document(audited(written(finished, AGGREGATOR, finished.log[:first])))
    assert before["studies"][0]["patients"]["words"] == "Nothing was released."


@pytest.mark.parametrize("published", [False, True])
def test_of_a_study_that_found_an_error_only_the_sums_tell_how_many_patients_there_are(
    published: bool, tmp_path: Path
) -> None:
    federation = with_a_constant_column(tmp_path)
    found = audited(written(federation, AGGREGATOR), result_of(federation, published=published))
    assert found.studies[0].findings == []
    if published:
        assert f"{ALONE}; file 1 does not tell it, having neither the sum that counts them nor a result." in text(found)
    else:
        assert TOLD in text(found)


def test_a_result_that_does_not_follow_names_who_signed_it_and_tells_nothing(finished: Federation) -> None:
    other = result_of(finished, document={**honest(finished)["document"], "n": 300})
    found = audited(written(finished, AGGREGATOR), other)
    (finding,) = found.studies[0].findings
    assert (finding.rule, finding.party, finding.where) == ("result", "halland", "file 1")
    assert finding.words == "this result is not proved: the sums lead to another result than the file's"
    assert f"{ALONE}. A result's file does" in text(found)
    assert "NOT WELL: 1 broken rule; the first names halland." in text(found)


def test_an_altered_result_names_who_handed_it_in_and_another_still_tells(finished: Federation) -> None:
    altered = bytearray(result_of(finished))
    altered[-500] ^= 1
    found = audited(bytes(altered), result_of(finished), result_of(finished, published=True))
    assert [(one.rule, one.party) for one in found.studies[0].findings] == [("transcript", "whoever handed in file 0")]
    assert TOLD in text(found)
