"""Homes of a federation for the tests that change them, and its running aggregator."""

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.homes import TABLES, make_federation, with_table
from tests.node.runs import REGIONS, free_port, started


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], str]:
    """Homes that are right, never changed, and the aggregator's address."""
    address = f"127.0.0.2:{free_port()}"
    homes = make_federation(tmp_path_factory.mktemp("federation"), REGIONS, address)
    with_table(homes["orebro"], TABLES / "orebro.csv")
    return homes, address


@pytest.fixture
def homes(made: tuple[dict[str, Path], str], tmp_path: Path) -> dict[str, Path]:
    """Copies of them for one test."""
    for name, home in made[0].items():
        shutil.copytree(home, tmp_path / name)
        (tmp_path / name).chmod(0o700)
    return {name: tmp_path / name for name in made[0]}


@pytest.fixture(scope="module")
def address(made: tuple[dict[str, Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the real aggregator of these homes runs."""
    home = tmp_path_factory.mktemp("running") / "aggregator"
    shutil.copytree(made[0]["aggregator"], home)
    home.chmod(0o700)
    with started("aggregator", "--home", home):
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.2", int(made[1].rpartition(":")[2])), 1).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.1)
        yield made[1]
