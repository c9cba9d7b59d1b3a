"""Contexts of events: a column of the log, or the time since the user's previous event."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrecall.core.event_context import GAP, GAP_NAMES, gap_places, texts
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError, MissingColumnError, nearest


@dataclass(frozen=True, eq=False)
class EventContext:
    """One context of all events of a log.

    Attributes:
        values: object array of distinct `str`; "" is unknown.
        places: int32 `[n_rows]`, index into `values` of each row of the log.
    """

    values: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, log: Interactions, context: str) -> "EventContext":
        """Reads a context from a log.

        Args:
            log: the events.
            context: name of a column of the log, or "gap". A gap depends on no later event; events at the
                same time keep the order of the file.

        Raises:
            MissingColumnError: if the log has no such column.
            ConfigError: if the log has a column named "gap".
            DataError: if the column holds lists.
        """
        if context == GAP:
            return cls(np.array(GAP_NAMES, object), _gaps(log))
        columns = log.log.columns
        if context not in columns:
            raise MissingColumnError(
                f'A history has the context "{context}", which is a column of the log, but the log has only: '
                f"{', '.join(columns)}.{nearest(context, columns)}"
            )
        column = log.log[context]
        if column.dtype.is_nested():
            raise DataError(
                f'The context "{context}" of a history takes one value an event, but that column of the log '
                f"holds {column.dtype}. Split it first, or leave the context out."
            )
        # Only the few distinct values are turned into text, not all events.
        distinct = column.unique(maintain_order=True)
        places = column.replace_strict(distinct, np.arange(len(distinct)), return_dtype=pl.Int32)
        return cls(texts(distinct).to_numpy().astype(object), places.to_numpy())

    @property
    def series(self) -> pl.Series:
        """The context of each event, as text."""
        return pl.Series(self.values[self.places], dtype=pl.String)


def _gaps(log: Interactions) -> np.ndarray:
    if GAP in log.log.columns:
        raise ConfigError(
            f'A history has the context "{GAP}", the time since the event before, but the log has a column of '
            "that name. Rename the column."
        )
    histories = log.histories
    # Differences over all users at once; the first event of each user has no previous one.
    seconds = np.diff(log.event_times, prepend=np.nan)
    seconds[histories.offsets[:-1][histories.lengths > 0]] = np.nan
    places = np.empty(len(log), np.int32)
    places[histories.order] = gap_places(seconds)
    return places
