"""What fuzzing found once, one test each, beside the bytes that are in the corpus as `bad-...`."""

import json
import time
from pathlib import Path

import pytest

from hefed.node.errors import NodeError
from hefed.node.status import FILE, read_status
from hefed.node.tunnel import ProxyRefusesError
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError
from hefed.protocol.ports import DeclinedError
from hefed.report.comparison import PooledFitError, load_pooled
from hefed.study import StudyError
from tests.fuzz import calls as t
from tests.fuzz.mutate import BOMBS, emit
from tests.fuzz.world import examples


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
