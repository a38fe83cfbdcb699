"""`make performance`: writes `docs/performance.md` from `benchmarks/results/`, from which every figure on it comes.

The words around the figures are here. Must not measure anything, so that the page can be made again anywhere.
"""

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

from benchmarks.limits import PRODUCT, counts
from benchmarks.ratios import RESULTS, read, table
from benchmarks.worker import ROOT
from hefed.crypto.parameters import PROFILES

PAGE = ROOT / "docs" / "performance.md"
TYPICAL = 1_000_000
"""Values of the round that the page takes apart."""

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


class _Steps:
    """The cases of `steps.json`."""

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        self._steps = steps

    def find(self, step: str, values: int, profile: str, parties: int = 3, engine: str = "vectorised") -> Any:
        """The case, or None."""
        wanted = {"step": step, "values": values, "profile": profile, "parties": parties, "engine": engine}
        return next((case for case in self._steps if wanted.items() <= case.items()), None)

    def milliseconds(self, step: str, values: int, profile: str, **others: Any) -> str:
        """For a table."""
        case = self.find(step, values, profile, **others)
        return "" if case is None else number(1e3 * case["seconds"])

    @property
    def longest(self) -> int:
        """Values of the round that is taken apart, or of the longest that was measured."""
        lengths = {case["values"] for case in self._steps if case["step"] == "round"}
        return TYPICAL if TYPICAL in lengths else max(lengths)

    @property
    def lengths(self) -> list[int]:
        """All numbers of values."""
        return sorted({case["values"] for case in self._steps if case["step"] == "round"})

    @property
    def parties(self) -> list[int]:
        """All numbers of regions."""
        return sorted({case["parties"] for case in self._steps if case["step"] == "round"})


def number(value: float) -> str:
    """Three digits, without a power of ten."""
    if value == 0:
        return "0"
    text = f"{value:.3g}"
    return f"{float(text):,.0f}" if abs(value) >= 100 else f"{float(text):g}"


def rows(*lines: tuple[object, ...]) -> str:
    """A Markdown table; the first line is its head."""
    head, *rest = ("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])


def page(details: dict[str, Any], ratios: dict[str, float | None]) -> str:
    """The whole page."""
    steps = _Steps(details["steps"]["steps"])
    sections = [
        _head(details),
        "## What is to be reached\n\n" + table(ratios).rstrip(),
        _peers(details["encryption"]),
        _where(steps),
        _bound(details["limits"], steps),
        _growth(details, steps),
        _parties(steps),
        _small(details),
    ]
    return "\n\n".join(_filled(block) for section in sections for block in section.split("\n\n")) + "\n"


def _filled(block: str) -> str:
    """A paragraph with lines of even length; headings, tables and pictures as they are."""
    if block.startswith(("#", "|", "!")):
        return block
    return textwrap.fill(" ".join(block.split()), 118, break_long_words=False, break_on_hyphens=False)


def _head(details: dict[str, Any]) -> str:
    machine = details["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    loads = [one for both in details["load"].values() for one in both]
    return (
        "# What a round costs\n\n"
        "`make performance` writes this page from `benchmarks/results/`, which `make bench` "
        "measures. Do not edit it.\n"
        "All times are of one run with one thread for each process, the least of several tries. "
        "Compare them with each\n"
        "other only.\n\n"
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB; "
        f"{machine['system']};\n"
        f"Python {machine['python']}; {packages}.\n"
        f"While it was measured, {min(loads):g} to {max(loads):g} processes wanted to run."
    )


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


def _where(steps: _Steps) -> str:
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


def _bound(limits: dict[str, Any], steps: _Steps) -> str:
    rates, values = limits["rates"], steps.longest
    names = {
        "lane_operations": ("float64 operations in SIMD lanes", 1e9, "thousand million"),
        "aes_bytes": ("AES-256-CTR, bytes", 1e9, "GB"),
        "memory_bytes": ("memory, bytes read and written", 1e9, "GB"),
        "sha256_bytes": ("SHA-256, bytes", 1e9, "GB"),
    }
    lines: list[tuple[object, ...]] = [
        ("what", "the machine, a second", *(x for p in PROFILES for x in (f"`{p}`, a value", "ms a million")))
    ]
    for key, (words, unit, called) in names.items():
        cells: list[object] = [words, f"{number(rates[key] / unit)} {called}"]
        for name, profile in PROFILES.items():
            cells += [number(counts(profile)[key]), number(limits["bounds_ms_per_million"][name][key])]
        lines.append(tuple(cells))
    sums: list[object] = ["all of it, one after another", ""]
    measured: list[object] = ["measured", ""]
    for name in PROFILES:
        sums += ["", number(limits["bounds_ms_per_million"][name]["sum"])]
        case = steps.find("encrypt", values, name)
        measured += ["", "" if case is None else number(1e9 * case["seconds"] / values)]
    lines += [tuple(sums), tuple(measured)]
    return (
        "## What bounds a contribution\n\n"
        "Counted for one value, against what the machine did in the same run. A transform has "
        "log2(N)/2 butterflies a\n"
        f"value, each an exact modular product ({PRODUCT} operations), an addition and a "
        f"subtraction; the products with the\n"
        "key and with the twist, and the last reduction, are three products more. AES makes 6 bytes of the public\n"
        "polynomial for each prime and 8 bytes of noise. Memory is touched for the value, its exponent and what is\n"
        "packed; everything else stays in the cache. A processor does some of this at the same "
        "time, so the sum is not a\n"
        "strict bound, and loads, stores, the table of the noise and packing are not counted.\n\n" + rows(*lines)
    )


def _growth(details: dict[str, Any], steps: _Steps) -> str:
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
    roles = ", ".join(f"{role} {number(size)}" for role, size in peaks["megabytes"].items())
    return (
        "## Length\n\n"
        "All parts of a round after another: one contributor, the aggregator, one keyholder, one reader.\n\n"
        f"{rows(*lines)}\n\n"
        f"Memory at {peaks['values']:,} values of `compact`, in MB above the program and the "
        f"caller's own vector: {roles}.\n"
        "What is received and what is to be sent counts.\n\n"
        "![Time against values](../benchmarks/results/seconds.png)\n\n"
        "![Bytes against values](../benchmarks/results/bytes.png)"
    )


def _parties(steps: _Steps) -> str:
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


def _small(details: dict[str, Any]) -> str:
    part = details["small_round"]
    medians = {name: number(1e3 * min(each)) for name, each in part["medians"].items()}
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
        f"messages and flushes in the clear, {medians['plain']} ms.\n\n"
        "Whole fits: three regions with 20 covariates, event times in days with ties; processes up, "
        "tables loaded, keys\n"
        "dealt, until every reader has signed the end. In the clear: the pooled table in one "
        "process. Coefficients are\n"
        "compared with those of the same model, for Cox with a baseline for each region.\n\n" + rows(*lines)
    )


def made_from(folder: Path) -> str:
    """The page for the results in a folder."""
    return page(read(folder), json.loads((folder / "ratios.json").read_text()))


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
