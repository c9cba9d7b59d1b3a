"""Conversion of timestamps to seconds since 1970 in UTC."""

import numpy as np
import polars as pl

from tfrecall.data.frames import first_true, spot
from tfrecall.errors import ConfigError, DataError, nearest

# How many of each unit make a second.
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}

# A number from 1e11 on is milliseconds: as seconds it would lie beyond the year 5138, and as
# milliseconds it starts in March 1973. The same step of 1,000 leads to the finer units.
THRESHOLDS = {"ms": 1e11, "us": 1e14, "ns": 1e17}

# Seconds up to March 1973, where milliseconds begin to be told apart: hardly any log is so old.
EARLIEST = 1e8

_NUMBER = r"^\s*[+-]?\d+(\.\d+)?\s*$"

# With a zone first: a naive format must not match the front of a zoned string.
_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)


def to_seconds(column: pl.Series, unit: str | None = None, what: str = "log") -> tuple[pl.Series, str]:
    """Converts a column of timestamps to seconds.

    Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by the magnitude
    of the whole column; 0 fits every unit. Dates are midnight UTC. Date-times and strings without a zone
    are UTC. Strings are ISO 8601 dates or date-times, or numbers.

    A `Float64` of seconds keeps about a microsecond in this century, so nanoseconds are rounded.

    Args:
        column: integers, floats, `Date`, `Datetime` or strings.
        unit: "s", "ms", "us" or "ns" reads numbers in that unit whatever their magnitude, such as
            milliseconds from before March 1973.
        what: name of the table in messages.

    Returns:
        The column as `Float64` seconds, and the recognised kind in words.

    Raises:
        ConfigError: if there is no such unit.
        DataError: if a timestamp is missing or cannot be read, or units are mixed.

    >>> to_seconds(pl.Series(["1970-01-02", "1970-01-01T00:01Z"]))[0].to_list()
    [86400.0, 60.0]
    """
    if unit is not None and unit not in UNITS:
        raise ConfigError(
            f'The unit of timestamps must be one of {list(UNITS)}. Received: "{unit}".{nearest(unit, UNITS)}'
        )
    if missing := column.null_count():
        first = first_true(column.is_null())
        raise DataError(
            f"The {what} has rows without a timestamp: {missing:,} of {len(column):,} rows, the "
            f"first is row {first:,}. Fill them in or remove these rows."
        )
    if column.dtype == pl.String:
        return _from_strings(column, unit, what)
    if column.dtype == pl.Date or column.dtype == pl.Datetime:
        kind = "dates" if column.dtype == pl.Date else "date-times"
        zone = getattr(column.dtype, "time_zone", None)
        return _from_datetimes(column), f"{kind} in {zone or 'UTC'}"
    if column.dtype.is_numeric():
        return _from_numbers(column, unit, what)
    raise DataError(
        f"The timestamps of the {what} must be numbers, dates, date-times or strings. "
        f"Received: {column.dtype}."
    )


def doubt(seconds: pl.Series, kind: str) -> str:
    """Warns of numbers that are hardly seconds since 1970: a sentence, or the empty text.

    Dates written as 20240531, years, and the day numbers of spreadsheets all become moments of 1970: their
    order is right, but not the days between them, nor a date to split at.

    Args:
        seconds: the times as `to_seconds` gives them, without nulls.
        kind: the kind that `to_seconds` gives.

    >>> doubt(pl.Series([20180101.0, 20180102.0]), "seconds since 1970")[:62]
    'The times look like dates written as YYYYMMDD but are read as '
    """
    if kind != f"{WORDS['s']} since 1970" or not len(seconds):
        return ""
    values = seconds.to_numpy()
    if np.abs(values).max() >= EARLIEST:
        return ""
    first, last = (np.datetime64(int(bound), "s") for bound in (values.min(), values.max()))
    return (
        f"The times look like {_likely_form(seconds)} but are read as seconds since 1970, from {first} to "
        f"{last}: their order counts, dates and durations do not. Write them as ISO 8601 (2024-05-31)."
    )


def _likely_form(values: pl.Series) -> str:
    """The likely meaning of small numbers, in words."""
    if (values.floor() == values).all():
        dates = values.unique().cast(pl.Int64).cast(pl.String).str.to_date("%Y%m%d", strict=False)
        if not dates.null_count() and dates.dt.year().is_between(1900, 2100).all():
            return "dates written as YYYYMMDD"
        if values.is_between(1900, 2100).all():
            return "years"
    if values.is_between(20_000, 80_000).all():  # 1954 to 2119, counted from 1900
        return "days of a spreadsheet"
    return "counts of days or steps"


def _from_datetimes(column: pl.Series) -> pl.Series:
    # The physical integers count from 1970 in UTC, with or without a zone.
    if column.dtype == pl.Date:
        return column.to_physical().cast(pl.Float64) * 86_400.0
    unit = getattr(column.dtype, "time_unit", "us")
    return column.to_physical().cast(pl.Float64) / UNITS[unit]


def _from_numbers(column: pl.Series, unit: str | None, what: str) -> tuple[pl.Series, str]:
    values = column.cast(pl.Float64)
    if not values.is_finite().all():
        raise DataError(
            f"The {what} has timestamps that are NaN or infinite: {spot(~values.is_finite())}. "
            "Fill them in or remove these rows."
        )
    unit = unit or _unit(values, what)
    return values / UNITS[unit], f"{WORDS[unit]} since 1970"


def _unit(values: pl.Series, what: str) -> str:
    """The unit by the magnitude of all values."""
    magnitude = values.abs()
    # 0 is the same moment in every unit.
    sizes = magnitude.filter(magnitude > 0)
    if not len(sizes):
        return "s"
    units = [_unit_of(float(sizes.min())), _unit_of(float(sizes.max()))]
    if units[0] == units[1]:
        return units[0]
    raise DataError(
        f"The timestamps of the {what} mix units: {_mixture(magnitude)}. "
        'Bring them to one unit, or state it (`unit="ms"`) if they are all of one unit.'
    )


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


def _from_strings(column: pl.Series, unit: str | None, what: str) -> tuple[pl.Series, str]:
    numeric = column.str.contains(_NUMBER)
    if numeric.all() and len(column):
        numbers = column.str.strip_chars()
        return _from_numbers(numbers.cast(pl.Float64), unit, what)
    if numeric.any():
        raise DataError(
            f"The timestamps of the {what} mix numbers and dates: {numeric.sum():,} rows are "
            f"numbers (first: row {first_true(numeric):,}), {(~numeric).sum():,} are not "
            f"(first: row {first_true(~numeric):,}). Bring them to one form."
        )
    seconds = _from_iso(column)
    if seconds.null_count():
        bad = seconds.is_null()
        raise DataError(
            f"The {what} has timestamps that cannot be read: {spot(bad)}: "
            f'"{column[first_true(bad) - 1]}". Write them as ISO 8601 '
            "(2024-05-31T12:30:00+00:00) or as seconds since 1970."
        )
    return seconds, "ISO 8601 strings (UTC where no zone is given)"


def _from_iso(column: pl.Series) -> pl.Series:
    """Seconds of ISO strings, null for other strings; one pass for each format that occurs."""
    # ISO 8601 has a "T" between date and time, most programs write a blank.
    text = column.str.strip_chars().str.replace(" ", "T", literal=True)
    seconds = pl.Series(column.name, [None], dtype=pl.Float64).new_from_index(0, len(text))
    for form in _FORMATS:
        rest = seconds.is_null()
        if not rest.any():
            break
        # Only strings that no format has read so far; `strict=False` makes null of those it does not fit.
        parsed = pl.select(
            pl.when(rest)
            .then(text)
            .str.to_datetime(
                form, strict=False, time_unit="us", time_zone="UTC" if "z" in form else None
            )
        ).to_series()
        seconds = seconds.fill_null(_from_datetimes(parsed))
    return seconds
