"""Moments in seconds since 1970 as dates for people, in UTC."""

from datetime import datetime, timedelta, timezone

# Seconds of the years 1990 to 2100: numbers in this range look like moments, others may count something else.
PLAUSIBLE_SECONDS = (6.3e8, 4.1e9)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(seconds: float) -> datetime:
    """The moment of a number of seconds since 1970, before 1970 too.

    Raises:
        OverflowError: beyond the years 1 to 9999.
    """
    # `fromtimestamp` refuses moments before 1970 on some systems.
    return _EPOCH + timedelta(seconds=float(seconds))


def date_text(seconds: float) -> str:
    """The minute of a moment; a number that is no plausible moment stays a number.

    >>> date_text(879024327), date_text(17)
    ('1997-11-08 21:25', '17')
    """
    low, high = PLAUSIBLE_SECONDS
    return f"{moment(seconds):%Y-%m-%d %H:%M}" if low <= seconds <= high else f"{seconds:.10g}"
