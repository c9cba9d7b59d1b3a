"""MovieLens 100K and 1M, wherever they can be had."""

from pathlib import Path

from tfrecall.data.grouplens import check_size, read_folder
from tfrecall.data.interactions import Interactions

__all__ = ["movielens"]


def movielens(
    size: str = "100k", path: str | Path | None = None, cache: str | Path | None = None
) -> Interactions:
    """Reads MovieLens from a folder in GroupLens' format."""
    check_size(size)
    if path is not None:
        return read_folder(path, size)
    raise NotImplementedError
