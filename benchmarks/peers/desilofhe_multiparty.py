"""desilofhe's multiparty CKKS, three of three: desilofhe_multiparty.py VALUES.

The smallest of its parameter sets, ciphertexts of the lowest level: sums need no more.
"""

import sys
import time

import numpy as np
from desilofhe import Engine
from serve import serve

values = np.random.default_rng(1).uniform(-1, 1, int(sys.argv[1]))
engine = Engine(max_level=1, multiparty=True, thread_count=1)
secrets = [engine.create_secret_key() for _ in range(3)]
common = engine.create_public_key_a()
public = engine.create_multiparty_public_key([engine.create_public_key_b(s, common) for s in secrets], common)
slots = engine.slot_count
pieces = [values[i : i + slots] for i in range(0, len(values), slots)]


def encrypt():
    return {"bytes": sum(len(engine.serialize_ciphertext(engine.encrypt(piece, public, 0))) for piece in pieces)}


ciphertexts = [engine.encrypt(piece, public, 0) for piece in pieces]
others = [[engine.individual_decrypt(c, secret) for secret in secrets[1:]] for c in ciphertexts]


def open_():
    begun = time.perf_counter()
    own = [engine.individual_decrypt(c, secrets[0]) for c in ciphertexts]
    partial = time.perf_counter() - begun
    opened = []
    for ciphertext, mine, theirs, piece in zip(ciphertexts, own, others, pieces, strict=True):
        opened.append(np.real(engine.multiparty_decrypt(ciphertext, [mine, *theirs]))[: len(piece)])
    seconds = time.perf_counter() - begun
    error = float(np.abs(np.concatenate(opened) - values).max())
    return {"seconds": seconds, "answer": partial, "read": seconds - partial, "error": error}


serve(f"desilofhe, three of three, {slots} values a ciphertext", {"encrypt": encrypt, "open": open_})
