"""Point-in-time lookups: a user's history up to the time of a query, and the latest query of each user."""

import numpy as np
import polars as pl

from tfrecall.core.columns import EVENTS_BEFORE, ITEM, REQUEST_TIME, TIMESTAMP, USER
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError


def as_of(
    log: Interactions, user_ids: pl.Series, timestamps: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the events of each query's user up to the query's time, as slices of `log.histories`.

    The history of query `q` is `log.histories.items[starts[q]:ends[q]]`, oldest first; events at the same
    time keep the order of the file. An event at the very time of the query is included, so the history of
    an event of `log` itself holds that event.

    Args:
        log: the events, in any order.
        user_ids: `[n_queries]`, in any order; users that are not in `log.users` have no events.
        timestamps: number `[n_queries]`, seconds since 1970; None or NaN is the end of the log.

    Returns:
        `(starts, ends)`, int64 `[n_queries]` each; equal if there are no events.

    Raises:
        DataError: if users and timestamps differ in number.

    >>> log = Interactions.from_frame(
    ...     pl.DataFrame({"user_id": [*"uvu"], "item_id": [*"abc"], "timestamp": [10, 20, 30]})
    ... )
    >>> starts, ends = as_of(log, pl.Series(["u", "u", "stranger"]), np.array([30, 10, 30]))
    >>> [log.histories.items[a:b].tolist() for a, b in zip(starts, ends)]
    [[0, 2], [0], []]
    """
    if timestamps is not None and timestamps.shape != (len(user_ids),):
        raise DataError(
            "Each query needs one user and one time. "
            f"Received: {len(user_ids):,} users and timestamps of shape {timestamps.shape}."
        )
    users = log.user_vocabulary.rows(user_ids)
    offsets = log.histories.offsets
    # Row -1, the unknown user, reads some other user's offsets; they are replaced.
    starts = np.where(users < 0, 0, offsets[users])
    ends = np.where(users < 0, 0, offsets[users + 1])
    if timestamps is None:
        return starts, ends
    return starts, _first_later(log.event_times, starts, ends, timestamps)


def slices_of(
    log: Interactions, queries: pl.DataFrame, timed: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the events of each query's user that count as its history, as slices of `log.histories`.

    Args:
        log: the events.
        queries: table with `user_id`. With a column `events_before` so many of the user's first events count:
            the log then holds the event itself and later ones. Otherwise those until `timestamp`, if there
            is that column, or all.
        timed: whether `timestamp` is read.

    Returns:
        `(starts, ends)`, as from `as_of`.
    """
    if EVENTS_BEFORE in queries.columns:
        starts, ends = as_of(log, queries[USER], None)
        return starts, np.minimum(starts + queries[EVENTS_BEFORE].to_numpy(), ends)
    times = queries[TIMESTAMP].to_numpy() if timed and TIMESTAMP in queries.columns else None
    return as_of(log, queries[USER], times)


def events_before(rows: Interactions, log: Interactions) -> np.ndarray:
    """Counts the events of each row's user before it, by time, then by the order of the log: int64 `[n_rows]`.

    Args:
        rows: some rows of the log. Of equal rows the last stands for the last: a split leaves out earlier ones.
        log: the whole log.

    Raises:
        DataError: if a row is not in the log.
    """
    event = [USER, ITEM, TIMESTAMP]
    numbered = [
        one.log.select(event).with_columns(copy=pl.int_range(pl.len(), 0, -1).over(event))
        for one in (rows, log)
    ]
    place = np.empty(len(log), np.int64)
    place[log.histories.order] = log.histories.positions()
    found = numbered[0].join(
        numbered[1].with_columns(place=place), [*event, "copy"], "left", maintain_order="left"
    )["place"]
    if found.null_count():
        raise DataError(
            "`history` holds all events, the test rows among them. Received: a log without "
            f"{found.null_count():,} of {len(rows):,} test rows. Pass the log that was split."
        )
    return found.to_numpy()


def _first_later(
    times: np.ndarray, starts: np.ndarray, ends: np.ndarray, timestamps: np.ndarray
) -> np.ndarray:
    """The first event after each query's time, as a place in its slice; the slice's end if there is none.

    A binary search in all slices at once; each slice is ascending. It needs no other preparation, so a
    few queries do not pay for a long log.
    """
    places = starts.copy()  # invariant: no event before `places` is later than the query
    # Powers of two, each used at most once: 8, 4, 2 and 1 reach any place of a slice of 15.
    step = 1 << int((ends - starts).max(initial=0)).bit_length()
    while step:
        probe = places + step
        inside = np.flatnonzero(probe <= ends)
        # `~(>)` and not `<=`: NaN compares false, so a query without a time passes over every event.
        passed = inside[~(times[probe[inside] - 1] > timestamps[inside])]
        places[passed] = probe[passed]
        step >>= 1
    return places


def basket_starts(data: Interactions) -> np.ndarray:
    """For each entry of `data.histories` the first one of its user at the same time: int64 `[n_rows]`.

    >>> log = Interactions.from_frame(
    ...     pl.DataFrame({"user_id": [*"uuuv"], "item_id": [*"abca"], "timestamp": [10, 10, 30, 30]})
    ... )
    >>> basket_starts(log).tolist()
    [0, 0, 2, 3]
    """
    begins = np.ones(len(data), dtype=bool)
    begins[1:] = np.diff(data.event_times) > 0
    begins[data.histories.offsets[:-1][data.histories.lengths > 0]] = True
    return np.maximum.accumulate(np.where(begins, np.arange(len(data)), 0))


def last_queries(data: Interactions) -> pl.DataFrame:
    """The query of each user's last event, in the order of the user table; users without events have none."""
    ends = data.histories.offsets[1:][data.histories.lengths > 0]
    return data.with_log(data.log[data.histories.order[ends - 1].tolist()]).queries


def latest(data: Interactions, columns: list[str]) -> pl.DataFrame:
    """The state of each user at the end of the log: one row for each row of the user table.

    Args:
        data: the log.
        columns: the columns to take, of the user table or of the log; those of the log are the context of
            the user's last event, null for users without events. `user_id` always comes first.
            `request_time` is null: each request has its own.
    """
    names = list(dict.fromkeys([USER, *columns]))
    context = last_queries(data).select(name for name in names if name in data.log.columns)
    users = data.users.select(name for name in names if name in data.users.columns)
    found = users.join(context, on=USER, how="left", maintain_order="left")
    if REQUEST_TIME in names and REQUEST_TIME not in found.columns:
        found = found.with_columns(pl.lit(None, pl.Float64).alias(REQUEST_TIME))
    return found.select(names)
