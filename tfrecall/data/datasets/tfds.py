"""MovieLens from a data set prepared by TensorFlow Datasets."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.data.datasets.grouplens import check_size, release_year
from tfrecall.data.interactions import Interactions
from tfrecall.errors import FetchError

# TFDS unifies the spelling of genres over all sizes; these are the spellings of the files.
GENRES = {"Children": "Children's", "Unknown": "unknown"}

BATCH_ROWS = 65_536


def prepared_folder(size: str, data_dir: str | Path | None = None) -> Path | None:
    """The TFDS directory with prepared ratings and movies of a size, or None.

    Only the file system is read: neither TFDS nor TensorFlow is imported.
    """
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = Path(chosen).expanduser()
    for part in ("ratings", "movies"):
        if not list(folder.glob(f"movielens/{size}-{part}/*/dataset_info.json")):
            return None
    return folder


def from_tfds(size: str = "100k", data_dir: str | Path | None = None) -> Interactions:
    """Reads prepared `movielens/{size}-ratings` and `-movies` without a download.

    Ratings keep the order of TFDS, which differs from that of GroupLens' files; movies and users are sorted by
    number, as in the files. There is no `release_date` and no `imdb_url`. For 1m `raw_user_age` is the lower
    end of the published range, as in the files.

    Args:
        size: "100k" or "1m".
        data_dir: directory of TFDS; None for TFDS' own default.

    Raises:
        FetchError: if the data set is not prepared.
    """
    check_size(size)
    folder = prepared_folder(size, data_dir)
    if folder is None:
        raise FetchError(
            f"TFDS has no prepared movielens/{size}-ratings and {size}-movies in "
            f"{data_dir or 'its data directory'}. Prepare them with `tfds build`, or give a folder "
            "in GroupLens' format."
        )
    rows = _columns(folder, f"{size}-ratings", _RATING_FEATURES[size])
    log = rows.select("user_id", "item_id", "rating", "timestamp")
    users = _by_number(rows.drop("item_id", "rating", "timestamp"), "user_id")
    movies = _columns(folder, f"{size}-movies", _MOVIE_FEATURES)
    items = _by_number(movies, "item_id").with_columns(release_year())
    data = Interactions.from_frame(log, users=users, items=items, name=f"movielens-{size}")
    return data.with_log(data.log, "ratings in the order of TFDS")


_MOVIE_FEATURES = {
    "movie_id": "item_id",
    "movie_title": "movie_title",
    "movie_genres": "movie_genres",
}

_COMMON_FEATURES = {
    "user_id": "user_id",
    "movie_id": "item_id",
    "user_rating": "rating",
    "timestamp": "timestamp",
}

_PERSON_FEATURES = {
    "user_gender": "user_gender",
    "user_occupation_text": "user_occupation_text",
    "user_zip_code": "user_zip_code",
}

_RATING_FEATURES = {
    "100k": {**_COMMON_FEATURES, "raw_user_age": "raw_user_age", **_PERSON_FEATURES},
    "1m": {**_COMMON_FEATURES, "bucketized_user_age": "raw_user_age", **_PERSON_FEATURES},
}


def _columns(folder: Path, config: str, names: dict[str, str]) -> pl.DataFrame:
    """Reads features of a prepared data set as columns; `names` maps TFDS' names to those of the columns."""
    import tensorflow_datasets as tfds

    import tfrecall._tensorflow  # noqa: F401  before TFDS imports it, for a quiet start

    builder = tfds.builder(f"movielens/{config}", data_dir=str(folder))
    # Only these features are decoded: a row of ratings repeats all of its movie and user.
    wanted = tfds.decode.PartialDecoding(dict.fromkeys(names, True))
    dataset = builder.as_dataset(split="train", decoders=wanted).ragged_batch(BATCH_ROWS)
    parts: dict[str, list[pl.Series]] = {name: [] for name in names}
    for batch in tfds.as_numpy(dataset):
        for name, values in batch.items():
            parts[name].append(_series(name, values, builder.info.features))
    return pl.DataFrame([pl.concat(parts[name]).alias(column) for name, column in names.items()])


def _series(name: str, values: Any, features: Any) -> pl.Series:
    if name == "movie_genres":
        # TFDS stores a genre as its index in this list.
        labels = [GENRES.get(label, label) for label in features[name].feature.names]
        return pl.Series([[labels[index] for index in row] for row in values.to_list()])
    if name == "user_gender":
        return pl.Series(np.where(values, "M", "F").tolist())
    if values.dtype == object:
        return pl.Series(values.tolist(), dtype=pl.Binary).cast(pl.String)
    return pl.Series(values).cast(pl.Int64 if values.dtype.kind == "i" else pl.Float64)


def _by_number(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    distinct = rows.unique(key, keep="first", maintain_order=True)
    # As numbers: sorted as text, "10" comes before "2".
    return distinct.sort(pl.col(key).cast(pl.Int64))
