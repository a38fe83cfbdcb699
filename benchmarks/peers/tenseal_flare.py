"""TenSEAL as NVIDIA FLARE sets it up for secure aggregation: tenseal_flare.py VALUES.

Ring degree 8192, primes of 60, 40 and 40 bits, scale 2**40, vectors of 4096 values, one secret key that all regions
share: https://github.com/NVIDIA/NVFlare, `nvflare/app_opt/he`. There is no threshold opening: "open" is a plain
decryption.
"""

import sys

import numpy as np
import tenseal as ts
from serve import serve

SLOTS = 4096
values = np.random.default_rng(1).uniform(-1, 1, int(sys.argv[1]))
context = ts.context(ts.SCHEME_TYPE.CKKS, poly_modulus_degree=2 * SLOTS, coeff_mod_bit_sizes=[60, 40, 40], n_threads=1)
context.global_scale = 2**40
pieces = [values[i : i + SLOTS] for i in range(0, len(values), SLOTS)]
encrypted = [ts.ckks_vector(context, piece) for piece in pieces]


def encrypt():
    return {"bytes": sum(len(ts.ckks_vector(context, piece).serialize()) for piece in pieces)}


def open_():
    opened = np.concatenate([vector.decrypt() for vector in encrypted])
    return {"error": float(np.abs(opened - values).max())}


serve("TenSEAL, NVIDIA FLARE's parameters, one shared key", {"encrypt": encrypt, "open": open_})
