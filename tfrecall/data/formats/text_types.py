"""Types of columns of text: whole numbers, numbers, decimal commas, codes that stay text."""

import polars as pl

# A code, not a number: a leading zero before two or more digits, a plus. Hours and months ("08") stay numbers.
CODE = r"^(\+|-?0\d\d)"
DECIMAL_COMMA = r"^\s*[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?\s*$"
# Values that rule out a type before the whole column is converted.
SAMPLE = 1_000


def narrowed(column: pl.Series) -> pl.Series:
    """The numbers or truth values of a column of text; the column itself if a value is something else.

    Codes stay text: "02139" and "2139" are two, "+49" is no 49.

    >>> narrowed(pl.Series(["7", None, "8"])).to_list(), narrowed(pl.Series(["007", "8"])).to_list()
    ([7, None, 8], ['007', '8'])
    """
    present = column.drop_nulls()
    if column.dtype != pl.String or not len(present):
        return column
    for dtype in (pl.Int64(), pl.Int128(), pl.Float64()):
        if _casts(present.head(SAMPLE), dtype) and _casts(column, dtype):
            # Once for the column: only whole numbers lose zeros that a code has.
            is_code = dtype.is_integer() and column.str.contains(CODE).any()
            return column if is_code else column.cast(dtype)
    if present.head(SAMPLE).is_in(["true", "false", "True", "False"]).all():
        lower = column.str.to_lowercase()
        if lower.drop_nulls().is_in(["true", "false"]).all():
            return lower == "true"
    return column


def _casts(column: pl.Series, dtype: pl.DataType) -> bool:
    return column.cast(dtype, strict=False).null_count() == column.null_count()


def decimals(column: pl.Series) -> pl.Series | None:
    """The numbers of a column of text with decimal commas ("1.234,50"); None if it has none.

    >>> decimals(pl.Series(["1,5", "1.234,50", "2"])).to_list()
    [1.5, 1234.5, 2.0]
    """
    if column.dtype != pl.String:
        return None
    present = column.drop_nulls()
    if not present.head(SAMPLE).str.contains(DECIMAL_COMMA).all():
        return None
    if (
        not present.str.contains(",", literal=True).any()
        or not present.str.contains(DECIMAL_COMMA).all()
    ):
        return None
    plain = column.str.strip_chars().str.replace_all(".", "", literal=True)
    return plain.str.replace(",", ".", literal=True).cast(pl.Float64)
