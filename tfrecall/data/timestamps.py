"""Timestamps of many kinds as seconds since 1970 in UTC."""

import polars as pl

from tfrecall.data.frames import first_true, spot
from tfrecall.errors import ConfigError, DataError, nearest

# How many of each unit make a second.
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}

# A number from 1e11 on is milliseconds: as seconds it would lie beyond the year 5138, and as
# milliseconds it starts in March 1973. The same step of 1,000 leads to the finer units.
THRESHOLDS = {"ms": 1e11, "us": 1e14, "ns": 1e17}

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
    """Reads a column of timestamps.

    Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by
    magnitude for the whole column; 0 fits every unit. Dates are midnight UTC. Date-times and
    strings without a zone are taken as UTC. Strings are ISO 8601 dates or date-times, or numbers.

    A `Float64` of seconds keeps about a microsecond in this century, so nanoseconds are rounded.

    Args:
        column: integers, floats, `Date`, `Datetime` or strings.
        unit: "s", "ms", "us" or "ns" if the numbers are to be read so whatever their magnitude;
            for a log with milliseconds from before March 1973.
        what: what messages call the table.

    Returns:
        The column as `Float64` seconds, and the kind that was recognised, in words.

    Raises:
        DataError: if a timestamp is missing, cannot be read, or if units are mixed.
    """
    if unit is not None and unit not in UNITS:
        raise ConfigError(
            f'There is no unit "{unit}" of time.{nearest(unit, UNITS)} Choose of {list(UNITS)}.'
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
    """The one unit that the magnitude of all values speaks for."""
    magnitude = values.abs()
    sizes = magnitude.filter(magnitude > 0)
    if not len(sizes):
        return "s"
    units = [_unit_of(float(sizes.min())), _unit_of(float(sizes.max()))]  # type: ignore[arg-type]
    if units[0] == units[1]:
        return units[0]
    raise DataError(
        f"The timestamps of the {what} mix units: {_mixture(magnitude)}. "
        'Bring them to one unit, or state it (`unit="ms"`) if they are all of one unit.'
    )


def _unit_of(magnitude: float) -> str:
    return next((unit for unit in ("ns", "us", "ms") if magnitude >= THRESHOLDS[unit]), "s")


def _mixture(magnitude: pl.Series) -> str:
    """How many rows look like each unit."""
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
    """Seconds of ISO strings, null where a string is none; one pass per format that occurs."""
    text = column.str.strip_chars().str.replace(" ", "T", literal=True)
    seconds = pl.Series(column.name, [None], dtype=pl.Float64).new_from_index(0, len(text))
    for form in _FORMATS:
        rest = seconds.is_null()
        if not rest.any():
            break
        parsed = pl.select(
            pl.when(rest)
            .then(text)
            .str.to_datetime(
                form, strict=False, time_unit="us", time_zone="UTC" if "z" in form else None
            )
        ).to_series()
        seconds = seconds.fill_null(_from_datetimes(parsed))
    return seconds
