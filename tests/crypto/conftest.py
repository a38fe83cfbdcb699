"""Settings of the tests of hefed.crypto."""

from hypothesis import settings

# The first example of a test may have to compile a kernel.
settings.register_profile("hefed", deadline=None)
settings.load_profile("hefed")
