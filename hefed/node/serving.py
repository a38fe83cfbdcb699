"""Runs a region or an aggregator on a folder until its lifeline is cut: opens its state, dials or listens, and closes.

`hefed node` and `hefed aggregator` come here with a home, and the parties of a simulation with the folder that was made
for them; beyond that they run alike.
"""

import gc
import logging
import resource
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import zmq

from hefed.crypto.compiling import one_at_a_time
from hefed.crypto.parameters import PROFILES
from hefed.crypto.selftest import self_test
from hefed.data.policy import Policy
from hefed.data.settings import DataSettings
from hefed.node.aggregator import AggregatorNode
from hefed.node.aggregator_link import AggregatorLink
from hefed.node.consent import Consent
from hefed.node.decision import Decisions
from hefed.node.errors import NodeError
from hefed.node.identity import Identity
from hefed.node.lifeline import Lifeline
from hefed.node.limits import USUAL, Limits
from hefed.node.member_link import MemberLink
from hefed.node.region import RegionNode, Report
from hefed.node.store import Store
from hefed.protocol.roster import Roster

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Region:
    """What a region's process needs: its folder, its name on the roster, its table, and what it takes part in."""

    folder: Path
    name: str
    roster: Roster
    data: Path | DataSettings | None
    policy: Policy
    earlier: Sequence[Roster] = ()
    keep_days: float = 30.0
    threads: int = 1
    limits: Limits = USUAL
    reread: Callable[[], tuple[DataSettings | None, Policy]] | None = None


def compare_engines() -> None:
    """Compares the two encryption engines with each other and with SEAL. Raises CryptoError, or NodeError where the
    compiled kernels have no place.
    """
    try:
        one_at_a_time(_test_all, log.info)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        raise NodeError(
            "the compiled kernels have no place to be kept; set NUMBA_CACHE_DIR to a folder that hefed may write"
        ) from error


def _test_all() -> None:
    for profile in PROFILES.values():
        self_test(profile)


def allow_many_files() -> None:
    """Lets this process open as many files and connections as its system allows it to at all."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve_region(
    region: Region,
    endpoints: Sequence[str],
    lifeline: Lifeline,
    *,
    proxy: str | None = None,
    report: Report | None = None,
) -> None:
    """Runs a region until the lifeline is cut. Raises NodeError."""
    allow_many_files()
    compare_engines()
    gc.collect()
    gc.freeze()  # the program itself, which is hundreds of thousands of objects, is not looked through for garbage
    identity = Identity.load(region.folder)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = MemberLink(
        context, identity, region.roster, endpoints, proxy=proxy, limits=region.limits, folder=region.folder
    )
    try:
        store = Store(region.folder)
        decisions = Decisions(region.folder, identity)
        consent = Consent(
            region.name, region.data, region.policy, decisions, reread=region.reread, earlier=store.approved_before
        )
        node = RegionNode(
            name=region.name,
            roster=region.roster,
            identity=identity,
            store=store,
            link=link,
            consent=consent,
            earlier=region.earlier,
            keep_days=region.keep_days,
            threads=region.threads,
            limits=region.limits,
            report=report,
        )
        try:
            node.run(lifeline)
        finally:
            node.forget()
    finally:
        link.close()
        context.destroy(linger=0)


def serve_aggregator(
    folder: Path,
    roster: Roster,
    endpoint: str,
    lifeline: Lifeline,
    *,
    earlier: Sequence[Roster] = (),
    keep_days: float = 30.0,
    limits: Limits = USUAL,
    announce: Callable[[str], None] | None = None,
    report: Report | None = None,
) -> None:
    """Runs an aggregator until the lifeline is cut; tells `announce` where it listens. Raises NodeError."""
    allow_many_files()
    compare_engines()  # it also loads the compiled kernels, for which the first round of a study would wait
    gc.collect()
    gc.freeze()
    identity = Identity.load(folder)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = AggregatorLink(context, identity, roster, endpoint, limits=limits, folder=folder)
    try:
        node = AggregatorNode(
            roster=roster,
            identity=identity,
            store=Store(folder),
            link=link,
            earlier=earlier,
            keep_days=keep_days,
            limits=limits,
            report=report,
        )
        log.info("%s listens on %s", roster.aggregator.name, link.address)
        if announce:
            announce(link.address)
        node.run(lifeline)
    finally:
        link.close()
        context.destroy(linger=0)
