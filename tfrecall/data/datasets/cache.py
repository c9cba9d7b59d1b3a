"""Fetched data sets on disk: three Parquet files and where they came from."""

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
    """Where fetched data is kept: the argument, else `TFRECALL_CACHE`, else the platform's place."""
    chosen = folder or os.environ.get("TFRECALL_CACHE") or platformdirs.user_cache_dir("tfrecall")
    return Path(chosen).expanduser()


def store(folder: Path, data: Interactions, source: str, tried: Sequence[str] = ()) -> None:
    """Writes a data set; `folder` is there completely or, after an interruption, not at all.

    Args:
        source: where the data came from, in words.
        tried: what the sources that were asked before said.
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
        DataError: if a file is missing or is not as it was written.
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
