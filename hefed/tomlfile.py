"""A TOML file as a dict, or one sentence that says why not. Relies on tomllib; knows not what the file is for."""

import re
import tomllib
from pathlib import Path
from typing import Any

from hefed.wording import quoted

MAX_BYTES = 1 << 20
MAX_PARTS = 32
"""Of a key such as regions.lund.data, which has three. tomllib takes the square of their number in time."""

_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_MANY_DIGITS = re.compile("0[xob][0-9A-Fa-f_]{1000}")  # of a decimal number Python itself refuses that many
_MANY_PARTS = re.compile(rf"(?<![A-Za-z0-9_.-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_PARTS}}}")


class TomlError(ValueError):
    """A file that is not there or is not TOML; the sentence leaves out the file's name, which the caller knows."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of the file. Raises TomlError, also for a file of more than MAX_BYTES bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TomlError(f"cannot be read: {(error.strerror or 'unknown reason').lower()}; check the name") from None
    if len(data) > MAX_BYTES:
        raise TomlError(f"has more than {MAX_BYTES >> 20} MiB; is it the right file?")
    try:
        text = data.decode()
        if _MANY_PARTS.search(text):
            raise TomlError(f"has a key of more than {MAX_PARTS} parts with dots between them; is it the right file?")
        if _MANY_DIGITS.search(text):
            raise TomlError("has a number of more than 1000 digits; is it the right file?")
        return tomllib.loads(text)
    except TomlError:
        raise
    except UnicodeDecodeError:
        raise TomlError("is not UTF-8 text; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise TomlError(_fault(str(error))) from None


def _fault(message: str) -> str:
    place = re.search(r" \(at (.*)\)$", message)
    where = f" ({place[1]})" if place else ""
    table = re.search(r"^Cannot declare \((.*)\) twice", message)
    if table is None:
        return f"is not valid TOML: {message}"
    names = [name.strip(" '") for name in table[1].split(",") if name.strip()]
    if names[0] == "regions" and len(names) == 2:
        return f"two regions with the same name {quoted(names[1])}{where}; give each its own name"
    return f"section [{'.'.join(names)}] is there twice{where}; join the two"
