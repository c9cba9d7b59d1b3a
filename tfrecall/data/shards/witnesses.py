"""Values of a piece of a log that lead to the decisions of the whole log.

Types of columns, units and forms of times are decided by all rows of a log: one value that is no number makes
a column text, one day above 12 tells days from months. A piece alone would decide otherwise. Its witnesses are
the few values that can turn such a decision; put behind the rows of any piece, those of all pieces make the
functions that read a log decide for the piece as for the whole.
"""

from collections.abc import Iterable

import polars as pl

from tfrecall.data.checks import EXACT_BELOW
from tfrecall.data.dates import MONTHS, NUMERIC
from tfrecall.data.formats.text_types import DECIMAL_COMMA, NULL_VALUES, TRUTH, is_code
from tfrecall.data.timestamps import NUMBER, has_unit


def of_columns(frame: pl.DataFrame, words: Iterable[str] = ()) -> pl.DataFrame:
    """Witnesses for the types of columns, each column by itself, with nulls below the shorter ones.

    Args:
        frame: rows of the log.
        words: words that stand for no value.

    >>> of_columns(pl.DataFrame({"a": ["7", "7", "x"], "b": [0.5, 1.0, 1.0], "c": [1, 2, 3]})).rows()
    [('7', 0.5), ('x', None)]
    """
    spelt = {word.strip().lower() for word in words}
    found = [_of_column(column, spelt) for column in frame.iter_columns()]
    return together([column.to_frame() for column in found if column is not None])


def together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Witnesses of several pieces, each value of a column once."""
    if not frames:
        return pl.DataFrame()
    table = pl.concat(frames, how="diagonal_relaxed")
    columns = [column.drop_nulls().unique(maintain_order=True) for column in table.iter_columns()]
    height = max(map(len, columns), default=0)
    return pl.DataFrame([column.extend_constant(None, height - len(column)) for column in columns])


def behind(frame: pl.DataFrame, witnesses: pl.DataFrame) -> pl.DataFrame:
    """The rows with the witnesses of their columns behind them."""
    known = witnesses.select(name for name in witnesses.columns if name in frame.columns)
    if not known.height:
        return frame
    return pl.concat([frame, known], how="diagonal_relaxed")


def _of_column(column: pl.Series, words: set[str]) -> pl.Series | None:
    if column.dtype == pl.String:
        return _of_texts(column, words)
    if column.dtype in EXACT_BELOW:
        return _firsts(column, [column.is_not_null(), ~_is_whole(column)])
    inner = getattr(column.dtype, "inner", None)
    if isinstance(column.dtype, pl.List) and inner in EXACT_BELOW:
        values = column.list.drop_nulls()
        other = values.list.eval(~_whole(pl.element(), EXACT_BELOW[inner])).list.any()
        return _firsts(column, [values.list.len() > 0, other])
    return None


def _of_texts(column: pl.Series, words: set[str]) -> pl.Series:
    """The first text that is none of each type, and each spelling of a word for no value."""
    # Few texts are distinct, or all are: either way the functions below see each once.
    texts = column.drop_nulls().unique(maintain_order=True)
    spelt = texts.filter(texts.str.strip_chars().str.to_lowercase().is_in(list(words)))
    texts = texts.filter(~texts.is_in(spelt.implode()))
    floats = texts.cast(pl.Float64, strict=False)
    decimal = texts.str.contains(DECIMAL_COMMA)
    null_words = texts.str.to_lowercase().is_in(NULL_VALUES)
    turning = [
        texts.is_not_null(),
        texts.cast(pl.Int64, strict=False).is_null(),
        texts.cast(pl.Int128, strict=False).is_null(),
        pl.select(is_code(pl.lit(texts))).to_series(),
        floats.is_null(),
        ~_is_whole(floats),
        ~texts.is_in(list(TRUTH)),
        ~(decimal | null_words),
        texts.str.contains(",", literal=True),
        # A number within decimal commas that is not whole.
        decimal & texts.str.contains(r",\d*[1-9]"),
    ]
    return pl.concat([_firsts(texts, turning), spelt])


def _is_whole(column: pl.Series) -> pl.Series:
    return column.to_frame("x").select(_whole(pl.col("x"), EXACT_BELOW[column.dtype])).to_series()


def _whole(values: pl.Expr, limit: int) -> pl.Expr:
    return (values.abs() < limit) & (values.floor() == values)


def _firsts(column: pl.Series, masks: list[pl.Series]) -> pl.Series:
    """The first value of each mask."""
    rows = [mask.arg_max() for mask in masks if mask.any()]
    return column.gather(sorted({int(row) for row in rows if row is not None}))


def of_times(column: pl.Series) -> pl.Series:
    """Witnesses for the unit and the form of times.

    >>> of_times(pl.Series([0, 60, 120, 180])).to_list()
    [0, 60, 180]
    >>> of_times(pl.Series(["01/02/1970", "03/04/1971", "13/02/1970"])).to_list()
    ['01/02/1970', '13/02/1970']
    """
    column = column.drop_nulls()
    if column.dtype == pl.String:
        numeric = column.str.contains(NUMBER)
        texts = column.filter(numeric)
        extremes = _extremes(texts, texts.str.strip_chars().cast(pl.Float64))
        return pl.concat([extremes, _shapes(column.filter(~numeric))])
    if column.dtype.is_numeric():
        return _extremes(column, column.cast(pl.Float64))
    return column.clear()


def _extremes(column: pl.Series, values: pl.Series) -> pl.Series:
    """The values that tell the unit, and one that is not whole."""
    if not len(values):
        return column
    sizes = values.abs().set(~values.is_finite(), None)
    telling = sizes.set(~has_unit(values), None)
    rows = {one for series in (sizes, telling) for one in (series.arg_min(), series.arg_max())}
    rows.add((values.floor() != values).arg_max() if (values.floor() != values).any() else None)
    return column.gather(sorted(row for row in rows if row is not None))


def _shapes(texts: pl.Series) -> pl.Series:
    """One text of each form: letters as they are, any digit, which number may be no month."""
    parts = texts.str.extract_groups(NUMERIC).struct.unnest()
    first, second = (parts[str(n)].cast(pl.Int64) for n in (1, 3))
    table = pl.DataFrame(
        {
            "text": texts,
            "shape": texts.str.replace_all(r"\d", "0"),
            "day": first > MONTHS,
            "month": second > MONTHS,
            "same": first == second,
        }
    )
    return table.unique(table.columns[1:], keep="first", maintain_order=True)["text"]
