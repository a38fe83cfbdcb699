"""The table of keys in examples/README.md against the study file that hefed accepts."""

import re
from pathlib import Path

from hefed.study import Cox, Heading, Limits, Logistic, Security, Study

SECTIONS = {"[study]": (Heading,), "[model]": (Logistic, Cox), "[security]": (Security,), "[limits]": (Limits,)}


def documented() -> dict[str, dict[str, str]]:
    """By section, each key and the default that the table gives."""
    found: dict[str, dict[str, str]] = {}
    section = ""
    for line in Path("examples/README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1].startswith("`"):
            section = cells[0].strip("`") or section
            for key in re.findall(r"`(\w+)`", cells[1]):
                found.setdefault(section, {})[key] = cells[2].strip("`")
    return found


def test_every_key_is_documented_and_no_other() -> None:
    keys = documented()
    assert set(keys) == {*SECTIONS, "[regions.NAME]"}
    for section, models in SECTIONS.items():
        assert set(keys[section]) == set().union(*(model.model_fields for model in models))


def test_the_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    source = Path("examples/heart-failure/cox.toml").read_text()
    sparse = "\n".join(
        line
        for line in source.splitlines()
        if not re.match("(ties|baseline|missing|ridge|threshold|min_c|profile)", line)
    )
    written = source
    for section, keys in documented().items():
        plain = {key: value for key, value in keys.items() if re.fullmatch(r'".*"|[0-9.]+', value)}
        lines = [f"{key} = {value}" for key, value in plain.items() if not re.search(rf"^{key} =", written, re.M)]
        if lines and section in written:
            written = written.replace(section, "\n".join([section, *lines]))
        elif lines:
            written += "\n".join(["", section, *lines])
    (tmp_path / "sparse.toml").write_text(sparse)
    (tmp_path / "written.toml").write_text(written)
    assert len(written) > len(source) + 100
    assert Study.load(tmp_path / "sparse.toml").public() == Study.load(tmp_path / "written.toml").public()
