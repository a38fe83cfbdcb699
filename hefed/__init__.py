"""hefed: regions fit one statistical model together, under threshold homomorphic encryption.

The public Python API, and nothing else. It must stay cheap to import: whatever is heavy is imported where it is used.
"""

__version__ = "0.2.0"

__all__ = ["__version__"]
