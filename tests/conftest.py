"""Fixtures that every room shares."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Properties are not timed: the first call loads what later calls find loaded.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def movielens_folder() -> Path:
    """The folder that holds `ml-100k` and `ml-1m` as GroupLens ships them."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TFRECALL_MOVIELENS", beside))
    if not (folder / "ml-100k" / "u.data").exists():
        pytest.skip("MovieLens is not here; set TFRECALL_MOVIELENS to a folder with ml-100k/.")
    return folder
