"""Conversion of timestamps to seconds since 1970 in UTC."""

from typing import NamedTuple

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data.calendar_numbers import as_dates
from tfrecall.data.dates import read_dates, read_format
from tfrecall.data.frames import first_true, spot
from tfrecall.errors import ConfigError, DataError, nearest

# How many of each unit make a second; of days none does.
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "d": "days"}

# A number from 1e11 on is milliseconds: as seconds it would lie beyond the year 5138, and as
# milliseconds it starts in March 1973. The same step of 1,000 leads to the finer units.
THRESHOLDS = {"ms": 1e11, "us": 1e14, "ns": 1e17}

# 9999-12-31, which stands for "never", in seconds: it is not of the next unit.
NEVER = (253_402_214_400, 253_402_300_800)

NUMBER = r"^\s*[+-]?\d+(\.\d+)?\s*$"


class TimeForm(NamedTuple):
    """How times are written, as somebody said; None recognises it.

    Attributes:
        unit: unit of numbers: "s", "ms", "us", "ns" or "d" since 1970.
        form: format of strings and digits, as for Python's `strptime`.
    """

    unit: str | None = None
    form: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether one of the two is given."""
        return self != AS_FOUND


AS_FOUND = TimeForm()


def to_seconds(
    column: pl.Series,
    unit: str | None = None,
    what: str = "log",
    form: str | None = None,
    *,
    calendar: bool = True,
) -> tuple[pl.Series, str]:
    """Converts a column of timestamps to seconds.

    Numbers are dates in digits (20240131, 202401310815), years, days of a spreadsheet, or seconds,
    milliseconds, microseconds or nanoseconds since 1970, told apart by the magnitude of the whole column; 0
    fits every unit. Dates are midnight UTC. Date-times and strings without a zone are UTC. Strings are ISO
    8601 dates or date-times, dates as spreadsheets, web servers and mail write them, or numbers.

    A `Float64` of seconds keeps about a microsecond in this century, so nanoseconds are rounded.

    Args:
        column: integers, floats, `Date`, `Datetime` or strings.
        unit: "s", "ms", "us" or "ns" since 1970, or "d", days since 1970, reads numbers in that unit whatever
            their magnitude, such as milliseconds from before March 1973.
        what: name of the table in messages.
        form: format of strings and of the digits of numbers, as for Python's `strptime`.
        calendar: whether numbers may be dates in digits, years or days of a spreadsheet.

    Returns:
        The column as `Float64` seconds, and the recognised kind in words.

    Raises:
        ConfigError: if there is no such unit or format.
        DataError: if a timestamp is missing or cannot be read, units are mixed, or days cannot be told from
            months.

    >>> to_seconds(pl.Series(["1970-01-02", "1970-01-01T00:01Z"]))[0].to_list()
    [86400.0, 60.0]
    """
    if unit is not None and unit not in WORDS:
        raise ConfigError(
            f"The unit of timestamps, {argument('unit')}, must be one of {list(WORDS)}. "
            f'Received: "{unit}".{nearest(unit, WORDS)}'
        )
    if unit is not None and form is not None:
        raise ConfigError(
            f"Times have a unit or a format. Received both: {argument('unit', unit)} and "
            f"{argument('timestamp_format', form)}. Omit one."
        )
    if missing := column.null_count():
        first = first_true(column.is_null())
        raise DataError(
            f"The {what} has rows without a timestamp: {missing:,} of {len(column):,} rows, the "
            f"first is row {first:,}. Fill them in or remove these rows."
        )
    if form is not None and (column.dtype == pl.String or column.dtype.is_numeric()):
        return read_format(column, form, what)
    if column.dtype == pl.String:
        return _from_strings(column, unit, what, calendar)
    if column.dtype == pl.Date or column.dtype == pl.Datetime:
        kind = "dates" if column.dtype == pl.Date else "date-times"
        zone = getattr(column.dtype, "time_zone", None)
        return _from_datetimes(column), f"{kind} in {zone or 'UTC'}"
    if column.dtype.is_numeric():
        return _from_numbers(column, unit, what, calendar)
    raise DataError(
        f"The timestamps of the {what} must be numbers, dates, date-times or strings. "
        f"Received: {column.dtype}."
    )


def _from_datetimes(column: pl.Series) -> pl.Series:
    # The physical integers count from 1970 in UTC, with or without a zone.
    if column.dtype == pl.Date:
        return column.to_physical().cast(pl.Float64) * 86_400.0
    unit = getattr(column.dtype, "time_unit", "us")
    return column.to_physical().cast(pl.Float64) / UNITS[unit]


def _from_numbers(
    column: pl.Series, unit: str | None, what: str, calendar: bool
) -> tuple[pl.Series, str]:
    values = column.cast(pl.Float64)
    if not values.is_finite().all():
        raise DataError(
            f"The {what} has timestamps that are NaN or infinite: {spot(~values.is_finite())}. "
            "Fill them in or remove these rows."
        )
    if unit is None and calendar and (dates := as_dates(values, what)):
        return dates
    unit = unit or _unit(values, what)
    if unit == "d":
        return values * 86_400.0, f"{WORDS[unit]} since 1970"
    return values / UNITS[unit], f"{WORDS[unit]} since 1970"


def _unit(values: pl.Series, what: str) -> str:
    """The unit by the magnitude of all values."""
    magnitude = values.abs()
    sizes = magnitude.filter(has_unit(values))
    if not len(magnitude):
        return "s"
    if not len(sizes):
        sizes = magnitude
    units = [_unit_of(float(sizes.min())), _unit_of(float(sizes.max()))]
    if units[0] == units[1]:
        return units[0]
    raise DataError(
        f"The timestamps of the {what} mix units: {_mixture(magnitude)}. "
        f"Bring them to one unit, or state it ({argument('unit', 'ms')}) if they are all of one unit."
    )


def has_unit(values: pl.Series) -> pl.Series:
    """Whether the magnitude of numbers tells their unit."""
    # 0 is the same moment in every unit, and -1 stands for no time.
    return (values != 0) & (values != -1) & ~_is_never(values.abs())


def _is_never(magnitude: pl.Series) -> pl.Series:
    """Whether numbers are the last day that programs can write, in any unit."""
    low, high = NEVER
    is_never = pl.repeat(False, len(magnitude), eager=True)
    for per_second in UNITS.values():
        is_never |= magnitude.is_between(low * per_second, high * per_second)
    return is_never


def _unit_of(magnitude: float) -> str:
    return next((unit for unit in ("ns", "us", "ms") if magnitude >= THRESHOLDS[unit]), "s")


def _mixture(magnitude: pl.Series) -> str:
    """Number of rows in the magnitude of each unit, in words."""
    bounds = [*THRESHOLDS.values(), float("inf")]
    parts, low = [], 0.0
    for unit, high in zip(UNITS, bounds, strict=True):
        mask = (magnitude > 0) & (magnitude >= low) & (magnitude < high)
        if mask.any():
            parts.append(f"{mask.sum():,} rows like {WORDS[unit]} (first: row {first_true(mask):,})")
        low = high
    return ", ".join(parts)


def _from_strings(
    column: pl.Series, unit: str | None, what: str, calendar: bool
) -> tuple[pl.Series, str]:
    numeric = column.str.contains(NUMBER)
    if numeric.all() and len(column):
        numbers = column.str.strip_chars()
        return _from_numbers(numbers.cast(pl.Float64), unit, what, calendar)
    if numeric.any():
        raise DataError(
            f"The timestamps of the {what} mix numbers and dates: {numeric.sum():,} rows are "
            f"numbers (first: row {first_true(numeric):,}), {(~numeric).sum():,} are not "
            f"(first: row {first_true(~numeric):,}). Bring them to one form."
        )
    return read_dates(column, what)
