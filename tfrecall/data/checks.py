"""What a log or table must be before anything is learned from it."""

import polars as pl

from tfrecall.data.frames import first_true, spot
from tfrecall.errors import DataError


def as_ids(column: pl.Series, what: str) -> pl.Series:
    """Ids as `String`: integers as they are written, whole floats without their `.0`.

    Whole floats are accepted because pandas turns an integer column into floats as soon as one
    value was missing somewhere on its way; 3.5 is refused, it can only be a wrong column.

    Raises:
        DataError: for null or empty ids, and for types that are no ids.
    """
    name = column.name
    if column.dtype.is_float():
        column = column.fill_nan(None)
        broken = (column.floor() != column).fill_null(False)
        if broken.any():
            raise DataError(
                f'The {what} has fractions in its id column "{name}": {spot(broken)}: '
                f"{column[first_true(broken) - 1]}. Ids are strings or whole numbers."
            )
        column = column.cast(pl.Int64)
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
    return ids


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
    """The frame with categories as `String` and decimals as `Float64`, in one chunk a column."""
    casts = {
        name: pl.String if dtype in (pl.Categorical, pl.Enum) else pl.Float64
        for name, dtype in frame.schema.items()
        if dtype in (pl.Categorical, pl.Enum, pl.Decimal)
    }
    return frame.cast(casts) if casts else frame  # type: ignore[arg-type]


def refuse_not_finite(frame: pl.DataFrame, what: str) -> None:
    """Refuses NaN and infinities in float columns and in lists of floats; nulls may stand."""
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
    """Refuses a table in which an id stands twice."""
    twice = ~table[key].is_first_distinct()
    if twice.any():
        first = first_true(twice)
        raise DataError(
            f'The {what} has duplicate ids in "{key}": {twice.sum():,} of {table.height:,} rows '
            f'repeat an id, the first is row {first:,}: "{table[key][first - 1]}". '
            "Keep one row for each id."
        )


def refuse_shared_columns(log: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> None:
    """Refuses a column name that stands in two tables: joined, one would hide the other."""
    tables = {"log": log, "users table": users, "items table": items}
    keys = {("log", "users table"): "user_id", ("log", "items table"): "item_id"}
    names = list(tables)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            shared = set(tables[one].columns) & set(tables[other].columns)
            shared -= {keys.get((one, other), "")}
            if shared:
                listed = ", ".join(f'"{name}"' for name in sorted(shared))
                raise DataError(
                    f"Columns that stand both in the {one} and in the {other}: {listed}. "
                    "Rename or drop them in one of the two."
                )


def refuse_too_small(log: pl.DataFrame, why: str = "") -> None:
    """Refuses a log from which nothing can be learned: empty, of one user, or of one item."""
    if not log.height:
        raise DataError(f"The log is empty{why}. At least two users and two items are needed.")
    for key, word in (("user_id", "user"), ("item_id", "item")):
        if (log[key] == log[key][0]).all():
            raise DataError(
                f'The log has only one {word} ("{log[key][0]}"){why}, in {log.height:,} rows. '
                "At least two users and two items are needed; is the column the right one?"
            )
