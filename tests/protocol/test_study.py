"""Whole studies through the real machines: the answer, the rounds, what goes where."""

import json
from pathlib import Path

import numpy as np
import pytest

from hefed.crypto.errors import SeedError
from hefed.crypto.parameters import PRECISE, Precision
from hefed.node.work import make_model
from hefed.protocol.opened import LEAST_VALUES
from hefed.protocol.rules import Phase
from hefed.study import Study, StudyError
from tests.protocol.conftest import study_file
from tests.protocol.federation import EXAMPLES, Federation


def test_a_stratified_cox_model_comes_out_as_r_has_it_on_the_pooled_rows(cox_study: Study) -> None:
    federation = Federation(cox_study)
    federation.run()
    finding = federation.finding()
    fits = json.loads((EXAMPLES / "reference" / "heart-failure-cox.json").read_text())["fits"]
    fit = next(f for f in fits if f["ties"] == "efron" and f["stratified_by_site"])
    error = np.abs(np.array(finding.document["estimate"]) - fit["coef"]) / fit["se"]
    assert error.max() < 1e-6
    np.testing.assert_allclose(finding.document["std_error"], fit["se"], rtol=1e-6)
    np.testing.assert_allclose(finding.document["log_likelihood"], fit["loglik"], rtol=1e-8)
    assert finding.outcome == "result"
    assert all(finding.checked)
    assert federation.refused == []


def test_three_of_four_hospitals_open_what_four_contribute() -> None:
    study = Study.load(EXAMPLES / "heart-disease" / "logistic.toml")
    definition = study.public()
    definition["security"] |= {"threshold": 3, "min_contributors": 4}
    wider = Study.from_public(definition)
    wider._tables.update(study.tables)
    federation = Federation(wider)
    federation.run()
    fit = json.loads((EXAMPLES / "reference" / "heart-disease-logistic.json").read_text())["fits"][0]
    error = np.abs(np.array(federation.finding().document["estimate"]) - fit["coef_with_intercept_first"]) / fit["se"]
    assert error.max() < 1e-6
    assert len(federation.board.subsets) == 6


def test_the_first_round_is_one_that_everybody_can_compute(finished: Federation) -> None:
    assert finished.board.rounds[0].first.purpose == "known answer"


def test_no_vector_is_short_enough_for_its_sum_to_be_guessed_from_the_next_label(finished: Federation) -> None:
    assert min(record.first.values for record in finished.board.rounds if record.contributions) >= LEAST_VALUES


def test_every_round_has_another_label(finished: Federation) -> None:
    labels = [record.first.label for record in finished.board.rounds if record.contributions]
    assert len(set(labels)) == len(labels) > 4


def test_a_study_is_over_only_when_every_reader_has_closed_it(finished: Federation) -> None:
    assert finished.board.phase is Phase.ENDED
    assert finished.board.outcome is not None
    assert finished.board.outcome.how == "result"
    assert set(finished.board.closings) == set(finished.study.readers)


def test_contributions_are_given_to_nobody_and_answers_to_readers_only(finished: Federation) -> None:
    for name, party in finished.parties.items():
        for envelope, attachments in party.record:
            entry = next(e for e in finished.log if e.message.envelope == envelope)
            if attachments:
                assert entry.message.body.kind in ("answer", "sum")
                assert name in finished.study.readers


def test_an_error_that_all_regions_find_reaches_the_analyst_sealed(tmp_path: Path) -> None:
    study = study_file(tmp_path / "study.toml")
    definition = study.public()
    definition["limits"]["rounds"] = 1
    limited = Study.from_public(definition)
    limited._tables.update(study.tables)
    federation = Federation(limited)
    federation.run()
    finding = federation.finding()
    assert finding.outcome == "error"
    assert "round" in finding.document["words"]
    assert not any(finding.document["words"].encode() in e.message.envelope for e in federation.log)


def test_a_regions_own_words_end_the_study_when_its_table_is_not_fit(small_study: Study, tmp_path: Path) -> None:
    bad = tmp_path / "orebro.csv"
    bad.write_text("age,DEATH_EVENT\n50,2\n")
    federation = Federation(small_study, orebro=bad)
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == "refusal"
    assert federation.board.outcome.by == "orebro"
    assert "DEATH_EVENT" in federation.board.outcome.words


def test_keys_are_erased_from_memory_when_the_study_is_over(finished: Federation) -> None:
    for party in finished.parties.values():
        if party.machine.contributor is not None:
            with pytest.raises(SeedError, match="erased"):
                party.machine.contributor._key.seeds_for(0)
        shares = party.machine.keyholder._share_keys
        assert shares.subsets == ()
        with pytest.raises(SeedError):
            shares.share((0,))


@pytest.mark.parametrize(
    "limits", [{"rounds": 100, "step": 20.0, "linear_predictor": 100.0, "min_effective": 100.0}, {}]
)
def test_every_limit_that_a_study_may_state_is_one_that_the_statistics_take(
    limits: dict[str, float], cox_study: Study
) -> None:
    definition = cox_study.public()
    definition["limits"] |= limits
    make_model(Study.from_public(definition), Precision(PRECISE, 3, 2, 3))


@pytest.mark.parametrize("name", ["linear_predictor", "step", "rounds", "min_effective"])
def test_a_limit_beyond_what_the_statistics_take_is_refused_in_the_study(name: str, cox_study: Study) -> None:
    definition = cox_study.public()
    definition["limits"][name] = 1e7
    with pytest.raises(StudyError, match=name):
        Study.from_public(definition)
