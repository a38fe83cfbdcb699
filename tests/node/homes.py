"""Federations of homes for tests, made with the functions that the commands use: identities, cards, a signed roster."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import zmq

from hefed.node.aggregator_link import AggregatorLink
from hefed.node.federation import draft
from hefed.node.home import Home
from hefed.node.link import Received
from hefed.protocol.roster import Roster, SignedRoster
from tests.node.runs import EXAMPLES

FEDERATION = "Heart failure"
TABLES = EXAMPLES / "heart-failure"


def make_federation(folder: Path, regions: Sequence[str], address: str | Sequence[str]) -> dict[str, Path]:
    """Homes of an aggregator, an analyst and the regions, by name, each with the roster in force that all signed.

    A region is contributor, keyholder and reader; settings are those that `init` writes.
    """
    homes = {name: Home.init(folder / name, name) for name in ("aggregator", "analyst", *regions)}
    sign(homes, make_roster(homes, address))
    return {name: home.folder for name, home in homes.items()}


def make_roster(
    homes: Mapping[str, Home],
    address: str | Sequence[str],
    old: Roster | None = None,
    roles: Mapping[str, str] | None = None,
) -> Roster:
    """A roster of these homes, the next version of `old`; `roles` are other than usual: "keyholder,reader"."""
    addresses = [address] if isinstance(address, str) else address
    cards = [
        str(home.card_file(name)) + (f":{roles[name]}" if roles and name in roles else "")
        for name, home in homes.items()
    ]
    return draft(FEDERATION, cards, addresses=addresses, old=old)


def sign(homes: Mapping[str, Home], roster: Roster) -> SignedRoster:
    """All sign, and each puts it in force."""
    signed = SignedRoster(roster, {})
    for home in homes.values():
        signed = home.sign(signed)
    for home in homes.values():
        home.install(signed)
    return signed


def with_table(home: Path, table: Path, more: str = "") -> None:
    """Gives a home a copy of a table, and settings that name it; `more` are further lines, those of [data] first."""
    (home / "patients.csv").write_bytes(table.read_bytes())
    (home / "settings.toml").write_text(f'[data]\nsource = "csv"\npath = "patients.csv"\n{more}')


@contextmanager
def answering(home: Path, roster: Roster, address: str, answer: Callable[[Received], object]) -> Iterator[str]:
    """An aggregator's end of the link, in the hands of the test: what `answer` returns to a message is the header that
    goes back. Gives the address.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = AggregatorLink(context, Home(home).identity, roster, address)
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            for received in link.receive():
                header = answer(received)
                if isinstance(header, dict):
                    link.send(received.connection, header)
            time.sleep(0.01)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield link.address
    finally:
        stopped.set()
        thread.join()
        link.close()
        context.destroy(linger=0)
