"""Numbers of examples of properties, in step with what is run: the fast tests, all, or thoroughly."""

from hypothesis import settings

# Of the profile `whole` in `tests/conftest.py`, which is chosen before test modules are imported.
WHOLE = 20


def examples(count: int) -> settings:
    """Settings of a property: `count` examples among all tests, a fifth in the fast ones, more if thorough."""
    return settings(max_examples=max(1, count * settings().max_examples // WHOLE))
