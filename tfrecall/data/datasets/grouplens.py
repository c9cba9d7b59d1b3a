"""MovieLens 100K and 1M in GroupLens' own files."""

import os
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError, nearest

# The files' text is latin-1.
ENCODING = "latin-1"

# As the README of ml-1m lists them, in the spelling of TFDS.
OCCUPATIONS_1M = (
    "other/not specified",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)


class Size(NamedTuple):
    """Files and sizes of one of the MovieLens data sets; the first file is the log."""

    folder: str
    files: tuple[str, ...]
    rows: int
    users: int
    items: int


SIZES = {
    "100k": Size(
        "ml-100k", ("u.data", "u.item", "u.user", "u.genre"), rows=100_000, users=943, items=1_682
    ),
    "1m": Size(
        "ml-1m", ("ratings.dat", "movies.dat", "users.dat"), rows=1_000_209, users=6_040, items=3_883
    ),
}


def check_size(size: str) -> Size:
    """Returns the files and sizes of a MovieLens data set.

    Raises:
        ConfigError: if the size is unknown.
    """
    if size not in SIZES:
        raise ConfigError(
            f'The size of MovieLens must be one of {list(SIZES)}. Received: "{size}".{nearest(size, SIZES)}'
        )
    return SIZES[size]


def size_of(folder: Path) -> str | None:
    """The size of the MovieLens data set in a folder, by the name of its log; None for other paths."""
    # Of `os.path`, as a folder that may not be looked into is no MovieLens folder either.
    return next(
        (size for size, known in SIZES.items() if os.path.isfile(folder / known.files[0])), None
    )


def read_folder(path: str | Path, size: str) -> Interactions:
    """Reads a folder in GroupLens' format.

    Ratings and movies keep the order of the files. In both sizes the year of a movie is the one in its
    title; the release date of 100k is an additional string.

    Args:
        path: the folder, or its parent (that of `ml-100k`, `ml-1m`).
        size: "100k" or "1m".

    Raises:
        DataError: if a file is missing or malformed.
    """
    folder = find_folder(Path(path), size)
    read = _read_100k if size == "100k" else _read_1m
    try:
        log, users, items = read(folder)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError(
            f"{folder} does not hold MovieLens {size} as GroupLens ships it: {error} "
            "Unpack the original zip file again."
        ) from error
    return Interactions.from_frame(log, users=users, items=items, name=f"movielens-{size}")


def find_folder(path: Path, size: str) -> Path:
    """The folder with all files of a size: `path` itself or `ml-100k`, `ml-1m` inside it."""
    known = check_size(size)
    candidates = (path, path / known.folder)
    for folder in candidates:
        if all((folder / name).is_file() for name in known.files):
            return folder
    missing = [name for name in known.files if not (candidates[0] / name).is_file()]
    raise DataError(
        f"{path} is not a folder with MovieLens {size}: neither it nor {candidates[1]} has all of "
        f"{', '.join(known.files)} (missing in the first: {', '.join(missing)}). "
        f"Give the folder that the zip file {known.folder}.zip unpacks to."
    )


def _read(file: Path, columns: list[str], separator: str) -> pl.DataFrame:
    """Reads a file as a table of strings."""
    data = file.read_bytes()
    if len(separator) > 1:  # Polars takes one byte; this one does not occur in the files
        data, separator = data.replace(separator.encode(), b"\x01"), "\x01"
    if not data.isascii():
        data = data.decode(ENCODING).encode("utf-8")
    return pl.read_csv(
        data,
        has_header=False,
        new_columns=columns,
        separator=separator,
        # GroupLens' files have no quoting: a quotation mark belongs to the text.
        quote_char=None,
        infer_schema=False,
    )


def _read_100k(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    log = _read(folder / "u.data", ["user_id", "item_id", "rating", "timestamp"], "\t")
    genres = [
        line.split("|")[0]
        for line in (folder / "u.genre").read_text(ENCODING).splitlines()
        if "|" in line
    ]
    head = ["item_id", "movie_title", "release_date", "video_release_date", "imdb_url"]
    movies = _read(folder / "u.item", head + genres, "|")
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in genres]
    items = movies.select(
        "item_id",
        "movie_title",
        pl.concat_list(flags).list.drop_nulls().alias("movie_genres"),
        release_year(),
        "release_date",
        "imdb_url",
    )
    people = ["user_id", "raw_user_age", "user_gender", "user_occupation_text", "user_zip_code"]
    users = _read(folder / "u.user", people, "|")
    return _numbers(log), users.with_columns(pl.col("raw_user_age").cast(pl.Float64)), items


def _read_1m(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    log = _read(folder / "ratings.dat", ["user_id", "item_id", "rating", "timestamp"], "::")
    movies = _read(folder / "movies.dat", ["item_id", "movie_title", "movie_genres"], "::")
    items = movies.select(
        "item_id", "movie_title", pl.col("movie_genres").str.split("|"), release_year()
    )
    people = ["user_id", "user_gender", "raw_user_age", "occupation", "user_zip_code"]
    occupations = {str(number): text for number, text in enumerate(OCCUPATIONS_1M)}
    users = _read(folder / "users.dat", people, "::").select(
        "user_id",
        pl.col("raw_user_age").cast(pl.Float64),
        "user_gender",
        pl.col("occupation").replace_strict(occupations).alias("user_occupation_text"),
        "user_zip_code",
    )
    return _numbers(log), users, items


def _numbers(log: pl.DataFrame) -> pl.DataFrame:
    return log.with_columns(pl.col("rating").cast(pl.Float64), pl.col("timestamp").cast(pl.Int64))


def release_year() -> pl.Expr:
    """The last year in parentheses in the title; null if there is none."""
    year = pl.col("movie_title").str.extract(r".*\((\d{4})\)", 1)
    return year.cast(pl.Int32).alias("release_year")
