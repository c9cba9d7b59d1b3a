"""Conversion of frames to Polars, and checks of their columns."""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.errors import DataError, MissingColumnError, nearest


def to_polars(frame: Any, what: str) -> pl.DataFrame:
    """Converts a frame to a Polars `DataFrame`.

    Args:
        frame: Polars `DataFrame` or `LazyFrame` (collected), pandas `DataFrame` (its index is dropped), or
            pyarrow `Table` or `RecordBatch`. pandas and pyarrow are not imported for other frames.
        what: name of the frame in messages.

    Raises:
        DataError: if it is no frame, or cannot be converted.
    """
    if isinstance(frame, pl.DataFrame):
        return flat(frame)
    try:
        if isinstance(frame, pl.LazyFrame):
            return flat(frame.collect())
        library = type(frame).__module__.split(".")[0]
        if library == "pandas" and hasattr(frame, "columns"):
            return flat(pl.from_pandas(frame))
        if library == "pyarrow" and hasattr(frame, "schema"):
            return flat(pl.DataFrame(pl.from_arrow(frame)))
    except UnicodeEncodeError as error:  # a lone surrogate, which UTF-8 cannot hold
        raise DataError(
            f"The {what} has text that is not valid Unicode: {_where(frame, error.object)}. "
            "Repair or remove it: a lone surrogate is half a character."
        ) from error
    except (pl.exceptions.PolarsError, ImportError, TypeError, ValueError) as error:
        raise DataError(f"The {what} cannot be read as a table: {error}") from error
    raise DataError(
        f"The {what} must be a Polars, pandas or pyarrow table. "
        f"Received: {type(frame).__module__}.{type(frame).__qualname__}. "
        "Read a file with `tfrecall.data.read`."
    )


def _where(frame: Any, text: str) -> str:
    """Column, row and value of a text in a pandas frame."""
    for name in getattr(frame, "columns", ()):
        for row, value in enumerate(frame[name], start=1):
            if isinstance(value, str) and value == text:
                return f'column "{name}", row {row:,}: {value!r}'
    return repr(text)


def flat(table: pl.DataFrame) -> pl.DataFrame:
    """Puts the fields of nested columns beside the others: `id` in `user` is `user_id`, a possible feature.

    A field whose name is taken already is named by its path, `user.id`.

    >>> flat(pl.DataFrame({"user": [{"id": 7, "age": None}], "item": ["a"]})).columns
    ['user_id', 'user_age', 'item']
    """
    while nested := [name for name, dtype in table.schema.items() if dtype == pl.Struct]:
        taken = set(table.columns) - set(nested)
        columns: list[pl.Series] = []
        for column in table.iter_columns():
            if column.name not in nested:
                columns.append(column)
                continue
            for field in column.struct.unnest().iter_columns():
                name = f"{column.name}_{field.name}"
                name = f"{column.name}.{field.name}" if name in taken else name
                taken.add(name)
                columns.append(field.alias(name))
        table = pl.DataFrame(columns)
    return table


def find_name(columns: Iterable[str], name: str) -> str:
    """The name of a column, for a path into a nested one that of its field in the flat table.

    >>> find_name(["user_id", "item"], "user.id"), find_name(["user_id"], "sku")
    ('user_id', 'sku')
    """
    flattened = name.replace(".", "_")
    columns = set(columns)
    return flattened if name not in columns and flattened in columns else name


def require(columns: Iterable[str], name: str, what: str, hint: str = "") -> None:
    """Refuses a table without the column `name`; the message names the nearest and lists all.

    Args:
        columns: names of the table's columns.
        name: the required one.
        what: name of the table in the message.
        hint: last sentence of the message, a remedy.

    Raises:
        MissingColumnError: if the column is missing.
    """
    columns = list(columns)
    if name not in columns:
        raise MissingColumnError(
            f'The {what} has no column "{name}".{nearest(name, columns)} '
            f"Its columns: {', '.join(columns) or 'none'}.{' ' + hint if hint else ''}"
        )


def require_roles(columns: Iterable[str], names: Mapping[str, str], what: str) -> None:
    """Refuses a table without the columns of some roles; one message names all that are missing.

    Args:
        columns: names of the table's columns.
        names: argument of `tr.data.read` to the name of its column.
        what: name of the table in the message.

    Raises:
        MissingColumnError: if columns are missing.
    """
    columns = list(columns)
    missing = {role: name for role, name in names.items() if name not in columns}
    if not missing:
        return
    listed = ", ".join(f'"{name}"' for name in missing.values())
    guesses = {name: nearest(name, columns) for name in missing.values()}
    meant = "".join(
        f'{text.removesuffix("?")} for "{name}"?' if len(missing) > 1 else text
        for name, text in guesses.items()
        if text
    )
    roles = ", ".join(argument(role, "...") for role in missing)
    single = f" If they are all in one: {argument('separator')} names the mark between columns."
    raise MissingColumnError(
        f"The {what} has no column{'s' * (len(missing) > 1)} {listed}.{meant} "
        f"Its columns: {', '.join(columns) or 'none'}.{single if len(columns) == 1 else ''} "
        f"Say which they are: {roles}."
    )


def rename(frame: pl.DataFrame, names: dict[str, str], what: str) -> pl.DataFrame:
    """Renames columns to their canonical names.

    Args:
        frame: the table.
        names: canonical name to the name in the frame.
        what: name of the table in messages.

    Raises:
        DataError: if one column is given two roles, or another column has a canonical name already.
    """
    given = list(names.values())
    if len(set(given)) < len(given):
        listed = ", ".join(f'{canonical}="{name}"' for canonical, name in names.items())
        raise DataError(
            f"One column of the {what} cannot have two roles. Received: {listed}. Name a column for each."
        )
    for canonical, name in names.items():
        if name != canonical and canonical in frame.columns and canonical not in given:
            raise DataError(
                f'The {what} has a column "{canonical}" beside "{name}", which was named as '
                f"{canonical}. Drop or rename one of them."
            )
    return frame.rename({name: canonical for canonical, name in names.items()})


def first_true(mask: pl.Series) -> int:
    """The first true row, counted from 1; the mask must have one."""
    return int(mask.arg_max() or 0) + 1


def spot(mask: pl.Series) -> str:
    """Number of true rows and the first of them, in words.

    >>> spot(pl.Series([False, True, True]))
    '2 of 3 rows, the first is row 2'
    """
    return f"{mask.sum():,} of {len(mask):,} rows, the first is row {first_true(mask):,}"
