"""First pass over a log: what all rows together decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from tfrecall.core.progress import ProgressReporter
from tfrecall.data.assembly import FILE_ORDER, named_log
from tfrecall.data.calendar_numbers import as_dates
from tfrecall.data.cleaning import clean_ids
from tfrecall.data.shaping import drop_columns, split_lists
from tfrecall.data.shards import witnesses
from tfrecall.data.shards.pieces import Piece, Source
from tfrecall.data.shards.settings import Decisions, Settings
from tfrecall.data.timestamps import NUMBER
from tfrecall.engines import Engine
from tfrecall.errors import DataError

# A piece whose numbers are dates only in part.
MIXED = "mixed"


@dataclass(frozen=True)
class Found:
    """What one piece says.

    Attributes:
        rows: its number of rows.
        columns: names of its columns as read.
        stamps: up to two different times, as read.
        calendar: kind of dates in digits that its times are; "" for none, None where it has no numbers.
        hints: witnesses of its columns, as cleaned.
    """

    rows: int
    columns: tuple[str, ...]
    stamps: pl.Series
    calendar: str | None
    hints: pl.DataFrame


def survey(
    source: Source,
    pieces: Sequence[Piece],
    settings: Settings,
    engine: Engine,
    progress: ProgressReporter,
) -> tuple[Decisions, list[Found]]:
    """Looks at all pieces and decides for the whole log.

    Raises:
        DataError: if a piece cannot be read.
        MissingColumnError: if a column is missing.
    """
    work = partial(look, source, settings)
    found = engine.map(work, pieces, title="Survey the log", progress=progress)
    stamps = pl.concat([one.stamps for one in found], how="vertical").unique()
    repeats = settings.cleaning.repeated_rows == "drop" and len(stamps) > 1
    hints = witnesses.together([one.hints for one in found])
    kinds = {one.calendar for one in found if one.calendar is not None}
    calendar = settings.times.unit is None and bool(kinds)
    if (calendar and len(kinds) > 1) or MIXED in kinds:
        calendar = _is_calendar(source, pieces, settings)
    elif calendar:
        calendar = kinds != {""}
    return Decisions(repeats, calendar, hints), found


def look(source: Source, settings: Settings, piece: Piece) -> Found:
    """What one piece says."""
    frame = source.read(piece)
    name = settings.time_column(frame.columns)
    stamps = _two_times(frame[name]) if name in frame.columns else pl.Series(name, [], pl.Null)
    log = shaped(frame, settings)
    # A column that is missing is told of in the first piece.
    named_log(log.clear(), settings.columns)
    cleaned = clean_ids(log, settings.id_columns(log), settings.cleaning, "log").frame
    context = cleaned.drop(settings.id_columns(cleaned).values(), strict=False)
    hints = [witnesses.of_columns(context, settings.cleaning.null_values)]
    calendar = None
    if name != FILE_ORDER and name in cleaned.columns:
        hints.append(witnesses.of_times(cleaned[name]).to_frame())
        calendar = _calendar(cleaned[name])
    return Found(
        frame.height,
        tuple(frame.columns),
        stamps,
        calendar,
        witnesses.together([one for one in hints if one.width]),
    )


def _two_times(times: pl.Series) -> pl.Series:
    """The first time and one that differs from it, as far as there are such."""
    times = times.drop_nulls()
    if times.dtype.is_nested() or not len(times):  # nested ones are refused when they are read
        return times.clear()
    return pl.concat([times.head(1), times.filter(times != times[0]).head(1)])


def shaped(frame: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The rows without ignored columns, with lists in place of text."""
    tables = drop_columns({"log": frame}, settings.ignored_of_log)
    given = settings.list_separators
    own = {name: mark for name, mark in given.items() if name in tables["log"].columns}
    return split_lists(tables, own)["log"]


def _numbers(times: pl.Series) -> pl.Series | None:
    """Times as numbers; None for others."""
    times = times.drop_nulls()
    if times.dtype == pl.String:
        if not times.str.contains(NUMBER).all():
            return None
        times = times.str.strip_chars()
    elif not times.dtype.is_numeric():
        return None
    return times.cast(pl.Float64)


def _calendar(times: pl.Series) -> str | None:
    """The kind of dates in digits that times are: "" for none, None where they are no numbers."""
    numbers = _numbers(times)
    if numbers is None or not len(numbers) or not numbers.is_finite().all():
        return None
    try:
        found = as_dates(numbers, "log")
    except DataError:
        return MIXED
    return found[1] if found else ""


def _is_calendar(source: Source, pieces: Sequence[Piece], settings: Settings) -> bool:
    """Whether the times of all pieces together are dates in digits.

    Where pieces disagree the median and the share of faults in the whole column decide: 8 bytes a row.
    """
    parts = []
    for piece in pieces:
        log = shaped(source.read(piece), settings)
        cleaned = clean_ids(log, settings.id_columns(log), settings.cleaning, "log").frame
        numbers = _numbers(cleaned[settings.time_column(cleaned.columns)])
        if numbers is None:  # text among numbers, which reading them refuses
            return True
        parts.append(numbers)
    return as_dates(pl.concat(parts), "log") is not None
