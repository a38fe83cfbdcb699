"""What a study's sums would tell beside earlier ones: regions, groups of patients, variables."""

from pathlib import Path

import pytest

from hefed.data.releases import Difference, Earlier, differences, refused
from hefed.study import Study
from tests.node.runs import EXAMPLES

EXAMPLE = EXAMPLES / "heart-failure" / "cox.toml"
COX = Study.load(EXAMPLE)
FEWEST = 20


def earlier(study: Study = COX, rows: int | None = 100) -> Earlier:
    return Earlier(bytes(range(32)), study, rows)


def other(folder: Path, *changes: tuple[str, str]) -> Study:
    """The example with some places changed."""
    text = EXAMPLE.read_text()
    for name in ("halland", "kronoberg", "orebro"):
        text = text.replace(f'data = "{name}.csv"', "contributes = true")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "study.toml"
    path.write_text(text)
    return Study.load(path)


def found(now: Study, rows: int | None, *before: Earlier) -> list[Difference]:
    return differences(now, rows, before, FEWEST)


FOURTH = ("[regions.orebro]", "[regions.lund]\ncontributes = true\n\n[regions.orebro]")
FIFTH = ("[regions.orebro]", "[regions.malmo]\ncontributes = true\n\n[regions.orebro]")
SIXTH = ("[regions.orebro]", "[regions.ystad]\ncontributes = true\n\n[regions.orebro]")
WITHOUT_SODIUM = (', "serum_sodium"', "")


def test_the_same_study_again_leaves_nothing() -> None:
    assert found(COX, 100, earlier()) == []


def test_a_region_more_or_less_is_left_alone(tmp_path: Path) -> None:
    for now, before in ((other(tmp_path, FOURTH), COX), (COX, other(tmp_path, FOURTH))):
        (one,) = found(now, None, earlier(before))
        assert one.kind == "region"
        assert "sums over the patients of lund alone, by subtracting" in one.words


def test_so_are_several_that_are_fewer_than_a_study_must_have(tmp_path: Path) -> None:
    (one,) = found(other(tmp_path, FOURTH, FIFTH), 100, earlier())
    assert "lund, malmo alone" in one.words
    assert found(other(tmp_path, FOURTH, FIFTH, SIXTH), 100, earlier()) == []  # three are enough


def test_a_region_in_the_place_of_another_is_left_against_that(tmp_path: Path) -> None:
    (one,) = found(other(tmp_path, ("[regions.orebro]", "[regions.lund]")), 100, earlier())
    assert one.kind == "region"
    assert "sums over the patients of lund alone less those of orebro, by subtracting" in one.words


def test_regions_that_are_mostly_others_are_no_difference(tmp_path: Path) -> None:
    changes = (("[regions.orebro]", "[regions.lund]"), ("[regions.halland]", "[regions.malmo]"))
    assert found(other(tmp_path, *changes), 100, earlier()) == []


@pytest.mark.parametrize(("rows", "kind"), [(100, None), (101, "patients"), (81, "patients"), (80, None), (120, None)])
def test_a_few_patients_more_or_less_are_left(rows: int, kind: str | None) -> None:
    got = found(COX, rows, earlier())
    assert [one.kind for one in got] == ([kind] if kind else [])
    if kind:
        assert f"sums over {abs(rows - 100)} patient" in got[0].words


def test_without_numbers_of_rows_nothing_is_said_of_patients() -> None:
    assert found(COX, None, earlier()) == []
    assert found(COX, 101, earlier(rows=None)) == []


def test_one_variable_is_left(tmp_path: Path) -> None:
    (one,) = found(other(tmp_path, WITHOUT_SODIUM), 100, earlier())
    assert (one.kind, "what 'serum_sodium' adds, by" in one.words) == ("variable", True)
    (one,) = found(other(tmp_path, WITHOUT_SODIUM, ('"age", ', "")), 100, earlier())
    assert (one.kind, "what 'age' and 'serum_sodium' add, by" in one.words) == ("variable", True)
    (one,) = found(other(tmp_path, WITHOUT_SODIUM, ('ties = "efron"', 'ties = "breslow"')), 100, earlier())
    assert one.kind == "variable"  # whatever else is other
    three = (WITHOUT_SODIUM, ('"anaemia", ', ""), ('"age", ', ""))
    assert found(other(tmp_path, *three), 100, earlier()) == []


def test_each_earlier_study_is_looked_at(tmp_path: Path) -> None:
    fourth = other(tmp_path, FOURTH)
    got = found(COX, 101, earlier(), earlier(fourth), earlier(rows=60))
    assert [one.kind for one in got] == ["patients", "region"]


def test_what_is_refused_is_told_without_numbers(tmp_path: Path) -> None:
    got = found(COX, 103, earlier(), earlier(other(tmp_path, FOURTH)))
    assert refused(got, ()) == []
    assert refused(got, ("variable",)) == []
    (words,) = refused(got, ("patients",))
    assert (
        words == "the policy here refuses it: it could be subtracted from a study that the region took part in before"
    )
    assert refused(got, ("patients", "region")) == [words]  # neither which study, nor what would be left
