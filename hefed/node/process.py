"""Runs one party from a folder that holds its identity, its roster and `process.json`: python -m hefed.node.process
FOLDER.

`hefed simulate` starts its parties this way; standard input is the line to the parent, and its end is the party's.
"""

import json
import logging
import resource
import sys
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hefed.data.policy import Policy
from hefed.node import logs
from hefed.node.errors import NodeError
from hefed.node.federation import read_bounded
from hefed.node.files import destroy, lock_folder
from hefed.node.identity import FILE as IDENTITY_FILE
from hefed.node.lifeline import Lifeline
from hefed.protocol.errors import ProtocolError
from hefed.protocol.roster import Roster

CONFIG, ROSTER = "process.json", "roster.cbor"
ANY_STUDY = Policy(min_rows=1, min_events=0, max_rounds=1000)
"""What the regions of a simulation refuse: nothing but what the study itself and the model refuse."""


class ProcessConfig(BaseModel):
    """What a party needs to know beside its identity and its roster."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    role: Literal["aggregator", "region"]
    name: str
    endpoint: str
    """Where the aggregator listens."""
    endpoint_file: str
    """Where the aggregator writes the endpoint that it got, and the regions read it."""
    table: str | None
    """A region's CSV file; None for a mere keyholder."""
    leave_nothing: bool
    """Whether all secrets, the identity included, are destroyed when the parent ends."""
    proxy: str | None = None
    """A SOCKS5 proxy, host:port, through which a region dials."""

    def write(self, folder: Path) -> None:
        """Into a party's folder."""
        (folder / CONFIG).write_text(json.dumps(self.model_dump(), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "ProcessConfig":
        """From a party's folder."""
        return cls.model_validate_json(read_bounded(folder / CONFIG))


def main(folder: Path) -> int:
    """Runs the party of that folder until its lifeline is cut. Returns the exit code."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys
    logs.configure(json=False)
    config = ProcessConfig.read(folder)
    lifeline = Lifeline(follow_stdin=True)
    try:
        lock_folder(folder)
    except NodeError as error:
        logging.getLogger(__name__).critical("%s", error)
        return 2
    try:
        roster = _roster(folder / ROSTER)
        if config.role == "aggregator":
            _run_aggregator(folder, config, roster, lifeline)
        else:
            _run_region(folder, config, roster, lifeline)
    except NodeError as error:
        logging.getLogger(__name__).critical("%s", error)
        return 2
    finally:
        if config.leave_nothing and lifeline.look():
            destroy_secrets(folder)
    return 0


def destroy_secrets(folder: Path) -> None:
    """For the folder of a party that has stopped: its identity, and the key file, so all secrets, of every study."""
    for secret in (*folder.glob("study-keys/*"), *folder.glob(f"{IDENTITY_FILE}*")):
        destroy(secret)


def _roster(path: Path) -> Roster:
    try:
        return Roster.from_bytes(read_bounded(path))
    except ProtocolError as error:
        raise NodeError(f"{path} cannot be used: {error}") from error


def _run_aggregator(folder: Path, config: ProcessConfig, roster: Roster, lifeline: Lifeline) -> None:
    from hefed.node.serving import serve_aggregator

    def announce(endpoint: str) -> None:
        partial = Path(config.endpoint_file).with_suffix(".partial")
        partial.write_text(endpoint)
        partial.rename(config.endpoint_file)

    serve_aggregator(folder, roster, config.endpoint, lifeline, announce=announce)


def _run_region(folder: Path, config: ProcessConfig, roster: Roster, lifeline: Lifeline) -> None:
    from hefed.node.serving import Region, serve_region

    endpoint = _wait_for(Path(config.endpoint_file), lifeline)
    if endpoint is not None:
        table = Path(config.table) if config.table else None
        serve_region(Region(folder, config.name, roster, table, ANY_STUDY), [endpoint], lifeline, proxy=config.proxy)


def _wait_for(path: Path, lifeline: Lifeline) -> str | None:
    while not lifeline.look():
        if path.exists():
            return read_bounded(path).decode()
        time.sleep(0.02)
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
