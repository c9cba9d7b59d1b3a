"""What is done to tables between the file and the checks: columns left out, texts split into lists."""

from collections.abc import Iterable, Mapping

import polars as pl

from tfrecall.data.frames import require
from tfrecall.errors import DataError


def drop_columns(tables: dict[str, pl.DataFrame], names: Iterable[str]) -> dict[str, pl.DataFrame]:
    """The tables without some columns, each named as `table.column`.

    Raises:
        MissingColumnError: if a column is not there.
    """
    there = [f"{key}.{column}" for key, table in tables.items() for column in table.columns]
    for name in names:
        require(there, name, "data", "`ignore_columns` names, with its table, what is not to be read.")
    dropped = set(names)
    return {
        key: table.select(column for column in table.columns if f"{key}.{column}" not in dropped)
        for key, table in tables.items()
    }


def split_lists(
    tables: dict[str, pl.DataFrame], separators: Mapping[str, str]
) -> dict[str, pl.DataFrame]:
    """The tables with lists in place of columns of text, in whichever tables have them.

    Blanks around values go, and so do empty values: an empty text is an empty list.

    Raises:
        MissingColumnError: if no table has the column.
        DataError: if it does not hold text.
    """
    there = [column for table in tables.values() for column in table.columns]
    for name, separator in separators.items():
        require(there, name, "data", "`list_separators` names columns of text that hold lists.")
        having = {key: table for key, table in tables.items() if name in table.columns}
        for key, table in having.items():
            if table[name].dtype != pl.String:
                raise DataError(
                    f'The column "{name}" of the {key} is to be split at {separator!r}, but it holds '
                    f"{table[name].dtype}. Take it out of `list_separators`."
                )
            tables = {**tables, key: table.with_columns(_lists(table[name], separator))}
    return tables


def _lists(column: pl.Series, separator: str) -> pl.Series:
    # Value by value, not list by list: the distinct texts are few beside the rows.
    texts = column.unique()
    values = texts.str.split(separator).list.eval(pl.element().str.strip_chars())
    lists = values.list.eval(pl.element().filter(pl.element() != ""))
    table = pl.DataFrame({"text": texts, column.name: lists})
    joined = column.to_frame("text").join(
        table, on="text", how="left", maintain_order="left", nulls_equal=True
    )
    return joined[column.name]
