"""The text of a drafted study file: commented TOML, ready for `hefed simulate`. Relies on `draft` for what it says."""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from hefed.data.draft import DraftError, Guess, common_columns, guess_model
from hefed.study import RESERVED_NAMES
from hefed.wording import counted, quoted

MIN_REGIONS = 3  # a threshold of 2, and one more
MANY_REGIONS = 5  # of more regions than this, only so many hold keys

_NAME_LENGTH = 64


def draft_study(paths: Sequence[Path], target: Path) -> str:
    """The study file to be written at `target` for the tables of the regions. Raises DraftError or DataError."""
    if len(paths) < MIN_REGIONS:
        raise DraftError(
            f"a study needs the tables of at least {MIN_REGIONS} regions, not {len(paths)}; name more files"
        )
    names = region_names(paths)
    columns, others = common_columns(paths)
    guess = guess_model(columns)
    left_out = guess.left_out | dict.fromkeys(others, "not in every table, or not once")
    return "\n".join(
        [
            f"# A study of {counted(len(paths), 'region')}, guessed from their columns. Look at every line.",
            f"# See what it would do:  hefed simulate --check {target.name}",
            "",
            "[study]",
            f"id = {_text(slug(target.stem) or 'study')}",
            f"purpose = {_text(f'Which factors go with {guess.response}?')}  # people read this before they approve",
            "",
            *_model(guess),
            *_comments(left_out),
            "",
            *_security(names),
            "",
            *_regions(names, paths, target.parent),
        ]
    )


def region_names(paths: Iterable[Path]) -> list[str]:
    """A name for each file, made from its own: small letters, digits and hyphens. Raises DraftError on doubles."""
    names: dict[str, Path] = {}
    for path in paths:
        name = slug(path.stem)
        if not name or name in RESERVED_NAMES:
            raise DraftError(f"{path}: no name for a region can be made of the file's name; rename the file")
        if name in names:
            raise DraftError(f"{names[name]} and {path}: two regions with the same name {quoted(name)}; rename a file")
        names[name] = path
    return list(names)


def slug(text: str) -> str:
    """`text` as a name: letters without their accents, everything else hyphens. May be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain)[:_NAME_LENGTH].strip("-")


def _model(guess: Guess) -> list[str]:
    covariates = ",\n    ".join(_text(name) for name in guess.covariates)
    if guess.duration is None:
        response = [
            'kind = "logistic"               # or "cox", with duration and event',
            f"outcome = {_text(guess.response)}",
        ]
        kind_only = []
    else:
        response = [
            'kind = "cox"                    # or "logistic", with outcome',
            f"duration = {_text(guess.duration)}",
            f"event = {_text(guess.response)}  # 1: it happened, 0: not until then",
        ]
        kind_only = [
            'ties = "efron"                  # or "breslow"',
            'baseline = "per-region"         # or "shared": one baseline hazard; reveals the event times',
        ]
    missing = (
        '"drop-rows"           # leaves out incomplete rows; or "refuse"'
        if guess.drop_rows
        else '"refuse"              # or "drop-rows"'
    )
    return [
        "[model]",
        *response,
        f"covariates = [\n    {covariates},\n]",
        *kind_only,
        f"missing = {missing}",
        "ridge = 0.0                     # lambda / 2 * sum of squares of the standardised coefficients",
    ]


def _comments(left_out: dict[str, str]) -> list[str]:
    if not left_out:
        return []
    return ["# Left out:", *(f"#   {quoted(name)}: {why}" for name, why in left_out.items())]


def _security(names: Sequence[str]) -> list[str]:
    holders = names[:MANY_REGIONS]
    keyholders = (
        ["# keyholders = [...]            # all regions, unless listed"]
        if len(names) == len(holders)
        else [f"keyholders = [{', '.join(map(_text, holders))}]  # few of many regions: each answers in every round"]
    )
    return [
        "[security]",
        "threshold = 2                   # keyholders that must act together to open a sum",
        *keyholders,
        "min_contributors = 3            # at least threshold + 1",
        'profile = "precise"             # or "compact": half the bytes, coarser sums',
        '# deadline = "10 min"           # for the whole study',
    ]


def _regions(names: Sequence[str], paths: Sequence[Path], folder: Path) -> list[str]:
    lines = []
    for name, path in zip(names, paths, strict=True):
        lines += [f"[regions.{name}]", f"data = {_text(os.path.relpath(path.resolve(), folder.resolve()))}"]
    return [*lines, ""]


def _text(value: str) -> str:
    """A TOML basic string."""
    if not value.isprintable():
        raise DraftError(f"{quoted(value)} has unprintable characters; rename it")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
