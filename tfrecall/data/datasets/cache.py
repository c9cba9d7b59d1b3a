"""Cache of fetched data sets: three Parquet files and their source."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import platformdirs
import polars as pl

from tfrecall.core.manifests import file_sha256
from tfrecall.core.storage import staged_directory
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError

TABLES = ("log", "users", "items")
SOURCE = "source.json"


def cache_root(folder: str | Path | None = None) -> Path:
    """The cache folder: the argument, else `TFRECALL_CACHE`, else that of the platform."""
    chosen = folder or os.environ.get("TFRECALL_CACHE") or platformdirs.user_cache_dir("tfrecall")
    return Path(chosen).expanduser()


def store(folder: Path, data: Interactions, source: str, tried: Sequence[str] = ()) -> None:
    """Writes a data set, completely or, if interrupted, not at all.

    Args:
        folder: the folder to write or replace.
        data: the data set.
        source: source of the data, in words.
        tried: messages of the sources that failed before.
    """
    # A damaged one may be there, or one that another process has just finished.
    with staged_directory(folder, replace=True) as staged:
        for table in TABLES:
            getattr(data, table).write_parquet(staged / f"{table}.parquet")
        about = {
            "source": source,
            "tried": list(tried),
            "notes": list(data.notes),
            **data.describe(),
            "sha256": {file.name: file_sha256(file) for file in sorted(staged.iterdir())},
        }
        text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
        (staged / SOURCE).write_text(text, "utf-8")


def load(folder: Path) -> Interactions:
    """Reads a data set that `store` wrote.

    Raises:
        DataError: if a file is missing or has changed.
    """
    try:
        about = json.loads((folder / SOURCE).read_text("utf-8"))
        for name, expected in about["sha256"].items():
            if file_sha256(folder / name) != expected:
                raise DataError(f"{folder / name} is not as it was written; delete {folder}.")
        log, users, items = (pl.read_parquet(folder / f"{table}.parquet") for table in TABLES)
        return Interactions(log, users, items, about["name"], tuple(about["notes"]))
    except (OSError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise DataError(f"{folder} is not a complete data set; delete it: {error}") from error
