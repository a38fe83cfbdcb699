"""`--full` runs all lengths and numbers of regions; without it, the short form of CI."""

import pytest

from benchmarks.cases import cases


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="all lengths and numbers of regions: minutes")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether this is the full form."""
    return bool(request.config.getoption("--full"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a `case` runs for all cases; its file says on what the step depends."""
    if "case" in metafunc.fixturenames:
        chosen = cases(
            metafunc.config.getoption("--full"),
            by_parties=getattr(metafunc.module, "BY_PARTIES", False),
            by_engine=getattr(metafunc.module, "BY_ENGINE", False),
        )
        metafunc.parametrize("case", chosen, ids=str)
