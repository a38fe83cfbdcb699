"""The self-test passes on a right machine and fails on a wrong one."""

import time

import numpy as np
import pytest

from hefed.crypto import contribution, kernels, masking, ring, seal, selftest
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
    monkeypatch.setattr(seal, "add", lambda context, total, item: None)


def wrong_seal_decryption(monkeypatch):
    real = seal.decrypt
    monkeypatch.setattr(seal, "decrypt", lambda *args: np.roll(real(*args), 1, axis=1))


def wrong_seal_encryption(monkeypatch):
    real = seal.encrypt_zero
    monkeypatch.setattr(seal, "encrypt_zero", lambda *args: real(*args)[::-1])


def wrong_engine(monkeypatch):
    real = masking.PublicProducts.fill

    def fill(self, k, group, first_block, used):
        real(self, k, group, first_block, used)
        group[0, 0] = 0.0

    monkeypatch.setattr(contribution.masking.PublicProducts, "fill", fill)


@BOTH
@pytest.mark.parametrize(
    "damage",
    [wrong_product, wrong_transform, wrong_seal_sum, wrong_seal_decryption, wrong_seal_encryption, wrong_engine],
)
def test_a_wrong_machine_is_found_out(profile, damage, monkeypatch):
    damage(monkeypatch)
    with pytest.raises(CryptoError):
        selftest.self_test(profile)


def test_the_error_says_what_to_do(monkeypatch):
    wrong_seal_sum(monkeypatch)
    with pytest.raises(SelfTestError, match="must not take part"):
        selftest.self_test(PROFILES["compact"])
