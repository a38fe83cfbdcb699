"""The table of attacks names tests that exist."""

import re
from pathlib import Path

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


def test_every_test_that_the_table_names_exists_and_every_control_is_named() -> None:
    page = (HERE / "README.md").read_text()
    named = re.findall(r"`((?:tests/[a-z]+/)?test_\w+\.py)::(test_\w+)`", page)
    assert len(named) == page.count("::")
    for path, name in named:
        source = (ROOT if path.startswith("tests/") else HERE) / path
        assert re.search(rf"^def {name}\(", source.read_text(), re.MULTILINE), (path, name)
    sources = [path.read_text() for path in HERE.glob("test_*.py")]
    controls = {name for source in sources for name in re.findall(r"^def (test_control_\w+)", source, re.MULTILINE)}
    assert controls <= {name for _, name in named}
