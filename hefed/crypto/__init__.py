"""Threshold CKKS whose public polynomials nobody chooses: arrays in, bytes out (`protocols/encryption.md`).

Knows no study, no message and no socket. Import what is needed from its modules:

    parameters     profiles, noise and precision, the check by SEAL
    label          what one use is called; the public polynomials that follow from it
    keys           seeds, replicated shares, dealing
    contribution   encrypting, by the TenSEAL engine or the vectorised one; sums and their check
    opening        share answers, and what a reader does with them
    selftest       the engines against each other and against SEAL, for the start of a node
    errors         what is refused, by type

    hashing, sampling, ring, packing, masking, seal, lanes, kernels     what these are made of

This file imports nothing, so that it costs nothing; numba, SEAL and the compiled kernels are loaded when first needed.
"""
