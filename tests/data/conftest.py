"""Properties are not timed: the first call loads what later calls find loaded."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
