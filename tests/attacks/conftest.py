"""The studies of the protocol's tests, for those who attack them, and what regions give and open in them."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hefed.node.work import ModelWork
from tests.protocol.conftest import finished, small_study

__all__ = ["finished", "small_study"]

Vectors = dict[str, list[np.ndarray[Any, Any]]]


@dataclass
class Seen:
    """What each region gave to each round from round 1 on, and what it opened, by its name."""

    given: Vectors = field(default_factory=lambda: defaultdict(list))
    opened: Vectors = field(default_factory=lambda: defaultdict(list))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Of all federations of a test, one after another."""
    one, gives, takes = Seen(), ModelWork.contribution, ModelWork.step

    def give(self: ModelWork) -> Any:
        one.given[self._name].append(gives(self))
        return one.given[self._name][-1]

    def take(self: ModelWork, total: Any) -> None:
        one.opened[self._name].append(total)
        takes(self, total)

    monkeypatch.setattr(ModelWork, "contribution", give)
    monkeypatch.setattr(ModelWork, "step", take)
    return one
