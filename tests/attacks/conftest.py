"""The studies of the protocol's tests, for those who attack them."""

from tests.protocol.conftest import finished, small_study

__all__ = ["finished", "small_study"]
