"""A log and its tables as they are on disk, before any check: what `describe` and proposals look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.data.assembly import Columns
from tfrecall.data.datasets.grouplens import SIZES, read_folder
from tfrecall.data.frames import to_polars
from tfrecall.data.inspection.columns import find_columns
from tfrecall.data.interactions import Interactions
from tfrecall.data.tables import read_table


@dataclass(frozen=True)
class Opened:
    """What was found.

    Attributes:
        name: what tables and reports call the data.
        log: as it was read, under the names of the file.
        users, items: the tables, if there are any.
        columns: which columns of the log are what.
        guessed: what was guessed about them, in words.
    """

    name: str
    log: pl.DataFrame
    users: pl.DataFrame | None
    items: pl.DataFrame | None
    columns: Columns
    guessed: tuple[str, ...] = ()

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables that there are, the log first."""
        tables = {"log": self.log, "users": self.users, "items": self.items}
        return {name: table for name, table in tables.items() if table is not None}

    def key(self, table: str) -> str:
        """What a user or item table calls its key."""
        own = "user_id" if table == "users" else "item_id"
        given = getattr(self.columns, own)
        names = self.tables[table].columns
        return own if given not in names and own in names else given


def open_data(
    log: Any, users: Any = None, items: Any = None, given: Mapping[str, str | None] | None = None
) -> Opened:
    """Reads a log and its tables and finds the columns, without judging what is in them.

    Args:
        log: a path, a frame, an `Interactions`, or a folder with MovieLens as GroupLens ships it.
        users: the user table: a path or a frame; likewise `items`.
        given: names of columns that are known; see `find_columns`.

    Raises:
        DataError: if a file cannot be read or the columns cannot be told.
    """
    if isinstance(log, str | Path) and (size := movielens_size(Path(log))):
        log = read_folder(log, size)
    if isinstance(log, Interactions):
        return _opened(log)
    frames = [_read(table, what) for table, what in _named(log, users, items)]
    found = find_columns(frames[0], given, *frames[1:])
    keys = (found.columns.user_id, found.columns.item_id)
    # Once more, so that ids stay as they are written: "007" is not 7.
    again = [_read(table, what, keys) for table, what in _named(log, users, items)]
    name = Path(log).name.split(".")[0].strip("*?-_") if isinstance(log, str | Path) else ""
    return Opened(name or "log", again[0], again[1], again[2], found.columns, found.said)


def movielens_size(path: Path) -> str | None:
    """Which MovieLens a folder holds, if it holds one."""
    for size, known in SIZES.items():
        if all((path / file).is_file() for file in known.files):
            return size
    return None


def _opened(data: Interactions) -> Opened:
    rating, weight = (name if name in data.log.columns else None for name in ("rating", "weight"))
    columns = Columns("user_id", "item_id", "timestamp", rating, weight)
    return Opened(data.name, data.log, data.users, data.items, columns)


def _named(log: Any, users: Any, items: Any) -> list[tuple[Any, str]]:
    return [(log, "log"), (users, "users table"), (items, "items table")]


def _read(table: Any, what: str, keys: tuple[str, ...] = ()) -> Any:
    if table is None:
        return None
    return read_table(table, what, keys) if isinstance(table, str | Path) else to_polars(table, what)
