"""Dates as numbers: 20240131, years, days of a spreadsheet."""

from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from tfrecall.data.frames import spot
from tfrecall.errors import DataError

# Spreadsheets count days from here: day 60 is a 29 February 1900 that never was, and 61 is right.
SPREADSHEET_EPOCH = date(1899, 12, 30)
# Days of a spreadsheet from 1990 to 2049: days since 1970 of these years are smaller.
SPREADSHEET_DAYS = (32_874, 54_789)
YEARS = (1900, 2100)
# The last day that programs can write stands for "never".
NEVER = 99991231
# Share of dates from which the other values are faults.
MOSTLY = 0.9


class Written(NamedTuple):
    """One way to write a date in digits.

    Attributes:
        words: the way, for messages.
        low, high: the numbers between which it lies.
        form: the format of the digits and of `suffix`.
        suffix: digits that complete the date.
    """

    words: str
    low: int
    high: int
    form: str
    suffix: str = ""


FORMS = (
    Written("dates written as YYYYMMDD", 19000101, NEVER, "%Y%m%d"),
    Written("months written as YYYYMM", 190001, 210012, "%Y%m%d", "01"),
    Written("date-times written as YYYYMMDDHHMM", 190001010000, 210012312359, "%Y%m%d%H%M"),
    Written("date-times written as YYYYMMDDHHMMSS", 19000101000000, 21001231235959, "%Y%m%d%H%M%S"),
)


def as_dates(values: pl.Series, what: str) -> tuple[pl.Series, str] | None:
    """Reads numbers that look like dates in digits, years or days of a spreadsheet.

    Args:
        values: the numbers, `Float64`, finite.
        what: name of the table in messages.

    Returns:
        Seconds since 1970 and the kind in words, or None for other numbers.

    Raises:
        DataError: if nearly all numbers are dates in digits, but not all.

    >>> as_dates(pl.Series([19700102.0, 19700103.0]), "log")[0].to_list()
    [86400.0, 172800.0]
    """
    low, high = float(values.min() or 0), float(values.max() or 0)  # type: ignore[arg-type]
    # Zeros and negative numbers among dates are faults.
    typical = float(values.median() or 0)  # type: ignore[arg-type]
    for written in FORMS:
        if (
            written.low <= typical <= written.high
            and (seconds := _in_digits(values, written, what)) is not None
        ):
            return seconds, written.words
    if SPREADSHEET_DAYS[0] <= low and high <= SPREADSHEET_DAYS[1]:
        since_1970 = (date(1970, 1, 1) - SPREADSHEET_EPOCH) // timedelta(days=1)
        return (values - since_1970) * 86_400.0, "days of a spreadsheet"
    if YEARS[0] <= low and high <= YEARS[1] and (values.floor() == values).all():
        return _seconds(values, Written("years", *YEARS, "%Y%m%d", "0101")), "years"
    return None


def _in_digits(values: pl.Series, written: Written, what: str) -> pl.Series | None:
    seconds = _seconds(values, written)
    bad = seconds.is_null()
    if not bad.any():
        return seconds
    if bad.mean() <= 1 - MOSTLY:  # type: ignore[operator]
        raise DataError(
            f"The timestamps of the {what} look like {written.words}, but some are none: {spot(bad)}: "
            f"{values.filter(bad)[0]:.0f}. Repair or remove these rows."
        )
    return None


def _seconds(values: pl.Series, written: Written) -> pl.Series:
    """Seconds of the numbers, null for those that are no dates of the years 1900 to 2100 or the last."""
    # Hardly any log has more different days than rows of a sample: each is read once.
    distinct = values.unique()
    whole = distinct.floor() == distinct
    texts = distinct.cast(pl.Int64).cast(pl.String) + written.suffix
    width = len(str(written.low)) + len(written.suffix)
    dates = texts.set(~whole | (texts.str.len_bytes() != width), None).str.to_datetime(
        written.form, strict=False, time_unit="us"
    )
    years = dates.dt.year()
    known = (years.is_between(*YEARS) | (distinct == NEVER)).fill_null(False)
    seconds = (dates.to_physical().cast(pl.Float64) / 1e6).set(~known, None)
    return values.replace_strict(distinct, seconds, return_dtype=pl.Float64)
