"""Checks of columns and tables, each a `DataError` with row, value and remedy."""

from typing import Any

import polars as pl

from tfrecall.core.columns import ITEM, USER
from tfrecall.data.frames import first_true, spot
from tfrecall.errors import DataError

# Floats tell whole numbers apart only below these: 2^53 + 1 as a Float64 is 2^53.
EXACT_BELOW: dict[Any, int] = {pl.Float64: 2**53, pl.Float32: 2**24}
# Bytes of an id in UTF-8. Addresses of pages fit; a longer one is a text, or a row that was not divided.
LONGEST_ID = 1024


def as_ids(column: pl.Series, what: str) -> pl.Series:
    """Ids as `String`: integers as written, whole floats without their `.0`.

    pandas turns a column of integers into floats once a value is missing, so whole floats are accepted
    as far as floats are exact. Larger ones are refused: two ids may have become one.

    Raises:
        DataError: for null or empty ids, ids that end in NUL, ids of more than 1,024 bytes, fractions,
            floats beyond 2^53 (Float32: 2^24), and types that are no ids.
    """
    name = column.name
    if column.dtype.is_float():
        column = _whole(column, what)
    if not _can_be_id(column.dtype):
        raise DataError(
            f'The id column "{name}" of the {what} must hold strings or integers. '
            f"Received: {column.dtype}."
        )
    ids = _cast_ids(column, what)
    empty = (ids.str.strip_chars() == "").fill_null(True)
    if empty.any():
        raise DataError(
            f'The {what} has null or empty ids in "{name}": {spot(empty)}. '
            "Fill them in or remove these rows."
        )
    # NumPy's and TensorFlow's fixed-width strings drop NULs at the end: such an id would become another.
    if (cut := ids.str.ends_with("\0")).any():
        raise DataError(
            f'The {what} has ids that end in a NUL character in "{name}": {spot(cut)}: '
            f"{ids[first_true(cut) - 1]!r}. Strip it, or remove these rows."
        )
    if (long := ids.str.len_bytes() > LONGEST_ID).any():
        first = ids[first_true(long) - 1]
        raise DataError(
            f'The {what} has ids of more than {LONGEST_ID:,} bytes in "{name}": {spot(long)}: '
            f"{first[:40]!r}..., of {len(first.encode()):,} bytes. Is the column the right one? Otherwise put "
            "hashes in their place, or remove these rows."
        )
    return ids


def _whole(column: pl.Series, what: str) -> pl.Series:
    """Whole floats as integers; NaN is null."""
    limit = EXACT_BELOW[column.dtype]
    column = column.fill_nan(None)
    broken = (column.floor() != column).fill_null(False)
    if broken.any():
        raise DataError(
            f'The {what} has fractions in its id column "{column.name}": {spot(broken)}: '
            f"{column[first_true(broken) - 1]}. Ids are strings or whole numbers."
        )
    inexact = (column.abs() >= limit).fill_null(False)
    if inexact.any():
        raise DataError(
            f'The {what} has floats as ids in "{column.name}" that are too large to be exact: {spot(inexact)}: '
            f"{column[first_true(inexact) - 1]}. As {column.dtype} different ids from {limit:,} on become one. "
            "Write the ids as strings or integers, in every row."
        )
    return column.cast(pl.Int64)


def _can_be_id(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype in (
        pl.String,
        pl.Categorical,
        pl.Enum,
        pl.Binary,
        pl.Boolean,
        pl.Null,
    )


def _cast_ids(column: pl.Series, what: str) -> pl.Series:
    try:
        return column.cast(pl.String)
    except pl.exceptions.PolarsError as error:  # binary that is not UTF-8
        raise DataError(
            f'The id column "{column.name}" of the {what} holds bytes that are not UTF-8 text. '
            "Decode them first."
        ) from error


def as_number(column: pl.Series, what: str, *, at_least: float | None = None) -> pl.Series:
    """A rating or weight as `Float64` without nulls, NaN or infinities."""
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError(
            f'The column "{column.name}" of the {what} must hold numbers. Received: {column.dtype}.'
        )
    values = column.cast(pl.Float64)
    bad = ~values.is_finite().fill_null(False)
    if bad.any():
        raise DataError(
            f'The column "{column.name}" of the {what} has null, NaN or infinite values: '
            f"{spot(bad)}. Fill them in or remove these rows."
        )
    if at_least is not None and (low := values < at_least).any():
        raise DataError(
            f'The column "{column.name}" of the {what} must be at least {at_least:g}: {spot(low)}: '
            f"{values[first_true(low) - 1]}."
        )
    return values


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Casts categories to `String`, decimals to `Float64`, and whole floats to `Int64`, in lists, too.

    pandas makes floats of whole numbers as soon as one is missing, and JSON has one kind of number. As a
    category such a value is then "10001" and not "10001.0", whatever file, frame or request it comes from;
    as a number it is unchanged.
    """
    casts: dict[str, Any] = {}
    for column in frame.iter_columns():
        if column.dtype in (pl.Categorical, pl.Enum):
            casts[column.name] = pl.String
        elif column.dtype == pl.Decimal:
            casts[column.name] = pl.Float64
        elif column.dtype in EXACT_BELOW and _is_whole(column):
            casts[column.name] = pl.Int64
        elif column.dtype in (pl.List(pl.Float64), pl.List(pl.Float32)) and _is_whole(
            column.explode().drop_nulls()
        ):
            casts[column.name] = pl.List(pl.Int64)
    return frame.cast(casts) if casts else frame  # type: ignore[arg-type]


def _is_whole(column: pl.Series) -> bool:
    """Whether floats hold at least one number, and only whole ones that are exact."""
    values = column.drop_nulls()
    exact = (values.abs() < EXACT_BELOW[column.dtype]) & (values.floor() == values)
    return bool(len(values) and exact.all())


def refuse_not_finite(frame: pl.DataFrame, what: str) -> None:
    """Refuses NaN and infinities in float columns and in lists of floats; nulls are allowed."""
    for column in frame.get_columns():
        inner = getattr(column.dtype, "inner", None)
        if column.dtype.is_float():
            bad = (~column.is_finite()).fill_null(False)
        elif inner is not None and inner.is_float() and column.dtype == pl.List:
            bad = column.list.eval(~pl.element().is_finite()).list.any().fill_null(False)
        else:
            continue
        if bad.any():
            raise DataError(
                f'The column "{column.name}" of the {what} has NaN or infinite values: {spot(bad)}.'
                " Make them null, fill them in, or remove these rows."
            )


def refuse_duplicates(table: pl.DataFrame, key: str, what: str) -> None:
    """Refuses a table with a repeated id."""
    twice = ~table[key].is_first_distinct()
    if twice.any():
        first = first_true(twice)
        raise DataError(
            f'The {what} has duplicate ids in "{key}": {twice.sum():,} of {table.height:,} rows '
            f'repeat an id, the first is row {first:,}: "{table[key][first - 1]}". '
            "Keep one row for each id."
        )


def refuse_shared_columns(log: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> None:
    """Refuses a column name that occurs in two tables: a join would hide one of the two."""
    tables = {"log": log, "users table": users, "items table": items}
    keys = {("log", "users table"): USER, ("log", "items table"): ITEM}
    names = list(tables)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            shared = set(tables[one].columns) & set(tables[other].columns)
            shared -= {keys.get((one, other), "")}
            if shared:
                listed = ", ".join(f'"{name}"' for name in sorted(shared))
                raise DataError(
                    f"The {one} and the {other} share columns: {listed}. "
                    "Rename or drop them in one of the two."
                )


def refuse_too_small(log: pl.DataFrame, why: str = "") -> None:
    """Refuses a log that is empty, or has a single user or item."""
    refuse_empty(log.height, why)
    for key, word in ((USER, "user"), (ITEM, "item")):
        if (log[key] == log[key][0]).all():
            raise only_one(word, log[key][0], log.height, why)


def refuse_empty(rows: int, why: str = "") -> None:
    """Refuses a log without rows."""
    if not rows:
        raise DataError(f"The log is empty{why}. At least two users and two items are needed.")


def only_one(word: str, one: str, rows: int, why: str) -> DataError:
    """The refusal of a log with one user or item only."""
    return DataError(
        f'The log has only one {word} ("{one}"){why}, in {rows:,} rows. '
        "At least two users and two items are needed; is the column the right one?"
    )
