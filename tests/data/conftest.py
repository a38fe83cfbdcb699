"""Settings of the tests of hefed.data, and the PostgreSQL server that they share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from hefed.study import Study
from tests.data.postgres import Server, server
from tests.data.tables import Tables, study

# The first example of a test may have to import pandas.
settings.register_profile("hefed", deadline=None)
settings.load_profile("hefed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with server() as started:
        yield started


@pytest.fixture
def tables(tmp_path: Path, request: pytest.FixtureRequest) -> Tables:
    def start() -> Server:
        started: Server = request.getfixturevalue("postgres")
        return started

    return Tables(tmp_path, start)


@pytest.fixture(scope="session")
def refuse(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def drop(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study(tmp_path_factory.mktemp("study"), "drop-rows")
