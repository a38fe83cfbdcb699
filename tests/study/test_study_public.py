"""The public form of a study: what is hashed, signed and approved, and what a hostile sender can put in its place."""

import copy
import json
import math
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.crypto.parameters import COMPACT, MAX_KEYHOLDERS, MAX_SUBSETS, PRECISE, Precision
from hefed.node.work import make_model
from hefed.protocol.roster import NAME
from hefed.statistics.model import Limits
from hefed.study import MAX_COMPACT, MAX_REGIONS, Study, StudyError
from hefed.study import MAX_KEYHOLDERS as STUDY_KEYHOLDERS
from hefed.study import MAX_SUBSETS as STUDY_SUBSETS
from hefed.wording import quoted

EXAMPLES = sorted(Path("examples").glob("*/*.toml"))

HOSTILE: list[Any] = [
    None, True, False, -1, 0, 1, 1.0, 10**30, 10**4000, float("nan"), float("inf"), -0.0, 1e308,
    "", "x", "\x1b[2J", "a\nb", "x" * 100_000, "\ud800", "‮", "600 s", "10 min", "9999999 d", b"", b"x", (), [], {},
    [[]], ["a"] * 1000, [None], [1], {"kind": "cox"}, {"": ""}, {1: 2}, object(),
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside plain data, the whole included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of plain data with `new` at `path`."""
    if not path:
        return new
    whole = copy.deepcopy(value)
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return whole


def identical(a: Any, b: Any) -> bool:
    """Equality that tells 1, 1.0 and True apart, and 0.0 and -0.0."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def fault(public: Any) -> str:
    """The sentence about what is wrong with a public form; empty if it is a study."""
    try:
        Study.from_public(public)
    except StudyError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_the_public_form_gives_the_study_again(path: Path) -> None:
    study = Study.load(path)
    again = Study.from_public(json.loads(json.dumps(study.public())))
    assert identical(again.public(), study.public())
    assert again.tables == {}
    assert again.security == study.security
    assert again.model == study.model
    assert again.contributors == study.contributors


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_the_public_form_holds_no_path(path: Path) -> None:
    study = Study.load(path.resolve())
    text = json.dumps(study.public())
    assert study.tables
    for table in study.tables.values():
        assert table.name not in text
        assert str(table.parent) not in text


def test_the_public_form_does_not_depend_on_how_the_file_is_written(tmp_path: Path) -> None:
    source = EXAMPLES[1].read_text()
    assert "[regions.halland]" in source
    head, first, second, third = source.split("[regions.")
    (tmp_path / "a.toml").write_text(head + "[regions." + third + "\n[regions." + first + "[regions." + second)
    (tmp_path / "b.toml").write_text(source.replace("[security]", '[security]\ndeadline = "600 s"').replace("#", "# "))
    forms = [Study.load(path).public() for path in (EXAMPLES[1], tmp_path / "a.toml", tmp_path / "b.toml")]
    assert identical(forms[0], forms[1])
    assert identical(forms[0], forms[2])


@pytest.mark.parametrize("path", EXAMPLES[:2], ids=str)
def test_a_hostile_value_in_any_place_is_refused_or_is_a_valid_study_as_it_stands(path: Path) -> None:
    public = Study.load(path).public()
    tried = 0
    for place in places(public):
        for value in HOSTILE:
            changed = replaced(public, place, value)
            tried += 1
            sentence = fault(changed)
            assert len(sentence) < 500
            assert sentence.isprintable()
            assert sentence or identical(Study.from_public(changed).public(), changed)
    assert tried > 500


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_nothing_can_be_left_out_or_added(path: Path) -> None:
    public = Study.load(path).public()
    for place in places(public):
        if place and isinstance(place[-1], str):
            without = copy.deepcopy(public)
            inner = without
            for key in place[:-1]:
                inner = inner[key]
            del inner[place[-1]]
            with pytest.raises(StudyError):
                Study.from_public(without)
            with pytest.raises(StudyError):
                Study.from_public(replaced(public, (*place[:-1], "tables"), {}))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("model", "ridge"), 0),
        (("security", "deadline"), "10 min"),
        (("security", "deadline"), "0600 s"),
        (("limits", "step"), 2),
        (("contributors",), ["orebro", "kronoberg", "halland"]),
        (("security", "keyholders"), ["orebro", "halland", "kronoberg"]),
    ],
)
def test_another_way_to_write_the_same_study_is_refused(place: tuple[str, ...], value: Any) -> None:
    public = Study.load(Path("examples/heart-failure/cox.toml")).public()
    with pytest.raises(StudyError, match=r"one written form|not sorted"):
        Study.from_public(replaced(public, place, value))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_arbitrary_data_is_refused_with_a_study_error(value: Any) -> None:
    with pytest.raises(StudyError):
        Study.from_public(value)


NAMES = st.lists(
    st.from_regex(r"[a-z]{3,10}", fullmatch=True).filter(lambda name: name not in ("aggregator", "analyst")),
    min_size=3,
    max_size=9,
    unique=True,
)


@st.composite
def definitions(draw: st.DrawFn) -> str:
    """A valid study file."""
    names = draw(NAMES)
    threshold = draw(st.integers(2, len(names) - 1))
    columns = draw(
        st.lists(
            st.text(string.ascii_letters + "åäö _.()", min_size=1, max_size=12).map(str.strip), min_size=3, unique=True
        )
        .map(lambda found: [name for name in found if name and name != "(intercept)"])
        .filter(lambda found: len(found) >= 3)
    )
    ridge = draw(st.floats(0, 1e9))
    purpose = draw(st.text("abc åäö?'", min_size=1, max_size=500)).strip() or "p"
    lines = [
        f'[study]\nid = "s"\npurpose = "{purpose}"',
        '[model]\nkind = "cox"',
        f"duration = '{columns[0]}'\nevent = '{columns[1]}'\ncovariates = {columns[2:]}\nridge = {ridge!r}",
        f"[security]\nthreshold = {threshold}\nmin_contributors = {draw(st.integers(threshold + 1, len(names)))}",
        f'deadline = "{draw(st.integers(1, 2592000))} s"',
        *(f'[regions.{name}]\ndata = "{name}.csv"' for name in names),
    ]
    return "\n".join(lines)


@settings(max_examples=60)
@given(text=definitions())
def test_every_valid_file_has_one_public_form(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(text)
    study = Study.load(path)
    assert identical(Study.from_public(study.public()).public(), study.public())


def test_what_a_study_may_ask_for_the_other_parts_can_do() -> None:
    assert STUDY_KEYHOLDERS == MAX_KEYHOLDERS
    assert STUDY_SUBSETS == MAX_SUBSETS
    limits = Study.load(EXAMPLES[0]).limits
    assert Limits(limits.rounds, limits.step, limits.linear_predictor, limits.min_effective) == Limits()
    assert limits.min_events == 5  # a disclosure threshold that a study has and a bare model has not


def test_every_allowed_study_has_sums_precise_enough_for_its_model() -> None:
    sharings = {
        math.comb(keyholders, threshold - 1): (keyholders, threshold)
        for keyholders in range(2, STUDY_KEYHOLDERS + 1)
        for threshold in range(2, keyholders + 1)
    }
    public = Study.load(Path("examples/heart-failure/cox.toml")).public()
    stratified = Study.from_public(public)
    shared = Study.from_public(replaced(public, ("model", "baseline"), "shared"))
    allowed = 0
    for subsets, (keyholders, threshold) in sharings.items():
        for regions in range(3, MAX_REGIONS + 1):
            if subsets <= STUDY_SUBSETS and regions**3 * subsets <= MAX_COMPACT:
                make_model(stratified, Precision(COMPACT, keyholders, threshold, regions))
                allowed += 1
        if subsets <= STUDY_SUBSETS:  # more regions are never more precise, and the profile has digits to spare
            make_model(shared, Precision(PRECISE, keyholders, threshold, MAX_REGIONS))
    assert allowed > 2000
    with pytest.raises(ValueError, match="needs sums within"):
        make_model(stratified, Precision(COMPACT, 12, 4, 400))


@given(st.from_regex(NAME, fullmatch=True) | st.text(string.ascii_letters + string.digits + "-_. \n", max_size=70))
def test_a_study_and_a_roster_agree_on_what_a_name_is(name: str) -> None:
    public = Study.load(Path("examples/heart-failure/cox.toml")).public()
    names = sorted(["halland", "kronoberg", name])
    for role in (("contributors",), ("security", "keyholders"), ("security", "readers")):
        public = replaced(public, role, names)
    try:
        Study.from_public(public)
    except StudyError:
        assert not NAME.fullmatch(name) or name in ("halland", "kronoberg", "aggregator", "analyst")
    else:
        assert NAME.fullmatch(name)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.lists(st.text())))
def test_what_is_quoted_is_short_and_printable(value: object) -> None:
    assert quoted(value).isprintable()
    assert len(quoted(value)) < 700


def test_a_number_too_long_to_write_is_not_written() -> None:
    assert quoted(10**6000) == "a very long number"
    public = Study.load(EXAMPLES[0]).public()
    for place in (("security", "threshold"), ("limits", "rounds"), ("model", "ridge"), ("study", "id")):
        assert fault(replaced(public, place, 10**6000)).endswith("not a very long number")
