"""Warnings about times that are read, but hardly meant: far in the past, in the future, marks for no time."""

import time
from collections.abc import Iterator

import numpy as np
import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data.calendar_numbers import FORMS

DAY, YEAR = 86_400.0, 365 * 86_400.0
# Seconds up to March 1973, where milliseconds begin to be told apart: hardly any log is so old.
EARLIEST = 1e8
FIRST_LOGS = float(np.datetime64("1990-01-01", "s").astype(np.int64))
SECONDS = "seconds since 1970"
DIGITS = tuple(written.words for written in FORMS)
CALENDAR = (*DIGITS, "days of a spreadsheet", "years")
# Days that programs write for "never" and "not known": the first and last of databases, spreadsheets, counters.
SENTINELS = (
    "0001-01-01 1601-01-01 1677-09-21 1753-01-01 1899-12-30 1899-12-31 1900-01-01 1901-12-13 1969-12-31 "
    "1970-01-01 2037-12-31 2038-01-19 2079-06-06 2099-12-31 2100-01-01 2199-12-31 2262-04-11 2999-12-31 "
    "3000-01-01 9999-12-31"
)


def doubts(
    seconds: pl.Series, kind: str, *, declared: bool = False, now: float | None = None
) -> list[str]:
    """Warns of times that are hardly meant, each in a sentence.

    Args:
        seconds: the times as `to_seconds` gives them, without nulls.
        kind: the kind that `to_seconds` gives.
        declared: whether the unit or the format was given, and is not in doubt.
        now: seconds since 1970; None asks the clock.

    >>> doubts(pl.Series([20180101.0, 5.0]), "seconds since 1970")[0][:54]
    'The times look like counts of days or steps, but are r'
    """
    if not len(seconds):
        return []
    values = seconds.to_numpy()
    marks = _sentinels(values)
    rest = values[~np.isin(np.floor(values / DAY), list(marks))] if marks else values
    found = [*_marked(marks, len(values)), *_outside(rest, time.time() if now is None else now)]
    if declared:
        return found
    return [*_numbers(rest, kind), *found]


def _numbers(values: np.ndarray, kind: str) -> Iterator[str]:
    """Numbers whose meaning was guessed, or is open."""
    first, last = _moment(values.min()), _moment(values.max())
    if kind in CALENDAR:
        yield (
            f"The times are numbers and are read as {kind}, from {first[:10]} to {last[:10]}, not as "
            f"{SECONDS}; {argument('unit', 's')} takes them for seconds."
        )
    elif kind == SECONDS and np.abs(values).max() < EARLIEST:
        yield (
            f"The times look like counts of days or steps, but are read as {SECONDS}, from {first} to {last}: "
            "their order counts, dates and durations do not. Write them as ISO 8601 (2024-05-31), or name "
            f"their unit: {argument('unit', 'd')} for days since 1970."
        )


def _outside(values: np.ndarray, now: float) -> Iterator[str]:
    """A log that ends before there were logs, or after tomorrow."""
    last = values.max()
    if EARLIEST <= last < FIRST_LOGS:
        yield (
            f"The times end on {_moment(last)[:10]}, before 1990. Is their unit right ({argument('unit')}), or "
            f"their format ({argument('timestamp_format')})?"
        )
    if last > now + 2 * DAY:
        late = int((values > now + 2 * DAY).sum())
        yield (
            f"{late:,} of {len(values):,} times are after tomorrow, the last is {_moment(last)[:10]}. No event "
            f"is of the future: repair or remove these rows, or correct the unit ({argument('unit')})."
        )


def _sentinels(values: np.ndarray) -> dict[float, int]:
    """Days that stand for no time, far from all other times, with their rows."""
    # Polars counts by hashes: `np.unique` would sort the whole log.
    found = pl.Series("day", np.floor(values / DAY)).value_counts().sort("day")
    days, counts = found["day"].to_numpy(), found["count"].to_numpy()
    known = {float(np.datetime64(day, "D").astype(np.int64)) for day in SENTINELS.split()}
    is_known = np.isin(days, list(known))
    others = days[~is_known]
    if not len(others) or counts[is_known].sum() * 2 >= len(values):
        return {}
    far = (days < others.min() - YEAR / DAY) | (days > others.max() + YEAR / DAY)
    return dict(zip(days[is_known & far].tolist(), counts[is_known & far].tolist(), strict=True))


def _marked(marks: dict[float, int], rows: int) -> Iterator[str]:
    for day, count in marks.items():
        yield (
            f"{count:,} of {rows:,} rows have the time {_moment(day * DAY)[:10]}, far from all others: it "
            "seems to stand for no time, but counts as the first or last of a user. Remove these rows, or fill "
            "it in."
        )


def _moment(seconds: float) -> str:
    """ISO 8601 in UTC; beyond the years that NumPy can write, the number."""
    try:
        return str(np.datetime64(int(seconds), "s"))
    except (OverflowError, ValueError):
        return f"{seconds:g}"
