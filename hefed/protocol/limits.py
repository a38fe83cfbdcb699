"""The limits that all parties of a study have to agree on, in one place; nobody configures them. A change of one is a
change of the protocol, or of the form of cards and rosters. `docs/limits.md` lists them, and what an operator sets.

Those of the study file and of the encryption stand where they are enforced and are only named here.
"""

from hefed.crypto.label import MAX_VALUES
from hefed.crypto.parameters import MAX_CONTRIBUTORS
from hefed.study import MAX_COMPACT, MAX_COVARIATES, MAX_KEYHOLDERS, MAX_REGIONS, MAX_SUBSETS

__all__ = [
    "LONGEST_MESSAGE",
    "MAX_ADDRESSES",
    "MAX_ATTACHMENT",
    "MAX_ATTEMPTS",
    "MAX_COMPACT",
    "MAX_CONTRIBUTORS",
    "MAX_COVARIATES",
    "MAX_ENCODED",
    "MAX_FEDERATION",
    "MAX_ITEMS",
    "MAX_KEYHOLDERS",
    "MAX_MEMBERS",
    "MAX_NESTING",
    "MAX_PLAIN",
    "MAX_REGIONS",
    "MAX_ROUND",
    "MAX_SEALED",
    "MAX_SUBSETS",
    "MAX_TEXT",
    "MAX_VALUES",
    "MAX_VERSION",
    "MAX_WORDS",
]

MAX_NESTING = 12
"""Containers within containers in CBOR; the deepest message has seven."""
MAX_ENCODED = 4 * 2**20
"""Bytes of one encoded value. Long vectors travel outside, as attachments bound by their hash."""
MAX_ITEMS = 2**16
"""Of one array or map."""
MAX_PLAIN = 2**17
"""Values of one encoding, counted with all that is in it: an empty map of one byte takes 64 in memory."""

MAX_ATTACHMENT = 900 * 10**6
"""Bytes of one attachment: 10^8 values of the compact profile fit, and it fits in a row of SQLite, of 10^9 bytes."""
LONGEST_MESSAGE = MAX_ATTACHMENT + 16 * MAX_ENCODED
"""Bytes of one message with its envelope and all attachments."""
MAX_ATTEMPTS = 1000
"""Times that a round is put to keyholders."""
MAX_ROUND = 2**20
"""Number of a round. A study asks for at most 100."""
MAX_SEALED = 2**20
"""Bytes of what is sealed to one member within an envelope."""
MAX_WORDS = 2000
"""Characters of a region's or the aggregator's own words."""

MAX_MEMBERS = 1024
"""Of a roster; so also names in a message."""
MAX_ADDRESSES = 8
"""Of the aggregator in a roster."""
MAX_VERSION = 10**6
"""Of a roster."""
MAX_FEDERATION = 128
"""Characters of a federation's name."""
MAX_TEXT = 2**20
"""Bytes of a card's or roster's text; a roster of 1024 members with all signatures has about half of it."""
