"""Columns left out of tables, and columns of text divided into lists."""

from collections.abc import Iterable, Mapping

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data.frames import find_name, require
from tfrecall.errors import DataError


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
        require(
            columns,
            found,
            "data",
            f"{argument('ignore_columns')} names columns with their tables: log.price.",
        )
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
        require(
            columns,
            name,
            "data",
            f"{argument('list_separators')} names columns of text that hold lists.",
        )
        owners = {key: table for key, table in tables.items() if name in table.columns}
        for key, table in owners.items():
            if table[name].dtype != pl.String:
                raise DataError(
                    f'The column "{name}" of the {key} is to be split at {separator!r}, but it holds '
                    f"{table[name].dtype}. Remove it from {argument('list_separators')}."
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
