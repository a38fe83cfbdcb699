"""Why a member has no greeted connection to its aggregator: the causes, each as one sentence with the remedy.

ZeroMQ alone would say nothing of most of them. The sentences are for the people who run a region.
"""

from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """What is in the way, in the order in which a connection comes past it."""

    UNRESOLVED = "the name does not resolve"
    PROXY = "the proxy is not to be reached, or refuses"
    UNREACHABLE = "no route, or this machine's own firewall"
    REFUSED = "nothing listens there"
    SILENT = "no answer"
    STRANGER = "what listens there is no hefed aggregator, or closes at once"
    MUTE = "takes the connection and then says nothing"
    WRONG_KEY = "does not hold the key that the roster gives the aggregator"
    UNKNOWN_HERE = "the aggregator does not know this member's key"
    LOST = "the connection was there and is cut"
    NOT_GREETED = "connected, and not yet greeted"
    TURNED_AWAY = "the aggregator speaks another version"

    @property
    def depth(self) -> int:
        """How far the connection came; the greatest of several tells the most."""
        return list(Cause).index(self)


@dataclass(frozen=True)
class Trouble:
    """A cause, and one sentence: who, what, the next step."""

    cause: Cause
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Places:
    """The names that the sentences use: this member's, the aggregator's, the federation's, and the roster's version."""

    member: str
    aggregator: str
    federation: str
    version: int


def unresolved(address: str, reason: str) -> Trouble:
    """The name of an address is not known to this machine's resolver."""
    host = address.rpartition(":")[0]
    return Trouble(
        Cause.UNRESOLVED,
        f"the name {host} does not resolve ({reason}); check its spelling in the roster and in settings.toml, and "
        "this machine's DNS",
    )


def proxy_fails(proxy: str, address: str, reason: str) -> Trouble:
    """The SOCKS5 proxy does not listen, or does not let the connection through."""
    return Trouble(
        Cause.PROXY,
        f"the proxy {proxy} does not connect to {address} ({reason}); check the proxy in settings.toml, and ask those "
        f"who run it to allow {address}",
    )


def not_reached(places: Places, address: str, error: OSError) -> Trouble:
    """TCP itself fails; `error` is what a plain connection meets."""
    if isinstance(error, ConnectionRefusedError):
        return Trouble(
            Cause.REFUSED,
            f"nothing listens at {address}; see to it that {places.aggregator} runs `hefed aggregator`, and on that "
            "port",
        )
    if isinstance(error, TimeoutError):
        return Trouble(
            Cause.SILENT,
            f"{address} does not answer; a firewall may be in the way: have outbound TCP to {address} allowed, or name "
            "a proxy in settings.toml",
        )
    reason = (error.strerror or type(error).__name__).lower()
    return Trouble(
        Cause.UNREACHABLE,
        f"{address} is not to be reached ({reason}); check this machine's network, routes and firewall",
    )


def stranger(places: Places, address: str) -> Trouble:
    """TCP connects, and what answers speaks something else."""
    return Trouble(
        Cause.STRANGER,
        f"what listens at {address} is no hefed aggregator; check the port in the roster, and what {places.aggregator} "
        "runs on it",
    )


def mute(places: Places, address: str) -> Trouble:
    """TCP connects, and nothing comes."""
    return Trouble(
        Cause.MUTE,
        f"{address} takes the connection and then says nothing; a firewall between may hold it, or {places.aggregator} "
        "hangs: have the path opened for any TCP, or the aggregator looked after",
    )


def wrong_key(places: Places, address: str) -> Trouble:
    """The other end closes the handshake: it cannot read what is encrypted to the aggregator's key."""
    return Trouble(
        Cause.WRONG_KEY,
        f"what answers at {address} does not hold the key that the roster of {places.federation} "
        f"(version {places.version}) gives {places.aggregator}, or does not speak hefed; compare the roster's "
        f"fingerprint with {places.aggregator}'s by telephone, and check the address",
    )


def unknown_here(places: Places, address: str) -> Trouble:
    """The aggregator refuses our key."""
    return Trouble(
        Cause.UNKNOWN_HERE,
        f"{places.aggregator} at {address} does not know the key of {places.member}: its roster lists another or "
        f"none; compare the roster's version ({places.version} here) and fingerprint with {places.aggregator}'s by "
        "telephone, and have the newest put in force on both sides",
    )


def lost(places: Places, address: str) -> Trouble:
    """It was there."""
    return Trouble(
        Cause.LOST,
        f"the connection to {places.aggregator} at {address} is cut and is being made again; if that does not help, "
        "see to it that the aggregator runs and the network is up",
    )


def not_greeted(places: Places, address: str) -> Trouble:
    """Connected, but no welcome has come."""
    return Trouble(
        Cause.NOT_GREETED,
        f"{places.aggregator} at {address} is connected but has not greeted {places.member} yet; it is busy or hangs: "
        "wait, then have its log looked at",
    )


def turned_away(words: str) -> Trouble:
    """The aggregator says why it does not greet us."""
    return Trouble(Cause.TURNED_AWAY, f"turned away: {words}")
