"""A log and its tables as read, before any check: the input of `describe` and of inferred recipes."""

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
class RawTables:
    """Unchecked tables, and the columns that were found in them.

    Attributes:
        name: name of the data in tables and reports.
        log: the log under the column names of the file.
        users, items: the tables; None without one.
        columns: columns of the log by role.
        guessed: a sentence for each role that was guessed.
    """

    name: str
    log: pl.DataFrame
    users: pl.DataFrame | None
    items: pl.DataFrame | None
    columns: Columns
    guessed: tuple[str, ...] = ()

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables that are not None, the log first."""
        tables = {"log": self.log, "users": self.users, "items": self.items}
        return {name: table for name, table in tables.items() if table is not None}

    def key(self, table: str) -> str:
        """Name of the key column in the user or item table."""
        own = "user_id" if table == "users" else "item_id"
        given = getattr(self.columns, own)
        names = self.tables[table].columns
        return own if given not in names and own in names else given


def open_tables(
    log: Any, users: Any = None, items: Any = None, given: Mapping[str, str | None] | None = None
) -> RawTables:
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
        return _of_interactions(log)
    frames = [_read(table, what) for table, what in _named(log, users, items)]
    roles = find_columns(frames[0], given, *frames[1:])
    keys = (roles.columns.user_id, roles.columns.item_id)
    # Once more, so that ids stay as they are written: "007" is not 7.
    again = [_read(table, what, keys) for table, what in _named(log, users, items)]
    name = Path(log).name.split(".")[0].strip("*?-_") if isinstance(log, str | Path) else ""
    return RawTables(name or "log", again[0], again[1], again[2], roles.columns, roles.messages)


def movielens_size(path: Path) -> str | None:
    """Which MovieLens a folder holds, if it holds one."""
    for size, known in SIZES.items():
        if all((path / file).is_file() for file in known.files):
            return size
    return None


def _of_interactions(data: Interactions) -> RawTables:
    rating, weight = (name if name in data.log.columns else None for name in ("rating", "weight"))
    columns = Columns("user_id", "item_id", "timestamp", rating, weight)
    return RawTables(data.name, data.log, data.users, data.items, columns)


def _named(log: Any, users: Any, items: Any) -> list[tuple[Any, str]]:
    return [(log, "log"), (users, "users table"), (items, "items table")]


def _read(table: Any, what: str, keys: tuple[str, ...] = ()) -> Any:
    if table is None:
        return None
    return read_table(table, what, keys) if isinstance(table, str | Path) else to_polars(table, what)
