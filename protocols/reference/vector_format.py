"""How vectors are written as JSON, and the made-up inputs that they share.

NOT FOR PRODUCTION: the "secrets" are hashes that anybody can compute. Relies on the reference alone.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any

from protocols.reference.keys import Label, subsets
from protocols.reference.primitives import H, Profile, RefusedError, Subset, mask

Json = dict[str, Any]
LONGEST_IN_FULL = 512  # bytes
RUN = re.compile(rb"(.)\1{255,}", re.DOTALL)


def fixed(*names: str | int) -> bytes:
    """32 bytes that stand for a secret, a hash or a key in vectors."""
    return H("vector", *names)


def brief(data: bytes) -> Json:
    """Bytes in hexadecimal, or, where they are long, their hash and their ends."""
    if len(data) <= LONGEST_IN_FULL:
        shown = {"hex": data.hex()}
    else:
        shown = {"first": data[:32].hex(), "last": data[-32:].hex()}
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **shown}


def in_full(data: bytes, text: Callable[[bytes], str] = bytes.hex) -> str | list[str | Json]:
    """All bytes, as text; with runs of one byte in them, a list of what follows on what."""
    parts: list[str | Json] = []
    end = 0
    for run in RUN.finditer(data):
        if run.start() > end:
            parts.append(text(data[end : run.start()]))
        parts.append({"repeat": run[1].hex(), "count": len(run[0])})
        end = run.end()
    if not parts:
        return text(data)
    return parts + [text(data[end:])] * (end < len(data))


def bytes_of(shown: str | list[str | Json], read: Callable[[str], bytes] = bytes.fromhex) -> bytes:
    """The bytes that `in_full` shows."""
    return b"".join(
        read(part) if isinstance(part, str) else bytes.fromhex(part["repeat"]) * part["count"]
        for part in ([shown] if isinstance(shown, str) else shown)
    )


def polynomial(residues: list[int]) -> Json:
    """A polynomial: its first residues and the hash of all of them as `u64`."""
    data = b"".join(r.to_bytes(8, "little") for r in residues)
    return {"first": [str(r) for r in residues[:3]], "sha256": hashlib.sha256(data).hexdigest()}


def made_up_label(profile: Profile, contributors: int, exponents: tuple[int, ...], purpose: str, round_: int) -> Label:
    previous = fixed("previous")
    return Label("nordic", fixed("study"), fixed("cohort"), round_, purpose, profile, contributors, exponents, previous)


def label_fields(label: Label) -> Json:
    return {
        "federation": label.federation,
        "study": label.study.hex(),
        "cohort": label.cohort.hex(),
        "round": str(label.round),
        "purpose": label.purpose,
        "profile": label.profile.identifier,
        "contributors": label.contributors,
        "exponents": list(label.exponents),
        "previous": label.previous.hex(),
        "digest": label.digest.hex(),
    }


def seeds_of(dealer: str, keyholders: int, threshold: int) -> dict[Subset, bytes]:
    return {subset: fixed("seed", dealer, mask(subset)) for subset in subsets(keyholders, threshold)}


def refused(kind: str, function: Callable[..., object], *arguments: object) -> str:
    """`kind`, after trying that the reference refuses these arguments so."""
    try:
        function(*arguments)
    except RefusedError as error:
        if error.kind == kind:
            return kind
        raise
    raise AssertionError(f"{function.__name__} was expected to refuse this as {kind}")
