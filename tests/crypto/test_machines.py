"""The same bits on every machine, and a start that does not wait for compilers it does not need."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hefed.crypto.contribution import check_value, encrypt
from hefed.crypto.errors import ParameterError, RangeError
from hefed.crypto.opening import answer
from hefed.crypto.parameters import COMPACT, PROFILES
from tests.crypto.federation import Federation

ROOT = Path(__file__).parents[2]


def everything(profile):
    """Hashes of all that is computed in a round, of a lone block and of a lane group."""
    return "-".join(everything_of(profile, values) for values in (300, profile.ring_degree + 300))


def everything_of(profile, values):
    federation = Federation(profile, values)
    opened = federation.open()
    parts = [
        *federation.contributions,
        federation.total(),
        check_value(profile, federation.total(), values, bytes(32)),
        *federation.answers((0, 1)).values(),
        opened.to_bytes(),
        opened.decode(federation.label, federation.precision).astype("<f8").tobytes(),
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def run(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return result.stdout.removesuffix("\n")


def has(feature):
    from llvmlite import binding

    return binding.get_host_cpu_features().get(feature, False)


def numpy_s_own():
    """The features of this processor that NumPy has loops of its own for."""
    from numpy._core import _multiarray_umath as umath

    return [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]


@pytest.mark.parametrize(
    ("processor", "used", "unused"),
    [("generic", ("xmm", "$fma"), ("vfm", "vfnm", "ymm", "zmm")), ("haswell", ("ymm", "vfnmadd"), ("zmm", "$fma"))],
    ids=["neither fma nor wide registers", "four numbers side by side"],
)
def test_other_processors_compute_the_same_bits(processor, used, unused, tmp_path):
    """Without FMA, kernels call the C library's `fma`, which is told to do without the instruction too; so is NumPy."""
    if processor == "haswell" and not (has("avx2") and has("fma")):
        pytest.skip("this processor has no AVX2 or no FMA")
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.crypto.test_machines import everything, numpy_s_own, PROFILES\n"
        "from hefed.crypto import kernels\n"
        "print(*[everything(profile) for profile in PROFILES.values()])\n"
        "compiled = [kernels.finish, kernels.inverse_stages, kernels.load_products]\n"
        "compiled += [kernels.finish_lone, kernels.inverse_stages_lone, kernels.multiply_lone]\n"
        "text = ''.join(text for kernel in compiled for text in kernel.inspect_asm().values())\n"
        f"print(*[name for name in {used + unused} if name in text])\n"
        "print(*numpy_s_own())\n"
    )
    other = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    if processor == "generic":
        other["GLIBC_TUNABLES"] = "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2"
        other["NPY_DISABLE_CPU_FEATURES"] = " ".join(numpy_s_own())
    digests, found, numpy_s = run(code, **other).split("\n")
    assert found.split() == list(used)
    assert bool(numpy_s) == (processor != "generic" and bool(numpy_s_own()))
    assert digests.split() == [everything(profile) for profile in PROFILES.values()]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("threads", [2, 3, 50])
def test_any_number_of_threads_makes_the_same_bytes(profile, threads):
    values = 3 * 8 * profile.ring_degree + 77  # four groups, the last not full
    federation = Federation(profile, values)
    precision, label, shares = federation.precision, federation.label, federation.share_keys(0)
    for subset in shares.subsets:
        assert answer(precision, shares, subset, label, threads) == answer(precision, shares, subset, label)
    vector = np.random.default_rng(3).uniform(-0.5, 0.5, values)
    key = federation.keys[0]
    assert encrypt(precision, key, label, vector, threads=threads) == encrypt(precision, key, label, vector)
    vector[-1] = np.nan
    with pytest.raises(RangeError) as raised:
        encrypt(precision, key, label, vector, threads=threads)
    assert raised.value.index == values - 1


def test_no_threads_are_refused():
    federation = Federation(COMPACT, 3)
    with pytest.raises(ParameterError):
        encrypt(federation.precision, federation.keys[0], federation.label, np.zeros(3), threads=0)


def test_importing_the_package_loads_no_compiler_and_no_seal():
    code = (
        "import sys, hefed.crypto, hefed.crypto.contribution, hefed.crypto.opening\n"
        "print([name for name in ('numba', 'llvmlite', 'tenseal', 'scipy') if name in sys.modules])"
    )
    assert run(code) == "[]"


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_results_do_not_depend_on_what_was_in_memory_before(profile):
    first = everything(profile)
    np.full(10**7, np.nan).sum()
    everything_of(profile, 5000)
    assert everything(profile) == first
