"""Logs from files, with their user and item tables."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.data.cleaning import Cleaning, without_repeats
from tfrecall.data.files import read_table
from tfrecall.data.frames import find_name, require, to_polars
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError

logger = logging.getLogger("tfrecall")


def read(
    path: str | Path,
    *,
    users: Any = None,
    items: Any = None,
    user_id: str = "user_id",
    item_id: str = "item_id",
    separator: str | None = None,
    ignore_columns: Iterable[str] = (),
    list_separators: Mapping[str, str] | None = None,
    **options: Any,
) -> Interactions:
    """Reads a log and its tables from files.

    The suffix tells the kind: .csv, .tsv, .psv and .txt are text, .parquet and .pq Parquet, .jsonl, .ndjson
    and .json lines of JSON objects or one array of them; .gz, .zst and .zip behind it (`log.csv.zip`) are
    unpacked. Text is UTF-8 with names in the first line; commas, semicolons, tabs or bars between the columns
    are recognised, decimal commas too where the columns have another mark. Ids of text files, and codes such
    as "02139", stay as written. Fields of nested columns become columns: `id` in `user` is `user_id`, and may
    be named "user.id". The files of a folder or pattern are read in the order of their names, must be of one
    kind and have the same columns.

    Args:
        path: a file, a folder with files of one kind, or a pattern such as `logs/2024-*.parquet`.
        users: the user table: a path of the same kinds, or a frame.
        items: the item table: a path of the same kinds, or a frame.
        user_id: name of the user column, in the log and in `users`.
        item_id: name of the item column, in the log and in `items`.
        separator: the mark between columns of text files that have it in their first line; None recognises
            commas, semicolons, tabs and bars in each file.
        ignore_columns: columns to leave out, each with its table: `log.price`, `items.photo`.
        list_separators: columns of text that hold lists, and the mark between the values.
        **options: as for `Interactions.from_frame`: `timestamp`, `rating`, `weight`, `name` (by default
            that of the file), `missing_items`, `unit`, `null_values`, `repeated_rows`, `id_spelling`.

    Returns:
        The checked log.

    Raises:
        DataError: if a file cannot be read or its content cannot be used.
        MissingColumnError: if a column does not exist.

    Example:

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "log.csv"
    ...     _ = path.write_text("user_id,item_id,timestamp\\n007,a,0\\n8,b,60\\n")
    ...     read(path).log.rows()
    [('007', 'a', 0.0), ('8', 'b', 60.0)]
    """
    options.setdefault("name", Path(path).name.split(".")[0].strip("*?-_") or "log")
    keys = (user_id, item_id)
    notes: list[str] = []

    def load(table: Any, what: str) -> Any:
        return read_table(table, what, keys, separator, notes.append) if _is_path(table) else table

    tables = {
        "log": load(Path(path), "log"),
        "users": load(users, "users table"),
        "items": load(items, "items table"),
    }
    given = {
        name: to_polars(table, name if name == "log" else f"{name} table")
        for name, table in tables.items()
        if table is not None
    }
    # Before columns are dropped: two lines of an order may differ in nothing else.
    rules = Cleaning(repeated_rows=options.pop("repeated_rows", "drop"))
    timestamp = find_name(given["log"].columns, options.get("timestamp", "timestamp"))
    once = without_repeats(given["log"], timestamp, rules)
    given = split_lists(
        drop_columns({**given, "log": once.frame}, ignore_columns), list_separators or {}
    )
    data = Interactions.from_frame(
        given["log"],
        users=given.get("users"),
        items=given.get("items"),
        user_id=user_id,
        item_id=item_id,
        repeated_rows="keep",
        **options,
    )
    for note in (*notes, *once.notes):
        logger.info(note)
    return replace(data, notes=(*notes, *once.notes, *data.notes))


def _is_path(table: Any) -> bool:
    return isinstance(table, str | Path)


def drop_columns(tables: dict[str, pl.DataFrame], names: Iterable[str]) -> dict[str, pl.DataFrame]:
    """Drops columns, each named as `table.column`.

    Raises:
        MissingColumnError: if a column does not exist.
    """
    columns = [f"{key}.{column}" for key, table in tables.items() for column in table.columns]
    dropped = set()
    for name in names:
        key, _, column = name.partition(".")
        found = f"{key}.{find_name(tables[key].columns, column)}" if key in tables else name
        require(columns, found, "data", "`ignore_columns` names columns with their tables: log.price.")
        dropped.add(found)
    return {
        key: table.select(column for column in table.columns if f"{key}.{column}" not in dropped)
        for key, table in tables.items()
    }


def split_lists(
    tables: dict[str, pl.DataFrame], separators: Mapping[str, str]
) -> dict[str, pl.DataFrame]:
    """Splits columns of text into lists, in every table that has them.

    Blanks around values and empty values are dropped: an empty text is an empty list, a null stays null.

    Args:
        tables: the tables by name.
        separators: column to the mark between its values.

    Raises:
        MissingColumnError: if no table has the column.
        DataError: if the column does not hold text.
    """
    columns = [column for table in tables.values() for column in table.columns]
    for given, separator in separators.items():
        name = find_name(columns, given)
        require(columns, name, "data", "`list_separators` names columns of text that hold lists.")
        owners = {key: table for key, table in tables.items() if name in table.columns}
        for key, table in owners.items():
            if table[name].dtype != pl.String:
                raise DataError(
                    f'The column "{name}" of the {key} is to be split at {separator!r}, but it holds '
                    f"{table[name].dtype}. Remove it from `list_separators`."
                )
            tables = {**tables, key: table.with_columns(_lists(table[name], separator))}
    return tables


def _lists(column: pl.Series, separator: str) -> pl.Series:
    # Each distinct text is split once and joined back: they are few compared with the rows.
    texts = column.unique()
    values = texts.str.split(separator).list.eval(pl.element().str.strip_chars())
    lists = values.list.eval(pl.element().filter(pl.element() != ""))
    table = pl.DataFrame({"text": texts, column.name: lists})
    joined = column.to_frame("text").join(
        table, on="text", how="left", maintain_order="left", nulls_equal=True
    )
    return joined[column.name]
