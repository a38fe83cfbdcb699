"""What an audit says, in words and for programs."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from hefed.protocol import messages as m
from hefed.protocol.audit import StudyAudit
from hefed.protocol.rules import Phase
from hefed.report.audit import document, print_audit
from tests.attacks.cheating import replace, resigned
from tests.protocol.conftest import study_file
from tests.protocol.federation import Federation
from tests.protocol.transcripts import AGGREGATOR, audited, written


def text(found: StudyAudit) -> str:
    to = io.StringIO()
    print_audit([found], Console(file=to, width=80))
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
    assert found.findings == []
    words = "university complains about the key that orebro dealt: a seed does not match its hash"
    assert (
        f"It was ended by a complaint: {words}. The fault is with university or orebro; no transcript shows with whom "
        "of the two."
    ) in text(found)
    (study,) = document([found])["studies"]
    assert study["outcome"] == {"how": "complaint", "by": "university", "about": "orebro", "words": words}
    assert study["unfinished"] is None
