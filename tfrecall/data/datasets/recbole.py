"""MovieLens 100K from the RecBole wheel, for machines that reach only a package index."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl

from tfrecall.data.datasets.grouplens import release_year
from tfrecall.data.interactions import Interactions
from tfrecall.errors import FetchError

REQUIREMENT = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
INSIDE = "recbole/dataset_example/ml-100k/"
FILES_SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}

# A download takes longer than one answer of the index: 2 MB at 40 kB/s is 50 seconds.
TIMEOUTS_PER_DOWNLOAD = 6

NOTES = (
    "titles rebuilt as `title (year)` from the RecBole wheel; they equal GroupLens' for 1,678 of "
    "1,682 movies: 1128, 1201 and 1635 lack a space at the end, 267 is spelt unkonwn",
    "the RecBole wheel has no release_date and no imdb_url",
)


def download(folder: Path, timeout_seconds: float) -> Path:
    """Downloads the wheel from the configured package index, without its dependencies.

    Raises:
        FetchError: if pip is not there, fails or takes too long, or if the wheel is another one.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
    patience = ["--timeout", str(max(1, round(timeout_seconds))), "--retries", "1"]
    command = [sys.executable, "-m", "pip", "download", *options, *patience, "-d", str(folder)]
    try:
        result = subprocess.run(
            [*command, REQUIREMENT],
            capture_output=True,
            text=True,
            timeout=timeout_seconds * TIMEOUTS_PER_DOWNLOAD,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"pip download {REQUIREMENT}: {error}") from error
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or not wheels:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise FetchError(f"pip download {REQUIREMENT}: {lines[-1]}")
    check_sha256(wheels[0].read_bytes(), WHEEL_SHA256, wheels[0].name)
    return wheels[0]


def check_sha256(content: bytes, expected: str, name: str) -> None:
    """Refuses content other than that examined for this module."""
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise FetchError(f"{name} has the SHA-256 {actual} instead of {expected}")


def read_wheel(wheel: Path) -> Interactions:
    """Rebuilds MovieLens 100K, with ratings, movies and users in GroupLens' order."""
    tables = []
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in FILES_SHA256.items():
            content = archive.read(INSIDE + name)
            check_sha256(content, expected, name)
            tables.append(_table(content))
    return rebuild(*tables)


def _table(content: bytes) -> pl.DataFrame:
    """Reads a table of strings; RecBole appends the type to the name: `rating:float`."""
    table = pl.read_csv(content, separator="\t", quote_char=None, infer_schema=False)
    return table.rename({name: name.split(":")[0] for name in table.columns})


def rebuild(log: pl.DataFrame, movies: pl.DataFrame, people: pl.DataFrame) -> Interactions:
    """Rebuilds the tables of GroupLens from RecBole's.

    Args:
        log: strings of `ml-100k.inter`.
        movies: strings of `ml-100k.item`, with the year in a column of its own and the genres in `class`.
        people: strings of `ml-100k.user`.
    """
    titled = pl.format("{} ({})", "movie_title", "release_year")
    items = movies.select(
        "item_id",
        # The only movie without a year has its title in the column of years.
        pl.when(pl.col("release_year") == pl.col("movie_title"))
        .then("movie_title")
        .otherwise(titled)
        .alias("movie_title"),
        pl.col("class").str.split(" ").alias("movie_genres"),
    ).with_columns(release_year())
    users = people.select(
        "user_id",
        pl.col("age").cast(pl.Float64).alias("raw_user_age"),
        pl.col("gender").alias("user_gender"),
        pl.col("occupation").alias("user_occupation_text"),
        pl.col("zip_code").alias("user_zip_code"),
    )
    log = log.with_columns(pl.col("rating").cast(pl.Float64), pl.col("timestamp").cast(pl.Int64))
    data = Interactions.from_frame(log, users=users, items=items, name="movielens-100k")
    return data.with_log(data.log, *NOTES)
