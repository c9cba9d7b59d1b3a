"""Context of the events in a history: columns of the log, and the gap since the event before.

A history is a list of item ids; each context is a parallel list, one text an id, "" for unknown. This
module has their names, their texts, and the check that lists are parallel.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tfrecall.errors import DataError, nearest

# The one context that is no column of the log: the time since the user's previous event, whatever its item.
GAP = "gap"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# Seconds from which the next name holds; months have 30 days and years 365.
GAP_BOUNDS = np.array([_MINUTE, _HOUR, _DAY, 7 * _DAY, 30 * _DAY, 365 * _DAY], np.float64)
# "start" is an event with none before it; "seconds" is less than a minute, events at once included.
GAP_NAMES = ("start", "seconds", "minutes", "hours", "days", "weeks", "months", "years")

_LISTS = (list, tuple, np.ndarray, pl.Series)
_NUMBERS = (int, float, np.integer, np.floating)


def context_column(history: str, context: str) -> str:
    """Column of a context of a history, in requests and in the exported model."""
    return f"{history}_{context}"


def gap_places(seconds: np.ndarray) -> np.ndarray:
    """Places in `GAP_NAMES` of the seconds since the event before; NaN, a first event, is 0.

    >>> [GAP_NAMES[place] for place in gap_places(np.array([np.nan, 0, 59, 60, 86400 * 40]))]
    ['start', 'seconds', 'seconds', 'minutes', 'months']
    """
    # `GAP_BOUNDS` begins with the lower end of "minutes", name 2: a gap below it is 0 bounds up, plus 1
    # for "seconds". `side="right"` counts a gap of exactly 60 seconds as "minutes".
    return np.where(np.isnan(seconds), 0, 1 + np.searchsorted(GAP_BOUNDS, seconds, side="right"))


def texts(values: pl.Series) -> pl.Series:
    """Converts a column to texts, as requests have them: a rating of 4.0 is "4", null and NaN are "".

    >>> texts(pl.Series([4.0, 3.5, None])).to_list()
    ['4', '3.5', '']
    """
    # The same rating comes as 4 from a JSON request and as 4.0 from a log: one text for both.
    if values.dtype.is_float():
        values = values.fill_nan(None).cast(pl.String).str.strip_suffix(".0")
    return values.cast(pl.String).fill_null("")


def checked_context(history: str, context: str, given: Any, ids: Sequence[str] | None) -> list[str]:
    """Checks one context list of a request, and drops the entries of padding.

    Args:
        history: the name of the list of ids.
        context: name of the context: a column of the log, or "gap".
        given: one value an event: texts, or numbers as in the log. None is an unknown value, and in place of
            the list it makes all values unknown.
        ids: the list of ids, padding included; None if the request has none.

    Returns:
        The texts, one for each id that is not padding.

    Raises:
        DataError: if there is no list of ids, the two differ in length, or a value has a wrong type.
    """
    column = context_column(history, context)
    if ids is None:
        raise DataError(
            f'"{column}" tells of the events of the list "{history}", which the query does not give. Give '
            f'both, or neither. Received: "{column}" = {given!r:.200}.'
        )
    if given is None:
        return ["" for item in ids if item]
    if not isinstance(given, _LISTS) or getattr(given, "ndim", 1) != 1:
        raise DataError(
            f'"{column}" takes a list, one value for each id of "{history}". Received: {given!r:.200} of '
            f"type {type(given).__name__}."
        )
    if len(given) != len(ids):
        raise DataError(
            f'"{column}" takes one value for each id of "{history}", None where it is not known. Received: '
            f"{len(given):,} values for {len(ids):,} ids."
        )
    read = _gap_name if context == GAP else _text
    values = [read(column, value) if value is not None else "" for value in given]
    return [text for text, item in zip(values, ids, strict=True) if item]


def _text(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    # A bool is an int, but `str` writes "True" and Polars, for the same value of a log, "true".
    if isinstance(value, _NUMBERS) and not isinstance(value, bool):
        return str(value).removesuffix(".0")
    raise DataError(
        f'"{column}" takes texts or numbers, as the log has them. Received: {value!r:.200} of type '
        f"{type(value).__name__}."
    )


def _gap_name(column: str, value: Any) -> str:
    if isinstance(value, str) and value in ("", *GAP_NAMES):
        return value
    raise DataError(
        f'"{column}" says how long each event came after the one before: {", ".join(GAP_NAMES)}, or None '
        f"where it is not known. Received: {value!r:.200}.{nearest(str(value), GAP_NAMES)}"
    )


def aligned(frame: pl.DataFrame, contexts: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Aligns the context lists of a table of queries with their histories, "" for unknown.

    Args:
        frame: queries; lists of ids and columns of their contexts may be missing.
        contexts: list of ids -> names of its contexts.

    Raises:
        DataError: as `checked_context`, for the first row that is wrong.
    """
    lists = pl.List(pl.String)
    for history, names in contexts.items():
        if history not in frame.columns:
            for name in names:
                if context_column(history, name) in frame.columns:
                    checked_context(history, name, frame[context_column(history, name)], None)
            continue
        ids = frame[history].cast(lists).fill_null([]).to_list()
        # Contexts are checked against `ids`, padding included, and lose the same entries as the ids do.
        columns = [pl.Series(history, [[item for item in row if item] for row in ids], lists)]
        for name in names:
            column = context_column(history, name)
            given = frame[column].to_list() if column in frame.columns else [None] * len(ids)
            rows = zip(given, ids, strict=True)
            texts_of_rows = [checked_context(history, name, values, row) for values, row in rows]
            columns.append(pl.Series(column, texts_of_rows, lists))
        frame = frame.with_columns(columns)
    return frame
