"""What each user had before a query."""

import numpy as np
import polars as pl

from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError


def before(
    log: Interactions, user_ids: pl.Series, timestamps: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the events of each query's user up to the query's time, as slices of `log.histories`.

    The events of query `q` are `log.histories.items[starts[q]:ends[q]]`, oldest first, events at
    the same time in the order of the file. An event at the very time of the query is in: to ask for
    the past of an event of `log` itself leaves the event in its own past.

    Args:
        log: what is known; its rows may be in any order, as may the queries.
        user_ids: `[n_queries]`, of the users who ask; one that is not in `log.users` has no events.
        timestamps: number `[n_queries]`, seconds since 1970; None asks at the end of the log, as
            does NaN in its row.

    Returns:
        `(starts, ends)`, int64 `[n_queries]` both, equal where there are no events.

    Raises:
        DataError: if users and timestamps are not equally many.

    >>> log = Interactions.from_frame(
    ...     pl.DataFrame({"user_id": [*"uvu"], "item_id": [*"abc"], "timestamp": [10, 20, 30]})
    ... )
    >>> starts, ends = before(log, pl.Series(["u", "u", "stranger"]), np.array([30, 10, 30]))
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


def _first_later(
    times: np.ndarray, starts: np.ndarray, ends: np.ndarray, timestamps: np.ndarray
) -> np.ndarray:
    """Where in its slice each query's time is first exceeded; the end of the slice if it is not.

    A binary search in all slices at once, each of which is ascending. It needs nothing prepared but
    the times, so that a block of few queries does not pay for a long log.
    """
    found = starts.copy()  # no event of the slice in front of it is later than the query
    step = 1 << int((ends - starts).max(initial=0)).bit_length()
    while step:
        probe = found + step
        inside = np.flatnonzero(probe <= ends)
        # Not "<=": NaN is later than nothing and stands for the end of the log.
        past = inside[~(times[probe[inside] - 1] > timestamps[inside])]
        found[past] = probe[past]
        step >>= 1
    return found


def last_queries(data: Interactions) -> pl.DataFrame:
    """The query of each user's last event, for users with events, in the order of the user table."""
    ends = data.histories.offsets[1:][data.histories.lengths > 0]
    return data.with_log(data.log[data.histories.order[ends - 1].tolist()]).queries


def users_now(data: Interactions, columns: list[str]) -> pl.DataFrame:
    """One row a user of the table: what it says, and the context of the last event if there is one."""
    wanted = list(dict.fromkeys(["user_id", *columns]))
    context = last_queries(data).select(c for c in wanted if c in data.log.columns)
    users = data.users.select(c for c in wanted if c in data.users.columns)
    return users.join(context, on="user_id", how="left", maintain_order="left").select(wanted)
