"""What fuzzing found once, one test each, beside the bytes that are in the corpus as `bad-...`."""

import json
import time
from pathlib import Path

import pytest

from hefed.node.errors import NodeError
from hefed.node.status import FILE, read_status
from hefed.node.store import Store
from hefed.node.tunnel import ProxyRefusesError
from hefed.node.work import fit_of
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError
from hefed.protocol.ports import DeclinedError
from hefed.report.comparison import PooledFitError, load_pooled
from hefed.study import StudyError
from tests.fuzz import calls as t
from tests.fuzz.mutate import BOMBS, emit
from tests.fuzz.world import examples, post, record


@pytest.mark.parametrize("name", ["four million empty arrays", "four million empty maps"])
def test_values_are_counted_before_they_are_made(name: str) -> None:
    began = time.process_time()
    with pytest.raises(EncodingError, match=f"more than {codec.MAX_VALUES} values"):
        codec.decode(BOMBS[name])
    assert time.process_time() - began < 1


def test_as_many_values_as_are_allowed_come_back_and_one_more_is_not_encoded() -> None:
    texts = codec.MAX_VALUES // 2
    numbers = codec.MAX_VALUES - texts - 1 - 4 - 2 - 2
    most = [["x" * 24] * texts, ["x" * 300] * 2, [0] * numbers, {"a": b"b"}]
    assert codec.decode(codec.encode(most)) == most
    with pytest.raises(EncodingError, match="more than"):
        codec.encode([*most, 0])
    with pytest.raises(EncodingError, match="more than"):
        codec.decode(emit([*most, 0]))


@pytest.mark.parametrize("key", ["a" + ".a" * 40, "a" + " . 'b c'" * 40, '"a"' + '."."' * 40, "[a" + ".a" * 40 + "]"])
def test_a_key_of_very_many_parts_is_refused_before_it_is_read(key: str) -> None:
    text = key if key.startswith("[") else f"{key} = 1"
    with pytest.raises(StudyError, match="has a key of more than 32 parts"):
        t.study_file(text.encode())


def test_dots_in_words_are_no_parts_of_a_key() -> None:
    words = b"# www.example.org ... a.b.c 1.2.3\n" + b"# One. " * 40 + b"\n"
    right = examples("study-file")["good-cox"]
    purpose = b'purpose = "' + b"See x.org. And... " * 27 + b'."'
    assert t.study_file(words + right) == t.study_file(right)
    t.study_file(b"\n".join(purpose if line.startswith(b"purpose") else line for line in right.split(b"\n")))


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "0b" + "10" * 9000, "9" * 5000])
def test_a_number_of_thousands_of_digits_is_refused_before_anybody_would_write_it_out(number: str) -> None:
    text = examples("study-file")["good-cox"].replace(b'kind = "cox"', f"kind = {number}".encode())
    with pytest.raises(StudyError, match=r"has a number of more than 1000 digits|is not valid TOML"):
        t.study_file(text)


@pytest.mark.parametrize("size", [0, 1, 11, 12, 27])
def test_a_secret_of_which_little_is_left_is_one_that_does_not_open(size: int) -> None:
    with pytest.raises(DeclinedError):
        t.frozen_table(bytes(size))


def test_a_proxy_with_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ProxyRefusesError, match="not one of a SOCKS5 proxy"):
        t.proxy_reply(b"\x05\x00\x05\x00\x00\x03\x04\xffame\x00\x00")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"fits": ' + "9" * 5000 + "}", json.dumps({"fits": [1]}), "\ud800"])
def test_pooled_answers_that_are_none_are_refused_in_words(text: str, tmp_path: Path) -> None:
    (tmp_path / "pooled.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(PooledFitError, match="is not a file of pooled answers"):
        load_pooled(tmp_path / "pooled.json", t.cox())


def test_a_standing_that_is_too_deep_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[" * 100_000)
    with pytest.raises(NodeError, match="cannot be read"):
        read_status(tmp_path)


@pytest.mark.parametrize(
    "more",
    [
        {"std_error": [0.0, 0.5]}, {"std_error": [0.02]}, {"std_error": ["a", 0.5]}, {"estimate": [float("nan"), 0.1]},
        {"estimate": [1e308, 0.1], "std_error": [1e-308, 0.5]}, {"n": None}, {"n": float("inf")}, {"names": 3},
        {"log_likelihood": float("-inf")}, {"converged": 1}, {"more": 1},
    ],
)  # fmt: skip
def test_a_result_with_numbers_that_none_can_have_is_refused(more: dict[str, object]) -> None:
    right = codec.decode(examples("fit")["good-cox"])
    assert fit_of(right).n == 299
    with pytest.raises(TypeError):
        fit_of({**right, **more})
    with pytest.raises(TypeError):
        fit_of({key: value for key, value in right.items() if key not in more} if "more" not in more else {})


def test_very_many_faults_are_counted_and_not_listed() -> None:
    encoded = codec.decode(codec.decode(record()[1].envelope)[0])
    encoded["content"]["dealing_keys"] = {"A" * 40 + str(number): 0 for number in range(60_000)}
    began = time.process_time()
    with pytest.raises(EncodingError, match=r"does not have its form \(120000 faults\)"):
        post(1, codec.encode(encoded))
    assert time.process_time() - began < 3
    definition = {**t.cox().public(), **{str(number): 0 for number in range(2000)}}
    with pytest.raises(StudyError, match="the study: has 2000 mistakes"):
        t.study_public(codec.encode(definition))


def test_a_state_whose_schema_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    Store(tmp_path).close()
    path = tmp_path / "state.sqlite"
    path.write_bytes(path.read_bytes().replace(b"tableentryentry", b"table\xeentryentry"))
    with pytest.raises(NodeError, match=r"state\.sqlite cannot be used: database disk image is malformed"):
        Store(tmp_path)
