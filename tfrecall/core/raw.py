"""Raw features: columns of a table as the NumPy arrays that a tower or a SavedModel takes.

The one place where a table meets a signature, so training and serving cannot differ. There are four
forms of a column, each with its null:

    string   object array of `str` [n]       null is the unknown value
    strings  object array of `str` [n, any]  null is the empty list; "" pads
    number   float64 array [n]               null is refused: no number stands for "not known"
    vector   float32 array [n, length]       null is a row of zeros; without any vector the length is 0

A fifth, `integer` (int64 [n], null is refused), serves batches whose features are not known yet: it
can still become a string or a number without loss.
"""

from typing import Any, Literal

import numpy as np
import polars as pl

from tfrecall.errors import DataError, MissingColumnError, nearest

Form = Literal["string", "strings", "number", "vector", "integer"]

# The out-of-vocabulary token of Keras' StringLookup: always encoded as the unknown value.
UNKNOWN_TOKEN = "[UNK]"
# float64 holds every integer below 2^53; above it a float may stand for another one.
EXACT_BELOW = 2.0**53


def raw_features(frame: pl.DataFrame, forms: dict[str, Form]) -> dict[str, np.ndarray]:
    """Converts the columns of a table.

    Args:
        frame: a table.
        forms: the columns wanted and the form of each.

    Returns:
        One array a column, all with `frame.height` rows.

    Raises:
        MissingColumnError: if a column is missing.
        DataError: if a number is null, NaN or infinite, or a column cannot take its form.
    """
    arrays = {}
    for column, form in forms.items():
        if column not in frame.columns:
            raise MissingColumnError(
                f'Column "{column}" is needed as a feature, but the table has only: '
                f"{', '.join(frame.columns)}.{nearest(column, frame.columns)}"
            )
        arrays[column] = _CONVERTERS[form](frame[column])
    return arrays


def _string(column: pl.Series) -> np.ndarray:
    if column.dtype.is_nested():
        raise DataError(
            f'Column "{column.name}" holds lists, but its feature takes one value a row. '
            "Use a MultiCategorical feature for it."
        )
    values = column.cast(pl.String).fill_null(UNKNOWN_TOKEN)
    return np.array(values.to_list(), dtype=object)


def _strings(column: pl.Series) -> np.ndarray:
    if column.dtype == pl.Null:  # no row has a value, so the type of the lists is unknown
        return np.full((len(column), 1), "", dtype=object)
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List):
        raise DataError(
            f'Column "{column.name}" holds {column.dtype}, but a MultiCategorical feature takes a '
            "list of strings. Split it first, or use a Categorical feature."
        )
    lists = column.cast(pl.List(pl.String)).fill_null([]).list.drop_nulls()
    lengths = lists.list.len().to_numpy()
    padded = np.full((len(column), max(1, lengths.max(initial=0))), "", dtype=object)
    # The mask takes values row by row, the order of `explode`, which makes a null of an empty list.
    padded[np.arange(padded.shape[1]) < lengths[:, np.newaxis]] = lists.explode().drop_nulls()
    return padded


def _number(column: pl.Series) -> np.ndarray:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError(
            f'Column "{column.name}" holds {column.dtype}, but its feature takes a number. '
            "Cast it first, or use a Categorical feature."
        )
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    refuse_not_finite(values, column.name)
    return values


def number_text(value: Any) -> str | None:
    """A number as a category, whole ones without `.0`; None for what is no finite number.

    >>> number_text(10001.0), number_text(0.5), number_text(True), number_text(float("nan"))
    ('10001', '0.5', None, None)
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return None
    if isinstance(value, int | np.integer):
        return str(int(value))
    if not np.isfinite(value):
        return None
    whole = float(value).is_integer() and abs(value) < EXACT_BELOW
    return str(int(value)) if whole else str(value)


def refuse_not_finite(values: np.ndarray, column: str) -> None:
    """Raises `DataError` if a number of a column is NaN, which also stands for null, or infinite."""
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise DataError(
            f'Column "{column}" has {bad.size} values that are null, NaN or infinite, the first '
            f"in row {bad[0]}. Fill or drop them, or use a Categorical feature, where null is unknown."
        )


def _vector(column: pl.Series) -> np.ndarray:
    if column.dtype == pl.Null:
        return np.zeros((len(column), 0), np.float32)
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not (isinstance(column.dtype, pl.List) and _is_number(column.dtype.inner)):
        raise DataError(
            f'Column "{column.name}" holds {column.dtype}, but a Vector feature takes a list of numbers a '
            "row. Make it one, such as from text by `str.json_decode`."
        )
    there = column.is_not_null().to_numpy()
    lengths = column.list.len().drop_nulls().to_numpy()
    if len(wrong := np.flatnonzero(lengths != lengths[:1])):
        raise DataError(
            f'Column "{column.name}" holds lists of {lengths[0]} and of {lengths[wrong[0]]} numbers, the first '
            f"such in row {np.flatnonzero(there)[wrong[0]]}. All vectors of a column are equally long; null is "
            "one that is not known."
        )
    width = int(lengths.max(initial=0))
    vectors = np.zeros((len(column), width), np.float32)
    numbers = column.drop_nulls().list.explode(empty_as_null=False).cast(pl.Float32)
    vectors[there] = numbers.fill_null(np.nan).to_numpy().reshape(len(lengths), width)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise DataError(
            f'Column "{column.name}" has {bad.size} vectors with a null, NaN or infinite number, the first in '
            f"row {bad[0]}. Fill it, or make the whole vector null."
        )
    return vectors


def _is_number(dtype: object) -> bool:
    return isinstance(dtype, pl.DataType) and (dtype.is_numeric() or dtype == pl.Null)


def _integer(column: pl.Series) -> np.ndarray:
    if column.null_count() or not column.dtype.is_integer():
        raise DataError(
            f'Column "{column.name}" holds {column.dtype} with {column.null_count()} nulls, but whole '
            "numbers are asked for. Fill or drop the nulls."
        )
    return column.cast(pl.Int64).to_numpy()


_CONVERTERS = {
    "string": _string,
    "strings": _strings,
    "number": _number,
    "vector": _vector,
    "integer": _integer,
}
