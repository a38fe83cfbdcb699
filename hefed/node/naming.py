"""How people name a study, the same for every command: by its name, or by the first digits of its hash."""

SHORTEST_PREFIX = 4
"""Digits of a study's hash that are enough to name it."""


def is_named(digest: bytes, name: str | None, wanted: str) -> bool:
    """Whether `wanted` is the study's name, or begins its hash; digits may be large, and in groups."""
    digits = wanted.lower().replace(" ", "")
    return wanted == name or (len(digits) >= SHORTEST_PREFIX and digest.hex().startswith(digits))
