"""Refusals of dates that cannot be read, each with the remedy for the form that they have."""

import re
from collections.abc import Callable

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data.frames import first_true, spot
from tfrecall.errors import DataError

# Behind a clock: a zone by its abbreviation or its place.
_ZONE = re.compile(r"\d *\[?(?!(?i:AM|PM|UTC|GMT)\b)([A-Z]{2,5}|[A-Z][\w+-]+/[\w/+-]+)\]?(?: \d{4})?$")
# Three numbers without a year of four digits, and what stands behind them.
_SHORT = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{2})(?:([ T]|, )(.+))?")
_ORDERS = (("%d", "%m", "%y"), ("%m", "%d", "%y"), ("%y", "%m", "%d"))
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?(\.\d+)?( ?[AaPp][Mm])?")

Attempt = Callable[[pl.Series, tuple[str, ...]], pl.Series]


def refuse_unread(
    column: pl.Series, seconds: pl.Series, what: str, attempt: Attempt, form: str | None = None
) -> None:
    """Refuses a column with dates that were not read.

    Args:
        column: the texts.
        seconds: their times, null where they could not be read.
        what: name of the table in the message.
        attempt: reads texts by formats, null for other forms.
        form: the format that somebody named.

    Raises:
        DataError: if there is one; the message has the first, and the remedy for its form.
    """
    if not seconds.null_count():
        return
    bad = seconds.is_null()
    first = column[first_true(bad) - 1]
    remedy = (
        f'They must have the format "{form}". Write them as ISO 8601 (2024-05-31T12:30:00+00:00) or as seconds '
        "since 1970."
        if form
        else _zone(first) or _short_years(column.filter(bad), attempt) or _general()
    )
    raise DataError(f'The {what} has timestamps that cannot be read: {spot(bad)}: "{first}". {remedy}')


def _general() -> str:
    return (
        "Write them as ISO 8601 (2024-05-31T12:30:00+00:00) or as seconds since 1970, or give their format: "
        f"{argument('timestamp_format', '%d/%m/%Y %H:%M')}."
    )


def _zone(text: str) -> str:
    """The remedy for the name of a zone; empty for other texts."""
    if not (match := _ZONE.search(text)):
        return ""
    return (
        f'The zone "{match[1]}" is not read: several zones share such a name, or its clock changes within the '
        f"year. Write its offset, such as +05:30, in place of {match[1]}, or leave it out in all rows, which "
        "takes the times for UTC."
    )


def _short_years(unread: pl.Series, attempt: Attempt) -> str:
    """The formats that read dates with years of two digits; empty for other texts."""
    if not (match := _SHORT.fullmatch(unread[0])):
        return ""
    _, mark, _, _, blank, clock = match.groups()
    behind = f"{blank}{clock_format(clock)}" if clock else ""
    forms = [mark.join(order) + behind for order in _ORDERS]
    # Polars reads fractions as %.f.
    read = {form: attempt(unread, (form.replace(".%f", "%.f"),)) for form in forms}
    possible = [form for form in forms if not read[form].null_count()]
    if not possible:
        return ""
    readings = [reading(read[form][0], argument("timestamp_format", form)) for form in possible]
    return f'A year has four digits. "{unread[0]}" is {", or ".join(readings)}. Say which.'


def reading(seconds: float, how: str) -> str:
    """A day, and the setting that reads it so.

    >>> reading(86400.0, 'timestamp_format="%d.%m.%y"')
    '1970-01-02 with timestamp_format="%d.%m.%y"'
    """
    return f"{pl.from_epoch(pl.Series([int(seconds)]), time_unit='s').dt.date()[0]} with {how}"


def clock_format(clock: str) -> str:
    """The format of a clock, as of `strptime`; what stands behind it stays as it is.

    >>> clock_format("8:15:30 PM"), clock_format("20:15")
    ('%I:%M:%S %p', '%H:%M')
    """
    if not (match := _CLOCK.match(clock)):
        return clock
    seconds, fraction, half = match.groups()
    marked = (" %p" if half[0] == " " else "%p") if half else ""
    hours = "%I" if half else "%H"
    return (
        f"{hours}:%M{':%S' if seconds else ''}{'.%f' if fraction else ''}{marked}{clock[match.end() :]}"
    )
