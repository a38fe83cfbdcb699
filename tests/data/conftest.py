"""A PostgreSQL server that all tests of a region's data share."""

from collections.abc import Iterator

import pytest

from tests.data.postgres import Server, server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with server() as started:
        yield started
