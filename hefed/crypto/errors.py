"""What `hefed.crypto` refuses, by type.

An error names positions, sizes and names; never a value, a seed or a key, so that it can be logged and shown.
"""


class CryptoError(Exception):
    """The base of everything that `hefed.crypto` refuses."""


class ParameterError(CryptoError):
    """Parameters that are out of bounds, do not fit together, or that SEAL does not accept."""


class RangeError(CryptoError):
    """A value is not finite or outside the range that its exponent states; `index` says which, not what."""

    def __init__(self, index: int) -> None:
        super().__init__(
            f"value {index} is not finite or outside the range that its exponent states; nothing was encrypted"
        )
        self.index = index


class MalformedError(CryptoError):
    """Bytes of the wrong length, with a residue that is not below its prime, or with filling that is not zero."""


class SeedError(CryptoError):
    """Seeds or keys that do not belong to the hashes, dealer, keyholder, study or cohort they are used for."""


class CheckError(CryptoError):
    """A sum that is not the sum of the contributions whose check values were given."""


class OpeningError(CryptoError):
    """Answers that are missing, or an opened integer outside the range that a right sum can have."""


class SelfTestError(CryptoError):
    """This machine computes something else than SEAL, or its two engines differ."""
