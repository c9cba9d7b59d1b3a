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
    return doubts_of_days(days_of(seconds, now), kind, declared=declared)


def days_of(seconds: pl.Series, now: float | None = None) -> pl.DataFrame:
    """Number, first and last of the times of each day, and the number of those after tomorrow.

    Tables of parts of a log can be put together: all that is doubted is a sum, the first or the last of days.

    Args:
        seconds: the times as `to_seconds` gives them, without nulls.
        now: seconds since 1970; None asks the clock.
    """
    latest = (time.time() if now is None else now) + 2 * DAY
    times = pl.col("time")
    # Polars counts by hashes: `np.unique` would sort the whole log.
    table = seconds.to_frame("time").group_by((times / DAY).floor().alias("day"))
    return table.agg(
        count=pl.len(), first=times.min(), last=times.max(), late=(times > latest).sum()
    ).sort("day")


def doubts_of_days(days: pl.DataFrame, kind: str, *, declared: bool = False) -> list[str]:
    """Warns of times that are hardly meant, as `doubts`, from the table of their days.

    A day may stand in several rows.
    """
    days = days.group_by("day").agg(
        pl.col("count", "late").sum(), pl.col("first").min(), pl.col("last").max()
    )
    days = days.sort("day")
    marks = _sentinels(days)
    rest = days.filter(~pl.col("day").is_in(list(marks))) if marks else days
    found = [*_marked(marks, int(days["count"].sum())), *_outside(rest)]
    if declared:
        return found
    return [*_numbers(rest["first"].to_numpy(), rest["last"].to_numpy(), kind), *found]


def _numbers(firsts: np.ndarray, lasts: np.ndarray, kind: str) -> Iterator[str]:
    """Numbers whose meaning was guessed, or is open."""
    first, last = _moment(firsts.min()), _moment(lasts.max())
    if kind in CALENDAR:
        yield (
            f"The times are numbers and are read as {kind}, from {first[:10]} to {last[:10]}, not as "
            f"{SECONDS}; {argument('unit', 's')} takes them for seconds."
        )
    elif kind == SECONDS and max(-firsts.min(), lasts.max()) < EARLIEST:
        yield (
            f"The times look like counts of days or steps, but are read as {SECONDS}, from {first} to {last}: "
            "their order counts, dates and durations do not. Write them as ISO 8601 (2024-05-31), or name "
            f"their unit: {argument('unit', 'd')} for days since 1970."
        )


def _outside(days: pl.DataFrame) -> Iterator[str]:
    """A log that ends before there were logs, or after tomorrow."""
    last = float(days["last"].max())  # type: ignore[arg-type]
    if EARLIEST <= last < FIRST_LOGS:
        yield (
            f"The times end on {_moment(last)[:10]}, before 1990. Is their unit right ({argument('unit')}), or "
            f"their format ({argument('timestamp_format')})?"
        )
    if late := days["late"].sum():
        yield (
            f"{late:,} of {days['count'].sum():,} times are after tomorrow, the last is {_moment(last)[:10]}. "
            f"No event is of the future: repair or remove these rows, or correct the unit ({argument('unit')})."
        )


def _sentinels(table: pl.DataFrame) -> dict[float, int]:
    """Days that stand for no time, far from all other times, with their rows."""
    days, counts = table["day"].to_numpy(), table["count"].to_numpy()
    known = {float(np.datetime64(day, "D").astype(np.int64)) for day in SENTINELS.split()}
    is_known = np.isin(days, list(known))
    others = days[~is_known]
    if not len(others) or counts[is_known].sum() * 2 >= counts.sum():
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
