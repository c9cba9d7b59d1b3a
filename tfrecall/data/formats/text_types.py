"""Types of columns of text: whole numbers, numbers, decimal commas, codes that stay text."""

from collections.abc import Iterable

import polars as pl

DECIMAL_COMMA = r"^\s*[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?\s*$"
TRUTH = {"true": True, "True": True, "false": False, "False": False}
# Words that programs write for "no value", in lower case: SQL, pandas, Python, JSON, spreadsheets, Hive.
NULL_VALUES = (
    "null",
    "nan",
    "none",
    "n/a",
    "na",
    "-",
    "nil",
    "undefined",
    "#n/a",
    "<na>",
    "nat",
    "\\n",
)
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
    # Asked once: each call of `schema` or `columns` goes over all columns.
    schema, nulls = table.schema, table.null_count().row(0, named=True)
    left = [name for name in names if schema[name] == pl.String and nulls[name] < table.height]
    for dtype in (pl.Int64(), pl.Int128(), pl.Float64()):
        possible = _cast(table.head(SAMPLE), left, dtype).columns
        numbers = _cast(table, possible, dtype)
        found = set(numbers.columns)
        left = [name for name in left if name not in found]
        if dtype.is_integer() and numbers.width:  # only whole numbers lose zeros that a code has
            codes = table.select(is_code(pl.col(numbers.columns)).any()).row(0)
            numbers = numbers.drop(n for n, code in zip(numbers.columns, codes, strict=True) if code)
        table = table.with_columns(numbers.iter_columns())
    return table.with_columns(_truth(table, left))


def _cast(table: pl.DataFrame, names: list[str], dtype: pl.DataType) -> pl.DataFrame:
    """The columns of which no value is lost as this type, as such."""
    columns = table.select(names)
    numbers = columns.select(pl.all().cast(dtype, strict=False))
    counts = zip(names, numbers.null_count().row(0), columns.null_count().row(0), strict=True)
    return numbers.select([name for name, lost, nulls in counts if lost == nulls])


def is_code(texts: pl.Expr) -> pl.Expr:
    """Whether whole numbers are codes: a leading zero before two digits or more, or a plus; "08" is an hour."""
    digits = texts.str.len_bytes()
    zero = texts.str.starts_with("0") & (digits > 2)
    negative = texts.str.starts_with("-0") & (digits > 3)
    return zero | negative | texts.str.starts_with("+")


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

    Words for no value may stand among them.

    >>> decimals(pl.DataFrame({"a": ["1,5", "1.234,50", "NULL"], "b": ["1,2,3", "4", "5"]}), [])
    ['a']
    """
    names = [n for n, dtype in table.schema.items() if dtype == pl.String and n not in set(keys)]
    for part in (table.head(SAMPLE), table):
        if not names:
            break
        values = pl.col(names).drop_nulls()
        fits = values.str.contains(DECIMAL_COMMA) | values.str.to_lowercase().is_in(NULL_VALUES)
        fit = part.select(fits.all()).row(0)
        names = [name for name, fits in zip(names, fit, strict=True) if fits]
    return [n for n in names if table[n].str.contains(",", literal=True).any()]


def without_decimal_commas(name: str) -> pl.Expr:
    """The numbers of a column of text with decimal commas, points between thousands; null for words.

    >>> pl.DataFrame({"a": ["1,5", "1.234,50", "-"]}).select(without_decimal_commas("a"))["a"].to_list()
    [1.5, 1234.5, None]
    """
    plain = pl.col(name).str.strip_chars().str.replace_all(".", "", literal=True)
    numbers = plain.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    return numbers.fill_nan(None)
