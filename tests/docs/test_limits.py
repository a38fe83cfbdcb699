"""docs/limits.md lists every limit there is, with the values of the code."""

import importlib
import re
from pathlib import Path

from hefed.node.limits import USUAL, Limits
from hefed.protocol import limits

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def test_every_key_of_the_section_with_its_range() -> None:
    expected = []
    for key, field in Limits.model_fields.items():
        bounds = {kind: getattr(one, kind) for one in field.metadata for kind in ("ge", "le") if hasattr(one, kind)}
        values = map(number, (field.default, bounds["ge"], bounds["le"]))
        expected.append([f"`{key}`", *values, str(field.description)])
    assert rows("What an operator sets") == expected


def test_every_limit_of_the_protocol() -> None:
    table = rows("What the protocol fixes")
    assert sorted(name.strip("`") for name, _, _ in table) == sorted(limits.__all__)
    for name, value, what in table:
        assert value == number(getattr(limits, name.strip("`"))), name
        assert what


def test_the_limits_of_the_code() -> None:
    table = rows("What the code fixes")
    assert len(table) > 15
    for named, value, _ in table:
        name, module = re.fullmatch(r"`(\w+)` in `([\w/]+)\.py`", named).groups()  # type: ignore[union-attr]
        assert value == number(getattr(importlib.import_module(module.replace("/", ".")), name)), named


def test_the_protocol_takes_its_limits_from_that_one_place() -> None:
    from hefed.protocol import codec, messages, roster, text

    assert (codec.MAX_DEPTH, codec.MAX_BYTES) == (limits.MAX_NESTING, limits.MAX_ENCODED)
    assert (codec.MAX_ITEMS, codec.MAX_VALUES) == (limits.MAX_ITEMS, limits.MAX_PLAIN)
    assert (messages.MAX_ATTACHMENT, messages.MAX_ATTEMPTS) == (limits.MAX_ATTACHMENT, limits.MAX_ATTEMPTS)
    assert (roster.MAX_MEMBERS, text.MAX_BYTES) == (limits.MAX_MEMBERS, limits.MAX_TEXT)
    for module in (codec, messages, roster, text):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert not re.search(r"^MAX_\w+ = (?!limits\.)", source, re.MULTILINE), module.__name__


def test_what_security_says_of_a_member_is_so() -> None:
    page = " ".join((Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8").split())
    connections, messages = USUAL.connections_member, USUAL.study_messages
    assert f"at most {connections} connections and {messages:,} messages in a study" in page
