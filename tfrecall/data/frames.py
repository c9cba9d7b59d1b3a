"""Frames of other libraries as Polars frames, and the columns they must have."""

from collections.abc import Iterable
from typing import Any

import polars as pl

from tfrecall.errors import DataError, MissingColumnError, nearest


def to_polars(frame: Any, what: str) -> pl.DataFrame:
    """The frame as a Polars `DataFrame`, whichever library it comes from.

    Args:
        frame: Polars `DataFrame` or `LazyFrame` (collected), pandas `DataFrame` (its index is left
            behind), or pyarrow `Table` or `RecordBatch`. Neither pandas nor pyarrow is imported
            unless the object comes from it.
        what: what messages call the frame.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        if isinstance(frame, pl.LazyFrame):
            return frame.collect()
        library = type(frame).__module__.split(".")[0]
        if library == "pandas" and hasattr(frame, "columns"):
            return pl.from_pandas(frame)
        if library == "pyarrow" and hasattr(frame, "schema"):
            return pl.DataFrame(pl.from_arrow(frame))
    except (pl.exceptions.PolarsError, ImportError, TypeError, ValueError) as error:
        raise DataError(f"The {what} cannot be read as a table: {error}") from error
    raise DataError(
        f"The {what} must be a Polars, pandas or pyarrow table. "
        f"Received: {type(frame).__module__}.{type(frame).__qualname__}. "
        "Read a file with `tfrecall.data.read`."
    )


def require(columns: Iterable[str], name: str, what: str, hint: str = "") -> None:
    """Refuses a table that lacks the column `name`, naming the nearest and listing what is there.

    Args:
        hint: what to do about it, a sentence that ends the message.
    """
    columns = list(columns)
    if name not in columns:
        raise MissingColumnError(
            f'The {what} has no column "{name}".{nearest(name, columns)} '
            f"Its columns: {', '.join(columns) or 'none'}.{' ' + hint if hint else ''}"
        )


def rename(frame: pl.DataFrame, names: dict[str, str], what: str) -> pl.DataFrame:
    """Gives columns their canonical names.

    Args:
        names: canonical name to the name in the frame.

    Raises:
        DataError: if one column is asked to be two things, or if a canonical name is already taken
            by another column.
    """
    given = list(names.values())
    if len(set(given)) < len(given):
        listed = ", ".join(f'{canonical}="{name}"' for canonical, name in names.items())
        raise DataError(f"One column of the {what} cannot be two things. Received: {listed}.")
    for canonical, name in names.items():
        if name != canonical and canonical in frame.columns and canonical not in given:
            raise DataError(
                f'The {what} has a column "{canonical}" beside "{name}", which was named to be the '
                f"{canonical}. Drop or rename one of them."
            )
    return frame.rename({name: canonical for canonical, name in names.items()})


def first_true(mask: pl.Series) -> int:
    """The first row that is true, counted from 1; the mask must have one."""
    return int(mask.arg_max() or 0) + 1


def spot(mask: pl.Series) -> str:
    """How many rows of a mask are true and which is the first, in words.

    >>> spot(pl.Series([False, True, True]))
    '2 of 3 rows, the first is row 2'
    """
    return f"{mask.sum():,} of {len(mask):,} rows, the first is row {first_true(mask):,}"
