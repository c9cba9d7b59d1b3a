"""Moments and values of tables as people read them: dates in UTC, no seconds since 1970."""

from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from typing import Any

# Seconds of the years 1990 to 2100: numbers in this range look like moments, others may count something else.
PLAUSIBLE_SECONDS = (6.3e8, 4.1e9)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(seconds: float) -> datetime:
    """The moment of a number of seconds since 1970, before 1970 too.

    Raises:
        OverflowError: beyond the years 1 to 9999.
    """
    # `fromtimestamp` refuses moments before 1970 on some systems.
    return _EPOCH + timedelta(seconds=float(seconds))


def is_moment(seconds: float) -> bool:
    """Whether a number looks like seconds since 1970, and not like a count of something else."""
    low, high = PLAUSIBLE_SECONDS
    return low <= seconds <= high


def date_text(seconds: float) -> str:
    """The minute of a moment; a number that is no plausible moment stays a number.

    >>> date_text(879024327), date_text(17)
    ('1997-11-08 21:25', '17')
    """
    return f"{moment(seconds):%Y-%m-%d %H:%M}" if is_moment(seconds) else f"{seconds:.10g}"


def day_text(seconds: float) -> str:
    """The day of a moment for people; a number that is no plausible moment stays a number.

    >>> day_text(889612345), day_text(17)
    ('11 Mar 1998', '17')
    """
    return written_day(moment(seconds)) if is_moment(seconds) else f"{seconds:.10g}"


def written_day(day: date) -> str:
    """A date or a moment as `11 Mar 1998`, the same in every language of the machine.

    >>> written_day(date(2001, 2, 3))
    '3 Feb 2001'
    """
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def value_text(value: Any) -> str:
    """A value of a table for people: dates as days, whole numbers without a point, lists with commas.

    >>> value_text(date(2001, 2, 3)), value_text("2001-02-03"), value_text(["Drama", "War"]), value_text(7.0)
    ('3 Feb 2001', '3 Feb 2001', 'Drama, War', '7')
    """
    if isinstance(value, date):
        return written_day(value)
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    text = str(value)
    if len(text) == len("2001-02-03") and text[4] == text[7] == "-":
        with suppress(ValueError):  # a code that looks like a date stays as it is
            return written_day(date.fromisoformat(text))
    return text
