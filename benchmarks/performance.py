"""`make performance`: writes `docs/performance.md` from `benchmarks/results/`, from which every figure on it comes.

The words around the figures are here. Must not measure anything, so that the page can be made again anywhere.
"""

import argparse
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bounds import bound_section, counted_small_round, profile_section, unmet_section
from benchmarks.ratios import PARTS as MEASURED
from benchmarks.ratios import RESULTS, Size, read, table
from benchmarks.tables import Steps, number, rows
from benchmarks.worker import ROOT
from hefed.crypto.parameters import PROFILES

PAGE = ROOT / "docs" / "performance.md"
PARTS = (
    ("a contributor", ("encode", "encrypt", "check value")),
    ("the aggregator", ("aggregate",)),
    ("a keyholder", ("share answers",)),
    ("a reader", ("verify the sum", "open and decode", "read")),
)
MEANINGS = {
    "encode": "scale, round, check the range (part of the next)",
    "encrypt": "encode, encrypt, serialise, hash",
    "check value": "check value of its contribution",
    "aggregate": "check the form of all contributions, add them, serialise the sum",
    "share answers": "answers and hashes of all shares that it holds, sealed and hashed",
    "verify the sum": "check of the sum (part of the last)",
    "open and decode": "look at the answers, hash and add them, decode (part of the last)",
    "read": "seals, cross-check, check of the sum, opening, decoding, hash",
}
PEERS = {
    "hefed": "hefed, `compact`",
    "tenseal_flare": "TenSEAL as NVIDIA FLARE sets it up",
    "openfhe": "OpenFHE, three of three",
    "openfhe_least": "the same with as few bits as still open",
    "desilofhe": "desilofhe, three of three",
}


def page(details: dict[str, Any], ratios: dict[str, float | None], folder: Path) -> str:
    """The whole page, with the plots in a folder; a section whose part was not measured says so."""
    steps = Steps(details["steps"]["steps"]) if "steps" in details else None
    sections = [
        _head(details),
        _reached(details, ratios),
        *(
            make() if all(part in details for part in parts) else f"## {title}\n\nNot measured."
            for title, parts, make in _sections(details, steps, folder)
        ),
    ]
    return "\n\n".join(_filled(block) for section in sections for block in section.split("\n\n")) + "\n"


def _sections(
    details: dict[str, Any], steps: Steps | None, folder: Path
) -> list[tuple[str, tuple[str, ...], Callable[[], str]]]:
    """Title, parts of the results that it needs, and what makes it."""
    return [
        ("Beside other programs", ("encryption",), lambda: _peers(details["encryption"])),
        ("Where the time goes", ("steps",), lambda: _where(steps)),
        ("Inside the steps", ("profiles",), lambda: profile_section(details["profiles"])),
        ("What bounds it", ("limits",), lambda: bound_section(details["limits"], details.get("profiles"), steps)),
        ("Length", ("steps", "peaks"), lambda: _growth(details, steps) + _plots(folder)),
        ("Regions", ("steps",), lambda: _parties(steps)),
        ("The first start and every other", ("start",), lambda: _start(details["start"])),
        ("Small rounds and whole fits", ("small_round",), lambda: _small(details)),
    ]


def _filled(block: str) -> str:
    """A paragraph or an entry of a list with lines of even length; headings, tables and pictures as they are."""
    if block.startswith(("#", "|", "!")):
        return block
    indent = "  " if block.startswith("- ") else ""
    text = " ".join(block.split())
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _head(details: dict[str, Any]) -> str:
    machine = details["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    loads = [one for both in details["load"].values() for one in both]
    return (
        "# What a round costs\n\n"
        "`make performance` writes this page from `benchmarks/results/`, which `make bench` "
        "measures. Do not edit it.\n"
        "All times are of one run with one thread for each process, the least of several tries "
        "(a step of 10,000,000 values is tried once; of rounds between processes the median counts). Compare them with "
        "each other only.\n\n"
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB; "
        f"{machine['system']};\n"
        f"Python {machine['python']}; {packages}.\n"
        f"While it was measured, {min(loads):g} to {max(loads):g} processes wanted to run."
        + (" Other programs ran too: alone, all of this is faster." if _is_busy(details["load"]) else "")
    )


def _is_busy(loads: dict[str, list[float]]) -> bool:
    """Whether the machine had work before a part that waits for nothing but its own process."""
    return any(before > 1.5 for name, (before, _) in loads.items() if name in ("limits", "encryption"))


def _reached(details: dict[str, Any], ratios: dict[str, float | None]) -> str:
    blocks = ["## What is to be reached"]
    if other := [words for what, words in _sizes(details) if what]:
        blocks.append("These are not the sizes that the figures are meant for: " + "; ".join(other) + ".")
    blocks += [table(ratios).rstrip(), unmet_section(details, ratios)]
    if missing := [name for name in MEASURED if name not in details]:
        blocks.append("Parts that were not measured: " + ", ".join(f"`{name}`" for name in missing) + ".")
    return "\n\n".join(blocks)


def _sizes(details: dict[str, Any]) -> list[tuple[bool, str]]:
    """Whether a part was measured with other sizes than those that its figures are meant for, and the words for it."""
    meant, found = Size(), []
    for part, key, size, what in (
        ("encryption", "values", meant.values, "values of a contribution"),
        ("peaks", "values", meant.longest, "values for memory"),
        ("cox_small", "rows", meant.rows[0], "rows of the smaller Cox fit"),
        ("cox_large", "rows", meant.rows[1], "rows of the larger Cox fit"),
        ("logistic", "rows", meant.rows[1], "rows of the logistic fit"),
    ):
        if part in details:
            found.append((details[part][key] != size, f"{details[part][key]:,} {what} in place of {size:,}"))
    if "growth" in details:
        lengths = sorted(map(int, details["growth"]))
        words = " and ".join(f"{values:,}" for values in lengths)
        found.append((lengths != sorted(meant.growth), f"{words} values for the growth of time"))
    return found


def _peers(part: dict[str, Any]) -> str:
    lines: list[tuple[object, ...]] = [
        ("system", "encode, encrypt, serialise, ms", "answer, ms", "combine and decode, ms", "bytes a value", "error")
    ]
    for name, words in PEERS.items():
        if (system := part["systems"].get(name)) is None:
            lines.append((words, "not installed", "", "", "", ""))
            continue
        encrypt, opening = system["encrypt"], system["open"]
        lines.append(
            (
                words,
                number(1e3 * encrypt["seconds"]),
                number(1e3 * opening["answer"]) if "answer" in opening else "none",
                number(1e3 * opening.get("read", opening["seconds"])),
                number(encrypt["bytes"] / part["values"]),
                f"{opening['error']:.0e}",
            )
        )
    return (
        "## Beside other programs\n\n"
        f"{part['values']:,} values, three regions, milliseconds of one party. hefed's figures hold "
        f"the hash of what is\n"
        "sent, the seals, the cross-check of keyholders and the check of the sum, which the others "
        "do not have. With\n"
        "FLARE's parameters all regions share one key, so nobody answers and whoever holds the key "
        "can open anything;\n"
        "with the others everybody must be there to open, while hefed opens with two of three.\n\n" + rows(*lines)
    )


def _where(steps: Steps) -> str:
    values = steps.longest
    lines: list[tuple[object, ...]] = [("who", "what", *(f"`{name}`, ms" for name in PROFILES))]
    for who, names in PARTS:
        for name in names:
            lines.append((who, MEANINGS[name], *(steps.milliseconds(name, values, profile) for profile in PROFILES)))
    lines.append(("", "all parts after another", *(steps.milliseconds("round", values, p) for p in PROFILES)))
    seal = ", ".join(
        f"{steps.milliseconds('encrypt', values, profile, engine='tenseal')} ms with `{profile}`"
        for profile in PROFILES
    )
    once = ", ".join(
        f"{steps.milliseconds('deal', values, profile)} and {steps.milliseconds('take deals', values, profile)} ms "
        f"with `{profile}`"
        for profile in PROFILES
    )
    return (
        f"## Where the time goes\n\nA round of {values:,} values, three regions of which any two "
        f"open:\n\n{rows(*lines)}\n\n"
        f"The same contribution by the engine `tenseal` takes {seal}. Once a study, dealing a key and taking what\n"
        f"everybody dealt take {once}."
    )


def _growth(details: dict[str, Any], steps: Steps) -> str:
    lines: list[tuple[object, ...]] = [
        ("values", *(f"`{p}`, ms" for p in PROFILES), *(f"`{p}`, nanoseconds a value" for p in PROFILES))
    ]
    for values in steps.lengths:
        each = []
        for profile in PROFILES:
            case = steps.find("round", values, profile)
            each.append("" if case is None else number(1e9 * case["seconds"] / values))
        lines.append((f"{values:,}", *(steps.milliseconds("round", values, p) for p in PROFILES), *each))
    peaks = details["peaks"]
    roles, processes = (
        ", ".join(f"{role} {number(size)}" for role, size in peaks[what].items()) for what in ("megabytes", "processes")
    )
    return (
        "## Length\n\n"
        "All parts of a round after another: one contributor, the aggregator, one keyholder, one reader.\n\n"
        f"{rows(*lines)}\n\n"
        f"Memory at {peaks['values']:,} values of `compact`, in MB above the program and the "
        f"caller's own vector: {roles}.\n"
        "What is received and what is to be sent counts.\n"
        f"Whole processes of a study of that length need, above those of one of 1,000 values and above their "
        f"vector: {processes}.\n"
        "A region is contributor, keyholder and reader at once. Files that are mapped count too: what came and is "
        "longer than 4 MiB lies in one.\n\n"
        "The power of the number of values with which each step's time grows, between the two longest; 1 is in "
        f"proportion:\n\n{_slopes(steps)}"
    )


def _plots(folder: Path) -> str:
    """The plots that are there, as pictures of the page."""
    plots = {"seconds.png": "Time against values", "bytes.png": "Bytes against values"}
    there = (
        f"\n\n![{words}](../benchmarks/results/{name})" for name, words in plots.items() if (folder / name).exists()
    )
    return "".join(there)


def _slopes(steps: Steps) -> str:
    lines: list[tuple[object, ...]] = [("step", *(f"`{profile}`" for profile in PROFILES))]
    for step in (*(name for _, names in PARTS for name in names), "round"):
        slopes = [steps.slope(step, profile) for profile in PROFILES]
        lines.append((step, *("" if slope is None else f"{slope:.2f}" for slope in slopes)))
    return rows(*lines)


def _start(part: dict[str, Any]) -> str:
    return (
        "## The first start and every other\n\n"
        "A process that loads the encryption and runs "
        f"{part['of']}, as a node runs its self-test before it takes part, takes "
        f"{number(part['first'])} s when nothing is compiled yet, once after an installation, and "
        f"{number(part['second'])} s from then on; Python with NumPy alone takes {number(part['numpy alone'])} s. "
        "Kernels are kept on the disk."
    )


def _parties(steps: Steps) -> str:
    values = steps.longest
    names = ("deal", "take deals", "aggregate", "share answers", "read")
    lines: list[tuple[object, ...]] = [("regions", *(f"{name}, ms" for name in names))]
    for parties in steps.parties:
        cells = (steps.milliseconds(name, values, "compact", parties=parties) for name in names)
        lines.append((parties, *cells))
    return (
        f"## Regions\n\n{values:,} values of `compact`; every region contributes, holds keys and "
        f"reads, any two open.\n"
        "The keyholder is the one that answers most. More regions that must open together cost more: there is one\n"
        "answer for each set of keyholders that is one too small.\n\n" + rows(*lines)
    )


LIBRARIES = "The lines of OpenSSL and SEAL are parts of those above them."


def _small(details: dict[str, Any]) -> str:
    part = details["small_round"]
    medians = {name: number(1e3 * min(each)) for name, each in part["medians"].items()}
    counted = f"{counted_small_round(part)}\n\n{LIBRARIES}\n\n" if "counted" in part else ""
    lines: list[tuple[object, ...]] = [("fit", "rows", "rounds", "hefed, s", "in the clear, s", "largest difference")]
    for name in ("cox_small", "cox_large", "logistic"):
        if (fit := details.get(name)) is None:
            continue
        clear, differences = [], []
        for peer, found in fit["peers"].items():
            clear.append(f"{peer} {number(found['seconds'])}" if "seconds" in found else f"{peer} not installed")
            differences.append(found.get("largest_difference_in_standard_errors"))
        known = [one for one in differences if one is not None]
        difference = f"{max(known):.0e} standard errors" if known else ""
        hefed = fit["hefed"]
        figures = (f"{fit['rows']:,}", hefed["rounds"], number(hefed["seconds"]))
        lines.append((fit["kind"], *figures, ", ".join(clear), difference))
    return (
        "## Small rounds and whole fits\n\n"
        f"A round of {part['values']} values in `precise` between four processes, over ZeroMQ, "
        f"everything on disk before it is\n"
        f"sent: {medians['tenseal']} ms with the engine `tenseal`, {medians['vectorised']} ms with "
        f"`vectorised`; the same\n"
        f"messages and flushes in the clear, {medians['plain']} ms.\n\n{counted}"
        "Whole fits: three regions with 20 covariates, event times in days with ties; processes up, "
        "tables loaded, keys\n"
        "dealt, until every reader has signed the end. In the clear: the pooled table in one "
        "process. Coefficients are\n"
        "compared with those of the same model, for Cox with a baseline for each region.\n\n" + rows(*lines)
    )


def made_from(folder: Path) -> str:
    """The page for the results in a folder."""
    return page(read(folder), json.loads((folder / "ratios.json").read_text()), folder)


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    chosen.page.parent.mkdir(parents=True, exist_ok=True)
    chosen.page.write_text(made_from(chosen.results))


if __name__ == "__main__":
    main()
