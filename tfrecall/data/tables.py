"""Logs from files, with their user and item tables."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.data.files import read_table
from tfrecall.data.frames import require, to_polars
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError


def read(
    path: str | Path,
    *,
    users: Any = None,
    items: Any = None,
    user_id: str = "user_id",
    item_id: str = "item_id",
    ignore_columns: Iterable[str] = (),
    list_separators: Mapping[str, str] | None = None,
    **options: Any,
) -> Interactions:
    """Reads a log and its tables from files.

    The suffix tells the kind: .csv, .tsv, .parquet, .jsonl; also .csv.gz and .tsv.gz. CSV is UTF-8 with
    commas between columns and names in the first line. Ids of CSV files, and codes such as "02139", stay
    as written. The files of a folder or pattern are read in the order of their names, must be of one kind
    and have the same columns.

    Args:
        path: a file, a folder with files of one kind, or a pattern such as `logs/2024-*.parquet`.
        users: the user table: a path of the same kinds, or a frame.
        items: the item table: a path of the same kinds, or a frame.
        user_id: name of the user column, in the log and in `users`.
        item_id: name of the item column, in the log and in `items`.
        ignore_columns: columns to leave out, each with its table: `log.price`, `items.photo`.
        list_separators: columns of text that hold lists, and the mark between the values.
        **options: as for `Interactions.from_frame`: `timestamp`, `rating`, `weight`, `name` (by default
            that of the file), `missing_items`, `unit`.

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
    tables = {
        "log": read_table(path, "log", keys),
        "users": read_table(users, "users table", keys) if _is_path(users) else users,
        "items": read_table(items, "items table", keys) if _is_path(items) else items,
    }
    given = {
        name: to_polars(table, name if name == "log" else f"{name} table")
        for name, table in tables.items()
        if table is not None
    }
    given = split_lists(drop_columns(given, ignore_columns), list_separators or {})
    return Interactions.from_frame(
        given["log"],
        users=given.get("users"),
        items=given.get("items"),
        user_id=user_id,
        item_id=item_id,
        **options,
    )


def _is_path(table: Any) -> bool:
    return isinstance(table, str | Path)


def drop_columns(tables: dict[str, pl.DataFrame], names: Iterable[str]) -> dict[str, pl.DataFrame]:
    """Drops columns, each named as `table.column`.

    Raises:
        MissingColumnError: if a column does not exist.
    """
    columns = [f"{key}.{column}" for key, table in tables.items() for column in table.columns]
    for name in names:
        require(columns, name, "data", "`ignore_columns` names columns with their tables: log.price.")
    dropped = set(names)
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
    for name, separator in separators.items():
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
