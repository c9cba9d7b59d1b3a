"""MovieLens 100K and 1M, wherever they can be had."""

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
    """MovieLens with all movie, genre and user columns.

    The log has `user_id`, `item_id`, `timestamp`, `rating`; the items `movie_title`, `movie_genres`
    (a list), `release_year` and, for 100k from GroupLens' files, `release_date` and `imdb_url`; the
    users `raw_user_age`, `user_gender` ("M" or "F"), `user_occupation_text`, `user_zip_code`. These
    are TFDS' names. Genres and movies are spelt and ordered as in GroupLens' files: 1,682 movies
    for 100k, 3,883 for 1m, some without ratings.

    Args:
        size: "100k" or "1m".
        path: a folder in GroupLens' format; without it the data is fetched once and kept.
        cache: the cache folder, if not the usual one; see `tfrecall.data.datasets.fetch.fetch`.
        progress: receives the steps of fetching; without it the logger "tfrecall" does.

    Raises:
        DataError: if `path` is not such a folder.
        FetchError: if there is no `path` and no source has the data.
    """
    check_size(size)
    if path is not None:
        return read_folder(path, size)
    return kept.load(fetch(f"movielens-{size}", cache_dir=cache, progress=progress))
