"""Sentences about input that cannot be used: one for each mistake, with a suggestion where a near match exists.

Relies on difflib and on the form of pydantic's errors. What it quotes may come from anybody: it is cut, and unprintable
characters are escaped.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

Location = tuple[str | int, ...]

NAME_RULE = "must be small letters, digits and inner hyphens, at most 64"

_QUOTED_LENGTH = 60
_QUOTED_BITS = 256
_MOST_MISTAKES = 1000  # to list more would take seconds
_NO_SENTENCE_OF_ITS_OWN = "default_factory_not_called"  # follows from another error of the same section


def quoted(value: object) -> str:
    """A number, or a text in quotes, on one line, at most 60 characters of it; of anything else only what it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > _QUOTED_BITS:  # Python refuses to write out very long ones
        return "a very long number"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        return (
            "a list"
            if isinstance(value, list | tuple)
            else "a section"
            if isinstance(value, dict)
            else "something else"
        )
    shown = value if len(value) <= _QUOTED_LENGTH else value[:_QUOTED_LENGTH] + "..."
    return f"'{shown}'" if shown.isprintable() else repr(shown)


def suggestion(word: object, known: Iterable[str]) -> str:
    """`; did you mean '...'?` when one of `known` is near `word`, otherwise nothing."""
    if not isinstance(word, str):
        return ""
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(word[:_QUOTED_LENGTH].casefold(), list(folded), n=1, cutoff=0.6)
    return f"; did you mean {quoted(folded[near[0]])}?" if near else ""


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def validation_sentence(error: "ValidationError", keys: Mapping[Location, Iterable[str]]) -> str:
    """What is wrong first of all, as one sentence. `keys` lists the known keys of each section by its location."""
    if error.error_count() > _MOST_MISTAKES:
        return f"has {error.error_count()} mistakes; is it the right one?"
    details = [detail for detail in error.errors(include_url=False) if detail["type"] != _NO_SENTENCE_OF_ITS_OWN]
    # A misspelt key is also a missing one; the spelling is what to mend.
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    location: Location = first["loc"]
    if first["type"] == "extra_forbidden":
        return _unknown_key(location, keys)
    if first["type"] == "missing":
        return _missing(location)
    return f"{_place(location)} {_fault(first)}".strip()


def _unknown_key(location: Location, keys: Mapping[Location, Iterable[str]]) -> str:
    section, key = location[:-1], location[-1]
    known = keys.get(section, keys.get(section[:1], ()))
    kind = "key" if section else "section or key"
    place = f" in {_place(section)}" if section else ""
    return f"unknown {kind} {quoted(key)}{place}{suggestion(key, known) or '; remove it'}"


def _missing(location: Location) -> str:
    section, key = location[:-1], location[-1]
    if not section:
        return (
            f"{quoted(key)} is missing; add a section [{key}]"
            if key != "regions"
            else (
                "no region is named; add a section [regions.NAME] for each, with contributes = true, or "
                'data = "FILE.csv" to simulate'
            )
        )
    return f"{_place(section)} has no {quoted(key)}; add it"


def _place(location: Location) -> str:
    """`[security] threshold`, `[model] covariates, entry 2`, `[regions.lund] data`."""
    if not location:
        return ""
    steps = list(location)
    if steps[0] == "model" and len(steps) > 1:
        del steps[1]  # pydantic names the kind of model that it took
    section = str(steps.pop(0))
    if section == "regions" and steps:
        section += "." + quoted(steps.pop(0)).strip("'")
    keys = [str(step) for step in steps if isinstance(step, str) and step != "[key]"]
    entries = [f", entry {step + 1}" for step in steps if isinstance(step, int)]
    return " ".join([f"[{section}]", *(quoted(key).strip("'") for key in keys)]) + "".join(entries[:1])


def _fault(detail: Mapping[str, Any]) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    value = detail.get("input")
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return _one_of(context["expected"].replace(" or ", ", "), value)
        case "union_tag_invalid":
            return f"kind {_one_of(context['expected_tags'], context['tag'])}"
        case "union_tag_not_found":
            return 'has no \'kind\'; add kind = "cox" or kind = "logistic"'
        case "int_type":
            return f"must be a whole number, not {quoted(value)}"
        case "float_type":
            return f"must be a number, not {quoted(value)}"
        case "string_type":
            return f"must be text in quotes, not {quoted(value)}"
        case "tuple_type":
            return f"must be a list in square brackets, not {quoted(value)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a section of its own"
        case "finite_number":
            return "must be a finite number"
        case "greater_than_equal":
            return f"must be at least {context['ge']}, not {quoted(value)}"
        case "greater_than":
            return f"must be more than {context['gt']}, not {quoted(value)}"
        case "less_than_equal":
            return f"must be at most {context['le']}, not {quoted(value)}"
        case "string_pattern_mismatch":
            return f"{NAME_RULE}, not {quoted(value)}"
        case "string_too_short" | "too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "too_long":
            return f"must have at most {context['max_length']} entries"
        case other:
            return f"cannot be used ({other})"


def _one_of(expected: str, value: object) -> str:
    choices = [choice.strip(" '") for choice in expected.split(",")]
    return (
        f"must be {' or '.join(quoted(choice) for choice in choices)}, not {quoted(value)}{suggestion(value, choices)}"
    )
