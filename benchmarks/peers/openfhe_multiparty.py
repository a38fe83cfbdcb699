"""OpenFHE's multiparty CKKS, three of three: openfhe_multiparty.py VALUES [least].

Its own defaults for sums (depth 1, scale of 50 bits, FLEXIBLEAUTOEXT), which give about the precision that hefed has.
With `least`: the fewest bits with which a sum still opens (depth 0, scale of 40 bits), at a precision of three digits.
"""

import sys
import time

import numpy as np
import openfhe as o
from serve import serve

least = sys.argv[2:] == ["least"]
values = np.random.default_rng(1).uniform(-1, 1, int(sys.argv[1]))
parameters = o.CCParamsCKKSRNS()
parameters.SetMultiplicativeDepth(0 if least else 1)
parameters.SetScalingModSize(40 if least else 50)
parameters.SetFirstModSize(60)
parameters.SetScalingTechnique(o.FIXEDMANUAL if least else o.FLEXIBLEAUTOEXT)
cc = o.GenCryptoContext(parameters)
for feature in (o.PKE, o.KEYSWITCH, o.LEVELEDSHE, o.ADVANCEDSHE, o.MULTIPARTY):
    cc.Enable(feature)
slots = cc.GetRingDimension() // 2
first = cc.KeyGen()
second = cc.MultipartyKeyGen(first.publicKey)
third = cc.MultipartyKeyGen(second.publicKey)
pieces = [values[i : i + slots] for i in range(0, len(values), slots)]


def encrypted(piece):
    return cc.Encrypt(third.publicKey, cc.MakeCKKSPackedPlaintext(piece.tolist()))


def encrypt():
    return {"bytes": sum(len(o.Serialize(encrypted(piece), o.BINARY)) for piece in pieces)}


ciphertexts = [encrypted(piece) for piece in pieces]
others = [[cc.MultipartyDecryptMain([c], k.secretKey)[0] for k in (second, third)] for c in ciphertexts]


def open_():
    begun = time.perf_counter()
    own = [cc.MultipartyDecryptLead([c], first.secretKey)[0] for c in ciphertexts]
    partial = time.perf_counter() - begun
    opened = []
    for mine, theirs, piece in zip(own, others, pieces, strict=True):
        plain = cc.MultipartyDecryptFusion([mine, *theirs])
        plain.SetLength(len(piece))
        opened.append(np.array(plain.GetRealPackedValue()))
    seconds = time.perf_counter() - begun
    error = float(np.abs(np.concatenate(opened) - values).max())
    return {"seconds": seconds, "answer": partial, "read": seconds - partial, "error": error}


serve(f"OpenFHE, three of three, ring degree {2 * slots}", {"encrypt": encrypt, "open": open_})
