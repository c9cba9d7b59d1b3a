"""Dates and date-times as text: ISO 8601 and the forms of spreadsheets, servers and mail."""

import re
from datetime import datetime, timezone

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data.date_faults import clock_format, refuse_unread
from tfrecall.errors import ConfigError, DataError

# With a zone first: a naive format must not match the front of a zoned string.
ISO = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
    "%Y%m%dT%H%M%S%.f%#z",
    "%Y%m%dT%H%M%S%.f",
    "%Y%m%dT%H%M%#z",
    "%Y%m%dT%H%M",
)
# Of web servers, programs and mail; blanks and case do not count.
NAMED = (
    "%d/%B/%Y:%H:%M:%S%#z",
    "%d/%B/%Y:%H:%M:%S",
    "%a, %d %B %Y %H:%M:%S%#z",
    "%d %B %Y %H:%M:%S%#z",
    "%d %B %Y %H:%M:%S",
    "%d %B %Y %H:%M",
    "%d %B %Y",
    "%d-%B-%Y %H:%M:%S%.f",
    "%d-%B-%Y %H:%M",
    "%d-%B-%Y",
    "%d %B %Y %I:%M:%S %p",
    "%d %B %Y %I:%M %p",
    "%B %d, %Y %I:%M:%S %p%#z",
    "%B %d, %Y %I:%M:%S %p",
    "%B %d, %Y %I:%M %p",
    "%B %d, %Y %H:%M:%S",
    "%B %d, %Y %H:%M",
    "%B %d, %Y",
    "%a %B %d %H:%M:%S %Y",
    "%a %B %d %H:%M:%S %#z %Y",
)
# Behind a day, a month and a year.
CLOCKS = (
    " %H:%M:%S%.f%#z",
    " %H:%M:%S%.f",
    " %H:%M%#z",
    " %H:%M",
    " %I:%M:%S %p%#z",
    " %I:%M:%S %p",
    " %I:%M %p%#z",
    " %I:%M %p",
    "",
)
# Zones of mail (RFC 5322, section 4.3) and of Central Europe. Not CST, which is China's, too, nor IST.
ZONES = {
    "EST": "-0500",
    "EDT": "-0400",
    "CDT": "-0500",
    "MST": "-0700",
    "MDT": "-0600",
    "PST": "-0800",
    "PDT": "-0700",
    "CET": "+0100",
    "CEST": "+0200",
}
# A year needs four digits: "24-01-31" is no date of the year 24.
NUMERIC = r"^(\d{1,2})([/.-])(\d{1,2})[/.-]\d{4}(?:\D|$)"
MONTHS = 12
ISO_KIND = "ISO 8601 strings (UTC where no zone is given)"


class AmbiguousDatesError(DataError):
    """Dates of which nothing says whether the day or the month comes first."""


def read_dates(column: pl.Series, what: str) -> tuple[pl.Series, str]:
    """Reads dates and date-times in the forms that people and programs write.

    Forms may differ from row to row, except that the day or the month comes first in all of them. Without
    a zone they are UTC; `ZONES` are read by their offsets.

    Args:
        column: text without nulls.
        what: name of the table in messages.

    Returns:
        Seconds since 1970, `Float64`, and the recognised kind in words.

    Raises:
        AmbiguousDatesError: if no row tells days from months.
        DataError: if a value cannot be read.

    >>> seconds, kind = read_dates(pl.Series(["31/01/1970 00:01", "01/02/1970"]), "log")
    >>> seconds.to_list(), kind
    ([2592060.0, 2678400.0], 'dates with the day first, in UTC')
    """
    seconds, kind = _attempt(column.str.strip_chars(), ISO, iso=True), ISO_KIND
    zones: list[str] = []
    if seconds.null_count():
        column, zones = _with_offsets(column)
    if seconds.null_count():
        seconds = _filled(seconds, _attempt(_like_iso(_rest(column, seconds)), ISO, iso=True))
    if seconds.null_count():
        named = _attempt(_tidied(_rest(column, seconds)), NAMED)
        if named.null_count() < len(named):
            kind = "dates with names of months, in UTC where no zone is given"
        seconds = _filled(seconds, named)
    if seconds.null_count():
        rest = _tidied(_rest(column, seconds))
        numeric = rest.str.contains(NUMERIC)
        if numeric.all():
            dates, kind = _day_and_month(rest, what)
            seconds = _filled(seconds, dates)
    refuse_unread(column, seconds, what, _attempt)
    return seconds, ", ".join([kind, *(f"{name} as {ZONES[name]}" for name in zones)])


def read_format(column: pl.Series, form: str, what: str) -> tuple[pl.Series, str]:
    """Reads text in a format of `strptime`, whole numbers as their digits.

    Raises:
        ConfigError: if the format is none, or lacks the year.
        DataError: if a value has another form.
    """
    _check_format(form)
    if column.dtype.is_float() and (column == column.floor()).all():
        column = column.cast(pl.Int64)
    texts = column.cast(pl.String).str.strip_chars()
    # In Python %f is the fraction behind the point; in chrono, on which Polars stands, nanoseconds.
    chrono = form.replace(".%f", "%.f")
    if "%f" in chrono or "%Z" in chrono or not _chrono_knows(chrono):
        seconds = _by_python(texts, form)
    else:
        seconds = _attempt(texts, (chrono,))
    refuse_unread(texts, seconds, what, _attempt, form)
    return seconds, f'dates of the format "{form}"{"" if "z" in form else ", in UTC"}'


def _check_format(form: str) -> None:
    try:
        written = datetime(2001, 2, 3, 4, 5, 6).strftime(form)
    except ValueError:
        written = form
    named = re.findall(r"%[-#]?(.)", form)
    # %c, %D, %F, %s and %x hold the year, too.
    if written == form or not set(named) & set("YyGcDFsx") or "Z" in named:
        raise ConfigError(
            f'"{form}" is no format of dates with a year. {argument("timestamp_format")} is a format of '
            'Python\'s strptime, such as "%d/%m/%Y %H:%M"; %z reads offsets (+0100), %Z is not read.'
        )


def _chrono_knows(form: str) -> bool:
    try:
        pl.Series(["x"]).str.to_datetime(form, strict=False)
    except pl.exceptions.PolarsError:  # such as an hour without minutes
        return False
    return True


def _by_python(texts: pl.Series, form: str) -> pl.Series:
    """Seconds by Python's own strptime, once for each different text; null for other forms."""

    def seconds(text: str) -> float | None:
        try:
            moment = datetime.strptime(text, form)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()

    distinct = texts.unique()
    read = pl.Series([seconds(text) for text in distinct], dtype=pl.Float64)
    return texts.replace_strict(distinct, read, return_dtype=pl.Float64)


def _day_and_month(texts: pl.Series, what: str) -> tuple[pl.Series, str]:
    """Seconds of dates such as 31/12/2023, and which comes first."""
    parts = texts.str.extract_groups(NUMERIC).struct.unnest()
    first, second = (parts[str(n)].cast(pl.Int64) for n in (1, 3))
    days_first, months_first = (first > MONTHS).any(), (second > MONTHS).any()
    if not days_first and not months_first:
        # Nobody writes the month first with points.
        days_first = bool((parts["2"] == ".").all()) or bool((first == second).all())
        if not days_first:
            raise _ambiguous(texts, first != second, what)
    # With both some rows are left unread, and refused with their row.
    start = "%d/%m/%Y" if days_first else "%m/%d/%Y"
    dates = texts.str.replace(r"^(\d+)[.-](\d+)[.-]", "$1/$2/")
    kind = f"dates with the {'day' if days_first else 'month'} first, in UTC"
    return _attempt(dates, tuple(start + clock for clock in CLOCKS)), kind


def _ambiguous(texts: pl.Series, differ: pl.Series, what: str) -> AmbiguousDatesError:
    example = texts.filter(differ)[0]
    date, _, clock = example.partition(" ")
    mark = "/" if "/" in date else "-"
    a, b, year = re.split(r"[/-]", date)
    behind = f" {clock_format(clock)}" if clock else ""
    readings = [
        f"{year}-{int(month):02}-{int(day):02} with {argument('timestamp_format', mark.join(order) + behind)}"
        for day, month, order in ((a, b, ("%d", "%m", "%Y")), (b, a, ("%m", "%d", "%Y")))
    ]
    return AmbiguousDatesError(
        f"The timestamps of the {what} do not tell whether the day or the month comes first: no number is "
        f'above {MONTHS}. "{example}" is {readings[0]}, or {readings[1]}. Say which.'
    )


def _attempt(texts: pl.Series, forms: tuple[str, ...], iso: bool = False) -> pl.Series:
    """Seconds of texts, null for other forms; one pass for each format that occurs."""
    if iso:
        # ISO 8601 has a "T" between date and time, most programs write a blank.
        texts = texts.str.replace(" ", "T", literal=True)
        texts = texts.set(~texts.str.contains(r"^\d{4}"), None)
    seconds = pl.Series(texts.name, [None], dtype=pl.Float64).new_from_index(0, len(texts))
    for form in forms:
        rest = seconds.is_null() & texts.is_not_null()
        if not rest.any():
            break
        # Only strings that no format has read so far; `strict=False` makes null of those it does not fit.
        parsed = pl.select(
            pl.when(rest)
            .then(texts)
            .str.to_datetime(
                form, strict=False, time_unit="us", time_zone="UTC" if "z" in form else None
            )
        ).to_series()
        seconds = seconds.fill_null(parsed.to_physical().cast(pl.Float64) / 1e6)
    return seconds


def _rest(column: pl.Series, seconds: pl.Series) -> pl.Series:
    return column.filter(seconds.is_null())


def _filled(seconds: pl.Series, found: pl.Series) -> pl.Series:
    """Seconds whose nulls are replaced by those of the other series, in order."""
    return seconds.scatter(seconds.is_null().arg_true(), found)


def _with_offsets(texts: pl.Series) -> tuple[pl.Series, list[str]]:
    """Texts with offsets in place of the names of `ZONES`, and the names that occur."""
    found = [name for name in ZONES if texts.str.contains(rf"(\d|[AaPp][Mm]) *{name}\b").any()]
    for name in found:
        texts = texts.str.replace(rf"(\d|[AaPp][Mm]) *{name}\b", "${1} " + ZONES[name])
    return texts, found


def _like_iso(texts: pl.Series) -> pl.Series:
    """2024/01/31 08:15:00,5 UTC as 2024-01-31T08:15:00.5Z."""
    # Java writes the zone's place behind its offset.
    texts = texts.str.replace(r"([+-]\d{2}:?\d{2}|Z)\[[\w/+-]+\]$", "$1")
    texts = texts.str.strip_chars(" []\t").str.replace(r"(?i)\s*(UTC|GMT|Z)$", "Z")
    texts = texts.str.replace(r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})", "$1-$2-$3")
    return texts.str.replace(r",(\d+)", ".$1")


def _tidied(texts: pl.Series) -> pl.Series:
    """Texts with single blanks, without brackets, with +0000 for UTC."""
    texts = texts.str.strip_chars(" []\t").str.replace_all(r"[\s\u202f]+", " ")
    texts = texts.str.replace(r"(?i)\b(UTC|GMT)\b|(\d)Z$", "${2}+0000")
    return texts.str.replace(r"(\d{4})(?:T|, )(\d)", "$1 $2")
