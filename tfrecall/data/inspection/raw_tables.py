"""A log and its tables as read, before any check: the input of `describe` and of inferred recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.data.assembly import Columns
from tfrecall.data.cleaning import Cleaning, clean_ids, without_repeats
from tfrecall.data.datasets.grouplens import read_folder, size_of
from tfrecall.data.files import TableFiles
from tfrecall.data.frames import to_polars
from tfrecall.data.inspection.columns import ColumnRoles, find_columns
from tfrecall.data.interactions import Interactions
from tfrecall.data.null_words import without_null_words
from tfrecall.data.shards.manifest import is_shards
from tfrecall.data.timestamps import AS_FOUND, TimeForm


@dataclass(frozen=True)
class ReadTables:
    """Tables as `tr.data.read` reads them where the columns are named: ids as written, nothing cleaned.

    Attributes:
        log, users, items: the tables; None without one.
        notes: a sentence for everything that was recognised in the files.
    """

    log: pl.DataFrame
    users: pl.DataFrame | None
    items: pl.DataFrame | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawTables:
    """Unchecked tables, and the columns that were found in them.

    Attributes:
        name: name of the data in tables and reports.
        log: the log under the column names of the file.
        users, items: the tables; None without one.
        columns: columns of the log by role.
        guessed: a sentence for each role that was guessed.
        cleaned: a sentence for everything that was dropped or changed (`tfrecall.data.cleaning`).
        rows: rows of the log as read.
        repeated: rows that were dropped because they repeat another in every column.
        rules: the rules of cleaning.
        times: how times are written, as somebody said.
        read: what was read, so that a run of the same files need not read them again; None if that was no file.
    """

    name: str
    log: pl.DataFrame
    users: pl.DataFrame | None
    items: pl.DataFrame | None
    columns: Columns
    guessed: tuple[str, ...] = ()
    cleaned: tuple[str, ...] = ()
    rows: int = 0
    repeated: int = 0
    rules: Cleaning = field(default_factory=Cleaning)
    times: TimeForm = AS_FOUND
    read: ReadTables | Interactions | None = None

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
    log: Any,
    users: Any = None,
    items: Any = None,
    given: Mapping[str, str | None] | None = None,
    separator: str | None = None,
    rules: Cleaning | None = None,
    times: TimeForm = AS_FOUND,
) -> RawTables:
    """Reads a log and its tables, finds the columns and cleans the ids, without checking the content.

    Args:
        log: a path, a frame, an `Interactions`, or a folder with MovieLens in GroupLens' format.
        users: the user table: a path or a frame.
        items: the item table: a path or a frame.
        given: known names of columns by role, as for `find_columns`.
        separator: the mark between columns of text files; None recognises it.
        rules: the rules of cleaning; None for the default ones.
        times: how times are written, as somebody said.

    Raises:
        DataError: if a file cannot be read or a column cannot be guessed.
    """
    if _is_path(log) and (size := size_of(Path(log))):
        log = read_folder(log, size)
    if _is_path(log) and is_shards(log):
        data = Interactions.from_shards(log)
        return replace(_of_interactions(data), read=data)
    if isinstance(log, Interactions):
        return _of_interactions(log)
    rules = rules or Cleaning()
    tables, roles, read = guess_tables(log, users, items, given, separator, rules)
    name = Path(log).name.split(".")[0].strip("*?-_") if _is_path(log) else ""
    raw = RawTables(name or "log", *tables, roles.columns, roles.messages, times=times, read=read)
    return _cleaned(raw, rules)


def guess_tables(
    log: Any,
    users: Any,
    items: Any,
    given: Mapping[str, str | None] | None,
    separator: str | None,
    rules: Cleaning,
) -> tuple[tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None], ColumnRoles, ReadTables]:
    """Reads a log and its tables and finds the columns; arguments as for `open_tables`.

    Returns:
        The log and the user and item table, with ids as written and elsewhere nulls for words for no value, the
        columns with a sentence for everything that was recognised, and the tables as they were read.
    """
    whats = ("log", "users table", "items table")
    sources = [
        TableFiles(one, what, separator) if _is_path(one) else one
        for one, what in zip((log, users, items), whats, strict=True)
    ]
    tables = [_read(source, what) for source, what in zip(sources, whats, strict=True)]
    words = rules.null_values
    plain = [_without_words(table, words, what) for table, what in zip(tables, whats, strict=True)]
    roles = find_columns(plain[0][0], given, *(table for table, _ in plain[1:]))
    of_files = [note for one in sources if isinstance(one, TableFiles) for note in one.notes]
    said, read = list(of_files), list(tables)
    # Ids stay as written: "7.0" is not 7. Only now is it known which columns they are.
    keys = (roles.columns.user_id, roles.columns.item_id)
    for n, (table, notes) in enumerate(plain):
        if table is not None:
            own = [name for name in keys if name in table.columns]
            written = tables[n].select(own)
            if isinstance(sources[n], TableFiles):
                written = sources[n].as_written(written, own)
            read[n] = tables[n].with_columns(written.iter_columns())
            tables[n] = table.with_columns(written.iter_columns())
            said += [note for name, note in notes.items() if name not in own]
    others = {name for name in roles.columns[2:] if name}
    tables[0], notes = without_null_words(tables[0], keys, others, words, "log")
    log, users, items = tables
    found = ColumnRoles(roles.columns, (*said, *notes.values(), *roles.messages))
    return (log, users, items), found, ReadTables(read[0], read[1], read[2], tuple(of_files))


def _without_words(table: Any, words: tuple[str, ...], what: str) -> tuple[Any, dict[str, str]]:
    return (None, {}) if table is None else without_null_words(table, (), (), words, what)


def _cleaned(raw: RawTables, rules: Cleaning) -> RawTables:
    """The tables without repeated rows and rows without ids, as a run reads them."""
    once = without_repeats(raw.log, raw.columns.timestamp, rules)
    keys = {
        "log": {"user": raw.columns.user_id, "item": raw.columns.item_id},
        "users": {"user": raw.key("users")} if raw.users is not None else {},
        "items": {"item": raw.key("items")} if raw.items is not None else {},
    }
    tables = {**raw.tables, "log": once.frame}
    cleaned = {
        name: clean_ids(table, keys[name], rules, "log" if name == "log" else f"{name} table")
        for name, table in tables.items()
    }
    frames: dict[str, Any] = {name: one.frame for name, one in cleaned.items()}
    return replace(
        raw,
        **frames,
        cleaned=(*once.notes, *(note for one in cleaned.values() for note in one.notes)),
        rows=raw.log.height,
        repeated=once.repeated,
        rules=rules,
    )


def _of_interactions(data: Interactions) -> RawTables:
    rating, weight = (name if name in data.log.columns else None for name in ("rating", "weight"))
    columns = Columns("user_id", "item_id", "timestamp", rating, weight)
    return RawTables(data.name, data.log, data.users, data.items, columns, rows=len(data))


def _read(table: Any, what: str) -> Any:
    if table is None:
        return None
    return table.read() if isinstance(table, TableFiles) else to_polars(table, what)


def _is_path(table: Any) -> bool:
    return isinstance(table, str | Path)
