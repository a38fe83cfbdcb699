"""The part of the page of figures that says where time goes, what bounds it, and why a bound is not met.

Must not measure anything: all figures come from the results.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.limits import COUNTED, PRODUCT, operations
from benchmarks.profiling import REST
from benchmarks.ratios import BOUNDS, is_met
from benchmarks.round231 import REGIONS
from benchmarks.tables import Steps, number, rows
from hefed.crypto.parameters import PROFILES

Details = dict[str, Any]

PART_NAMES = {
    "keystream": "AES-256-CTR: public polynomials and noise",
    "load_products": "random words times the key",
    "inverse_stages": "inverse transform",
    "sample": "noise: lookups",
    "encode": "scale, round, range",
    "finish": "twist, noise, message, last reduction, packing",
    "sha256": "SHA-256",
    "seals": "AES-256-GCM: seals",
    "first_bad": "is every residue below its prime",
    "add_to_packed": "additions in packed form",
    "check_sums": "check of the sum",
    "combine_residues": "integers from residues",
    "write_integers": "integers written and compared with the range",
    "decode": "integers to float64",
    REST: "Python, NumPy, memory",
}
STEP_NAMES = {
    "encrypt": "contribution",
    "check value": "check value",
    "aggregate": "aggregate",
    "share answers": "answer",
    "read": "read",
}
RATES = {
    "lane_operations": ("float64 operations in SIMD lanes", "thousand million"),
    "aes_bytes": ("AES-256-CTR, bytes", "GB"),
    "seal_bytes": ("AES-256-GCM, bytes", "GB"),
    "sha256_bytes": ("SHA-256, bytes", "GB"),
    "memory_bytes": ("memory, bytes read and written", "GB"),
}
SMALL = 0.01
"""Parts of all steps below this share of their time are left out of the table."""


def profile_section(part: Details) -> str:
    """Where each step's time goes, by kernel."""
    blocks = [
        "## Inside the steps",
        f"Milliseconds in each kernel and library call, {part['values']:,} values, three regions of which any two "
        f"open; a part of less than {SMALL:.0%} of every step is counted with the last row. What is timed is what "
        "runs; timing it takes about a microsecond a call.",
    ]
    for name, steps in part["parts"].items():
        totals = {step: sum(parts.values()) for step, parts in steps.items()}
        known = {kernel: 0.0 for parts in steps.values() for kernel in parts}
        for kernel in known:
            known[kernel] = max(parts.get(kernel, 0) / totals[step] for step, parts in steps.items())
        shown = sorted((k for k in known if known[k] >= SMALL and k != REST), key=lambda k: -known[k])
        lines: list[tuple[object, ...]] = [(f"`{name}`", *(f"{STEP_NAMES[step]}, ms" for step in steps))]
        for kernel in shown:
            cells = [number(1e3 * parts[kernel]) if kernel in parts else "" for parts in steps.values()]
            lines.append((PART_NAMES.get(kernel, f"`{kernel}`"), *cells))
        rest = [total - sum(steps[step].get(kernel, 0) for kernel in shown) for step, total in totals.items()]
        lines.append((PART_NAMES[REST], *(number(1e3 * seconds) for seconds in rest)))
        lines.append(("all", *(number(1e3 * total) for total in totals.values())))
        blocks.append(rows(*lines))
    return "\n\n".join(blocks)


def bound_section(limits: Details, profiles: Details | None, steps: Steps | None) -> str:
    """What arithmetic, ciphers, hashes and memory take at the least, beside what was measured."""
    blocks = [
        "## What bounds it",
        "Counted for one value, against what the machine did in the same run. A transform has log2(N) stages, each of "
        f"one butterfly for two values: an exact modular product ({PRODUCT} operations), an addition and a "
        "subtraction; the first two stages have one product for four values. The product with the key, the twist and "
        "the last reduction are three products more. AES makes 6 bytes of the public polynomial for each prime and 8 "
        "bytes of noise. Memory is touched for what goes in and what comes out; everything else stays in the cache. An "
        "opening is two answers of one keyholder, sealed and hashed, and a reader's part: three answers opened and "
        "hashed, the sum checked and added, the opened integers hashed. A processor does some of this at the same "
        "time, so the sum is not a strict bound; loads, stores, the table of the noise, packing and decoding are not "
        "counted.",
    ]
    for job, words in (("encrypt", "A contribution"), ("open", "An opening (answers and reading)")):
        lines: list[tuple[object, ...]] = [
            (words, "the machine, a second", *(x for p in PROFILES for x in (f"`{p}`, a value", "ms a million")))
        ]
        for key, (what, unit) in RATES.items():
            count = [COUNTED[job](profile)[key] for profile in PROFILES.values()]
            if any(count):
                cells = [
                    (number(c), number(limits["bounds_ms_per_million"][job][p][key]))
                    for p, c in zip(PROFILES, count, strict=True)
                ]
                lines.append(
                    (what, f"{number(limits['rates'][key] / 1e9)} {unit}", *(x for both in cells for x in both))
                )
        sums = [("", number(limits["bounds_ms_per_million"][job][name]["sum"])) for name in PROFILES]
        lines.append(("all of it, one after another", "", *(x for both in sums for x in both)))
        if steps is not None:
            measured = [("", _measured(steps, job, name)) for name in PROFILES]
            lines.append(("measured", "", *(x for both in measured for x in both)))
        blocks.append(rows(*lines))
    if profiles is not None:
        blocks += ["How near each kernel of a contribution comes to what was counted for it, in ms a million values:"]
        blocks.append(_kernels(limits, profiles))
    return "\n\n".join(blocks)


def _measured(steps: Steps, job: str, profile: str) -> str:
    values = steps.longest
    cases = [
        steps.find(one, values, profile) for one in (("encrypt",) if job == "encrypt" else ("share answers", "read"))
    ]
    return "" if None in cases else number(1e9 * sum(case["seconds"] for case in cases) / values)


def _kernels(limits: Details, profiles: Details) -> str:
    rates, per_million = limits["rates"], 1e9 / profiles["values"]
    lines: list[tuple[object, ...]] = [("kernel", *(x for p in PROFILES for x in (f"`{p}`, counted", "measured")))]
    counted: dict[str, dict[str, float]] = {}
    for name, profile in PROFILES.items():
        count = COUNTED["encrypt"](profile)
        counted[name] = {k: 1e9 * n / rates["lane_operations"] for k, n in operations(profile).items()}
        counted[name] |= {"keystream": 1e9 * count["aes_bytes"] / rates["aes_bytes"]}
        counted[name] |= {"sha256": 1e9 * count["sha256_bytes"] / rates["sha256_bytes"]}
    names = dict.fromkeys(kernel for name in PROFILES for kernel in profiles["parts"][name]["encrypt"])
    for kernel in sorted(names, key=lambda one: one == REST):
        cells: list[str] = []
        for name in PROFILES:
            least, spent = counted[name].get(kernel), profiles["parts"][name]["encrypt"].get(kernel)
            cells += ["" if least is None else number(least), "" if spent is None else number(per_million * spent)]
        lines.append((PART_NAMES.get(kernel, f"`{kernel}`"), *cells))
    return rows(*lines)


# --- Bounds that are not met


def unmet_section(details: Details, ratios: dict[str, float | None]) -> str:
    """For each figure that is not what it should be: what it would take, what there is, what was counted."""
    unmet = [name for name, value in ratios.items() if is_met(name, value) is False]
    if not unmet:
        return "Every figure that was measured is what it should be."
    blocks = ["What is not reached, and what it is made of:"]
    return "\n\n".join(blocks + [f"- `{name}`: {_reason(name, details)}" for name in unmet])


def _reason(name: str, details: Details) -> str:
    job, _, peer = name.partition("_vs_")
    if job in COUNTED:
        return _against_peer(name, job, peer, details)
    if name.startswith(("cox", "logistic")):
        return _fit(name, details)
    return OTHERS[name](details)


def _against_peer(name: str, job: str, peer: str, details: Details) -> str:
    part = details["encryption"]
    values, systems = part["values"], part["systems"]
    theirs, ours = 1e3 * systems[peer][job]["seconds"], 1e3 * systems["hefed"][job]["seconds"]
    allowed = theirs / BOUNDS[name][1]
    words = f"{allowed_words(name, theirs, allowed)} it takes {number(ours)} ms."
    if (limits := details.get("limits")) is not None:
        least = limits["bounds_ms_per_million"][job]["compact"]
        scaled = {key: one * values / 1e6 for key, one in least.items()}
        each = ", ".join(
            f"{RATES[key][0].partition(',')[0]} {number(scaled[key])}" for key in RATES if scaled.get(key, 0) > 0
        )
        verdict = "more than would do" if scaled["sum"] > allowed else "less than would do"
        words += f" What is counted takes {number(scaled['sum'])} ms ({each}): {verdict}."
    if (profiles := details.get("profiles")) is not None:
        words += f" Where the time goes: {_largest(profiles, job, values)}."
    return words


def _largest(profiles: Details, job: str, values: int) -> str:
    """The parts that take most of a job of `compact`, in ms for so many values."""
    total: dict[str, float] = {}
    for step in ("encrypt",) if job == "encrypt" else ("share answers", "read"):
        for kernel, seconds in profiles["parts"]["compact"][step].items():
            total[kernel] = total.get(kernel, 0) + 1e3 * seconds * values / profiles["values"]
    first = sorted(total.items(), key=lambda part: -part[1])[:5]
    return "; ".join(f"{PART_NAMES.get(kernel, kernel)} {number(spent)} ms" for kernel, spent in first)


def allowed_words(name: str, theirs: float, allowed: float) -> str:
    """What a peer's time allows."""
    return f"the other takes {number(theirs)} ms, so {number(allowed)} ms would be {BOUNDS[name][1]:g} times as fast;"


def _fit(name: str, details: Details) -> str:
    where = "logistic" if name.startswith("logistic") else "cox_large" if "_1m_" in name else "cox_small"
    fit, peer = details[where], name.partition("_vs_")[2]
    ours, theirs = fit["hefed"]["seconds"], fit["peers"][peer]["seconds"]
    count = fit["hefed"]["rounds"]
    words = (
        f"{peer} takes {number(theirs)} s, so {number(theirs / BOUNDS[name][1])} s would do; hefed takes "
        f"{number(ours)} s for {count} rounds, {number(1e3 * ours / count)} ms each, with {fit['rows']:,} rows."
    )
    if (small := details.get("small_round")) is not None:
        clear, coded = (1e3 * min(small["medians"][one]) for one in ("plain", "tenseal"))
        words += (
            f" So many rounds of {small['values']} values, with nothing computed on rows, take "
            f"{number(count * clear / 1e3)} s in the clear and {number(count * coded / 1e3)} s encrypted, for their "
            "messages, flushes and processes; what is left is the regions' passes over their rows, and the beginning "
            "and the end of a study."
        )
    return words


def _engines(details: Details) -> str:
    one = details["encryption"]["systems"]["hefed"]
    seal, own = 1e3 * one["encrypt-tenseal"]["seconds"], 1e3 * one["encrypt"]["seconds"]
    return f"the engine `tenseal` takes {number(seal)} ms, `vectorised` {number(own)} ms."


def _size(details: Details) -> str:
    part = details["encryption"]
    sent = part["systems"]["hefed"]["encrypt"]["bytes"]
    return f"{sent:,} bytes are sent for {part['values']:,} values."


def _time_growth(details: Details) -> str:
    short, long = sorted(details["growth"], key=int)
    parts = [
        f"{what} from {number(1e9 * details['growth'][short]['parts'][what] / int(short))} to "
        f"{number(1e9 * seconds / int(long))}"
        for what, seconds in details["growth"][long]["parts"].items()
    ]
    return f"nanoseconds a value, from {int(short):,} to {int(long):,} values: {', '.join(parts)}."


def _peak(details: Details) -> str:
    each = ", ".join(f"{role} {number(size)}" for role, size in details["peaks"]["megabytes"].items())
    return f"MB above the vector: {each}."


TIMED = ("seconds", "cold")
"""How each part of a small round was timed; see `counted231`."""


def _small_round(details: Details) -> str:
    part = details["small_round"]
    clear, coded = (1e3 * min(part["medians"][one]) for one in ("plain", "tenseal"))
    words = (
        f"in the clear {number(clear)} ms, so {number(clear * BOUNDS['round_231_vs_plain'][1])} ms would do; encrypted "
        f"{number(coded)} ms, {number(1e3 * min(part['medians']['vectorised']))} ms with the engine `vectorised`."
    )
    if "counted" not in part:
        return words
    used = {who: 1e3 * seconds for who, seconds in part["processor"].items()}
    clear, all_of_it = used["clear"], used["aggregator"] + REGIONS * used["region"] + used["analyst"]
    libraries, parts = ([_in_all(part[which], how) for how in TIMED] for which in ("libraries", "counted"))
    machines = 1e3 * part["in_process"]

    def least(more: float) -> str:
        return f"{number(clear + more)} ms, {number((clear + more) / clear)} times the clear"

    words += (
        f" Counted, in milliseconds of a processor, all processes together, which is what two cores are busy with: in "
        f"the clear {number(clear)}; encrypted {number(all_of_it)} (a region {number(used['region'])}, the aggregator "
        f"{number(used['aggregator'])}, the analyst {number(used['analyst'])}). SEAL and OpenSSL alone take "
        f"{number(libraries[0])} of it when timed again and again, {number(libraries[1])} after other data went "
        f"through the core's own caches, as they do when processes take turns (a table below): with what the clear "
        f"takes {least(libraries[1])}. All parts that a round cannot be without take {number(parts[0])} and "
        f"{number(parts[1])}: {least(parts[1])}. The state machines of all parties in one process, with caches "
        f"of their own and nothing that is sent, stored or waited for (`python -m benchmarks.in_process`), take "
        f"{number(machines)}: {least(machines)}."
    )
    return words


def _in_all(parts: list[Details], how: str) -> float:
    """Milliseconds of a round."""
    return 1e3 * sum(float(one["times"] * one[how]) for one in parts)


def counted_small_round(part: Details) -> str:
    """The table of the parts that `_small_round` adds up."""
    lines = [
        (
            one["what"],
            one["times"],
            *(number(1e3 * factor * one[what]) for factor in (1, one["times"]) for what in TIMED),
        )
        for one in [*part["counted"], *part["libraries"]]
    ]
    return rows(("what such a round cannot be without", "times", "ms each", "each, cold", "ms", "cold"), *lines)


OTHERS: dict[str, Callable[[Details], str]] = {
    "engine_vectorised_vs_tenseal": _engines,
    "bytes_per_value": _size,
    "time_growth_1e5_1e7": _time_growth,
    "peak_mb_above_vector_1e7": _peak,
    "round_231_vs_plain": _small_round,
}
