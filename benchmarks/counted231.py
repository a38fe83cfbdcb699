"""What a round of 231 values cannot be without: each part timed alone, in one process, and how often it is there.

`seconds` are hot: the same part again and again. `cold` are those of a part before which other data went through the
caches nearest to the core, as they do when four processes take turns on two cores.

Three regions that contribute, hold keys and read, and an aggregator: eleven messages, of which everybody reads the
others' (its own, when they come back, it knows by their bytes). Not counted: what the round in the clear has too
(ZeroMQ, disk, waking up), what Python does between the parts, caches that other processes have emptied, and the link's
own encryption.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.rounds import Round
from hefed.crypto import seal
from hefed.crypto.contribution import _check_factors
from hefed.crypto.sampling import uniform_polynomials
from hefed.node.identity import Identity
from hefed.protocol import messages as m
from hefed.protocol.roster import Roster

REGIONS = 3
MESSAGES = 3 * REGIONS + 2
"""Contributions, checks and answers of the regions; the aggregator's question and sum."""
REPETITIONS = 51
ENVELOPE = 300
"""Bytes of an envelope, about."""
OTHER_DATA = 2**22
"""Bytes: several times the caches that a core has to itself, and less than those that cores share."""


def counted(values: int) -> list[dict[str, Any]]:
    """For each part what it is, how often it is there in a round, and the seconds of one, hot and cold."""
    one = Round("precise", values, REGIONS)
    identity = Identity.passing()
    region = identity.member("region", ("contributor", "keyholder", "reader"))
    roster = Roster.of("counted", 1, [region, Identity.passing().member("aggregator", ("aggregator",))])
    check = m.Check(round=1, list=os.urandom(32), value=one.checks[0])
    study, before = os.urandom(32), os.urandom(32)

    def sign() -> m.Message:
        return identity.signer.sign(check, federation="counted", study=study, sender="region", previous=before)

    envelope = sign().envelope
    parts: list[tuple[str, int, Callable[[], object]]] = [
        ("a message signed", MESSAGES, sign),
        (
            "a message read, and its signature verified",
            MESSAGES * REGIONS,  # each by everybody but its sender
            lambda: m.read_message(envelope, roster),
        ),
        ("a contribution, with SEAL", REGIONS, lambda: one.encrypt("tenseal")),
        ("the sum of all contributions, with SEAL", 1, lambda: one.aggregate("tenseal")),
        ("a check value", REGIONS, lambda: (_check_factors.cache_clear(), one.own_check())),  # a list of its own each
        *((f"the answers of keyholder {k}", 1, lambda k=k: one.answer(k)) for k in range(REGIONS)),
        ("a sum read: seals, checks, opening", REGIONS, one.read),
    ]
    return _timed(parts)


def libraries(values: int) -> list[dict[str, Any]]:
    """The same of what OpenSSL and SEAL do in those parts, and nobody could do faster but they."""
    one = Round("precise", values, REGIONS)
    key, envelope = Ed25519PrivateKey.generate(), os.urandom(ENVELOPE)
    signature, public = key.sign(envelope), key.public_key()
    context = seal.context_of(one.profile)
    polynomial = uniform_polynomials(one.profile, os.urandom(32), 0, 1)[0]

    def add() -> None:
        adder, total = seal.Adder(context), seal.ciphertext(context, context.zeros, polynomial)
        for _ in range(REGIONS):
            adder.add(total, polynomial)
        adder.first(total)

    return _timed(
        [
            ("OpenSSL: an Ed25519 signature", MESSAGES, lambda: key.sign(envelope)),
            ("OpenSSL: one verified", MESSAGES * REGIONS, lambda: public.verify(signature, envelope)),
            ("SEAL: an encryption of zero", REGIONS, lambda: seal.Masker(context, polynomial).mask(polynomial)),
            ("SEAL: the sum", 1, add),
        ]
    )


def _timed(parts: list[tuple[str, int, Callable[[], object]]]) -> list[dict[str, Any]]:
    other = np.zeros(OTHER_DATA, np.uint8)
    return [
        {
            "what": what,
            "times": times,
            "seconds": _median(part, lambda: None),
            "cold": _median(part, lambda: np.add(other, 1, out=other)),
        }
        for what, times, part in parts
    ]


def _median(part: Callable[[], object], before: Callable[[], object]) -> float:
    part()
    seconds = []
    for _ in range(REPETITIONS):
        before()
        begun = time.perf_counter()
        part()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)
