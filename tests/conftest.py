"""For all tests: hypothesis measures no times, since a machine may be busy."""

from hypothesis import settings

settings.register_profile("hefed", deadline=None)
settings.load_profile("hefed")
