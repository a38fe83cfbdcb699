"""The self-test passes on a right machine and fails on a wrong one."""

import subprocess
import sys
import time

import numpy as np
import pytest

from hefed.crypto import contribution, kernels, masking, ring, sampling, seal, selftest
from hefed.crypto.errors import CryptoError, SelfTestError
from hefed.crypto.parameters import PROFILES

BOTH = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@BOTH
def test_a_right_machine_passes_quickly(profile):
    selftest.self_test(profile)  # kernels are loaded now
    start = time.perf_counter()
    selftest.self_test(profile)
    assert time.perf_counter() - start < 0.5


def wrong_product(monkeypatch):
    real = kernels.load_products

    def load_products(*args):
        rejected = real(*args)
        args[-1][3, 0] += 1
        return rejected

    monkeypatch.setattr(kernels, "load_products", load_products)


def wrong_transform(monkeypatch):
    real = ring.inverse_transform

    def inverse(profile, k, group):
        real(profile, k, group)
        group[0] = np.where(group[0] > 0, group[0] - 1, group[0])
        group[1:] = np.roll(group[1:], 1, axis=0)

    monkeypatch.setattr(ring, "inverse_transform", inverse)


def wrong_seal_sum(monkeypatch):
    monkeypatch.setattr(seal.Adder, "add", lambda self, total, first: None)


def wrong_seal_first_polynomial(monkeypatch):
    real = seal.Adder.first
    monkeypatch.setattr(seal.Adder, "first", lambda self, total: np.roll(real(self, total), 1, axis=1))


def wrong_seal_decryption(monkeypatch):
    real = seal.decrypt
    monkeypatch.setattr(seal, "decrypt", lambda *args: np.roll(real(*args), 1, axis=1))


def wrong_seal_encryption(monkeypatch):
    real = seal.Masker.encrypt_zero

    def encrypt_zero(self):
        return seal.ciphertext(self._context, *seal.ciphertext_residues(real(self))[::-1])

    monkeypatch.setattr(seal.Masker, "encrypt_zero", encrypt_zero)


def wrong_engine(monkeypatch):
    real = masking.PublicProducts.fill

    def fill(self, k, group, first_block, used):
        real(self, k, group, first_block, used)
        group[0, 0] = 0.0

    monkeypatch.setattr(contribution.masking.PublicProducts, "fill", fill)


def without(name):
    """A kernel that leaves a lone block as it was: between contributions and answers that cancels."""

    def damage(monkeypatch):
        monkeypatch.setattr(kernels, name, lambda *args: None)

    damage.__name__ = f"no {name}"
    return damage


def wrong_words(monkeypatch):
    real = sampling.UniformSource.fill_lone

    def fill_lone(self, block):
        real(self, block)
        block[:] = block[::-1].copy()

    monkeypatch.setattr(sampling.UniformSource, "fill_lone", fill_lone)


@BOTH
@pytest.mark.parametrize(
    "damage",
    [
        wrong_product,
        wrong_transform,
        wrong_seal_sum,
        wrong_seal_first_polynomial,
        wrong_seal_decryption,
        wrong_seal_encryption,
        wrong_engine,
        wrong_words,
        without("inverse_stages_lone"),
        without("multiply_lone"),
        without("forward_lone"),
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_wrong_machine_is_found_out(profile, damage, monkeypatch):
    damage(monkeypatch)
    with pytest.raises(CryptoError):
        selftest.self_test(profile)


def test_the_error_says_what_to_do(monkeypatch):
    wrong_seal_sum(monkeypatch)
    with pytest.raises(SelfTestError, match="must not take part"):
        selftest.self_test(PROFILES["compact"])


def test_it_compiles_all_that_a_study_calls():
    """So that no round waits for it: each kernel that Python code names has been compiled for what it is given."""
    code = (
        "import re\n"
        "from pathlib import Path\n"
        "import hefed.crypto\n"
        "from hefed.crypto import kernels, packing_kernels, selftest\n"
        "from hefed.crypto.parameters import PROFILES\n"
        "for profile in PROFILES.values(): selftest.self_test(profile)\n"
        "sources = Path(hefed.crypto.__file__).parent.glob('*.py')\n"
        "called = set(re.findall(r'\\bkernels\\.([a-z_]+)\\b(?! `)', ' '.join(path.read_text() for path in sources)))\n"
        "called -= {'py'}\n"
        "found = {name: value for module in (kernels, packing_kernels) for name, value in vars(module).items()}\n"
        "print(sorted(name for name in called if not found[name].signatures))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"
