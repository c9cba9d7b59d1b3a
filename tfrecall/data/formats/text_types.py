"""Types of columns of text: whole numbers, numbers, decimal commas, codes that stay text."""

from collections.abc import Iterable

import polars as pl

# A code, not a number: a leading zero before two or more digits, a plus. Hours and months ("08") stay numbers.
CODE = r"^(\+|-?0\d\d)"
DECIMAL_COMMA = r"^\s*[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?\s*$"
TRUTH = {"true": True, "True": True, "false": False, "False": False}
# Rows that rule out a type before whole columns are converted.
SAMPLE = 1_000


def narrowed(table: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """The table with numbers and truth values in place of text, in columns where all values are such.

    Codes stay text: "02139" and "2139" are two, "+49" is no 49. A few queries for the table serve any number
    of columns.

    >>> table = pl.DataFrame({"a": ["7", None, "8"], "b": ["007", "8", "9"], "c": ["1.5", "2", "x"]})
    >>> narrowed(table, table.columns).rows()
    [(7, '007', '1.5'), (None, '8', '2'), (8, '9', 'x')]
    """
    left = [name for name in names if table.schema[name] == pl.String]
    left = [name for name in left if table[name].null_count() < table.height]
    for dtype in (pl.Int64(), pl.Int128(), pl.Float64()):
        possible = _castable(table, _castable(table.head(SAMPLE), left, dtype), dtype)
        if not possible:
            continue
        left = [name for name in left if name not in set(possible)]
        if dtype.is_integer():  # only whole numbers lose zeros that a code has
            codes = table.select(pl.col(possible).str.contains(CODE).any()).row(0)
            possible = [name for name, code in zip(possible, codes, strict=True) if not code]
        table = table.with_columns(pl.col(possible).cast(dtype))
    return table.with_columns(_truth(table, left))


def _castable(table: pl.DataFrame, names: list[str], dtype: pl.DataType) -> list[str]:
    """The columns of which no value is lost as this type."""
    columns = table.select(names)
    lost = columns.select(pl.all().cast(dtype, strict=False)).null_count().row(0)
    nulls = columns.null_count().row(0)
    return [name for name, *counts in zip(names, lost, nulls, strict=True) if counts[0] == counts[1]]


def _truth(table: pl.DataFrame, names: list[str]) -> list[pl.Expr]:
    """The columns of truth values, as such."""
    if not names:
        return []
    for part in (table.head(SAMPLE), table):
        fit = part.select(pl.col(names).drop_nulls().is_in(list(TRUTH)).all()).row(0)
        names = [name for name, fits in zip(names, fit, strict=True) if fits]
        if not names:
            return []
    return [pl.col(name).replace_strict(TRUTH, return_dtype=pl.Boolean) for name in names]


def decimals(table: pl.DataFrame, keys: Iterable[str]) -> list[str]:
    """Columns of text, other than `keys`, of which all values are numbers, and some have decimal commas.

    >>> decimals(pl.DataFrame({"a": ["1,5", "1.234,50"], "b": ["1,2,3", "4"]}), [])
    ['a']
    """
    names = [n for n, dtype in table.schema.items() if dtype == pl.String and n not in set(keys)]
    for part in (table.head(SAMPLE), table):
        if not names:
            break
        fit = part.select(pl.col(names).drop_nulls().str.contains(DECIMAL_COMMA).all()).row(0)
        names = [name for name, fits in zip(names, fit, strict=True) if fits]
    return [n for n in names if table[n].str.contains(",", literal=True).any()]


def without_decimal_commas(name: str) -> pl.Expr:
    """The numbers of a column of text with decimal commas, points between thousands.

    >>> pl.DataFrame({"a": ["1,5", "1.234,50"]}).select(without_decimal_commas("a"))["a"].to_list()
    [1.5, 1234.5]
    """
    plain = pl.col(name).str.strip_chars().str.replace_all(".", "", literal=True)
    return plain.str.replace(",", ".", literal=True).cast(pl.Float64)
