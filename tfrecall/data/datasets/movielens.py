"""MovieLens 100K and 1M from a folder, the cache or the network."""

from pathlib import Path

from tfrecall.core.progress import ProgressReporter
from tfrecall.data.datasets import cache as kept
from tfrecall.data.datasets.fetch import fetch
from tfrecall.data.datasets.grouplens import check_size, read_folder
from tfrecall.data.datasets.tfds import from_tfds
from tfrecall.data.interactions import Interactions

__all__ = ["from_tfds", "movielens"]


def movielens(
    size: str = "100k",
    path: str | Path | None = None,
    cache: str | Path | None = None,
    progress: ProgressReporter | None = None,
) -> Interactions:
    """Loads MovieLens with all columns of movies and users.

    The log has `user_id`, `item_id`, `timestamp`, `rating`; the items have `movie_title`, `movie_genres` (a
    list), `release_year` and, for 100k from GroupLens' files, `release_date` and `imdb_url`; the users have
    `raw_user_age`, `user_gender` ("M" or "F"), `user_occupation_text`, `user_zip_code`. The names are those of
    TFDS; spelling and order of genres and movies are those of GroupLens' files: 1,682 movies in 100k, 3,883 in
    1m, some without ratings.

    Args:
        size: "100k" or "1m".
        path: a folder in GroupLens' format; None fetches the data once into the cache.
        cache: the cache folder; None for the environment variable `TFRECALL_CACHE`, or else the platform's.
        progress: receives the steps of fetching; None logs them to "tfrecall".

    Raises:
        ConfigError: if the size is unknown.
        DataError: if `path` is not such a folder.
        FetchError: if `path` is None and no source has the data.

    Example:

        train, test = tr.data.split_random(tr.data.movielens("100k"))
    """
    check_size(size)
    if path is not None:
        return read_folder(path, size)
    return kept.load(fetch(f"movielens-{size}", cache_dir=cache, progress=progress))
