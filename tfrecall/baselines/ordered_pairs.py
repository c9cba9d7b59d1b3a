"""Ordered pairs of items in the histories of users, weighted by the time between them."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from tfrecall.core.ragged import ranges
from tfrecall.data.interactions import Interactions
from tfrecall.index.history import SECONDS_A_DAY

# Pairs put together at once, some 60 bytes each.
_PAIRS = 2**22
# Up to here (512 MB) sums are kept in a full matrix: on MovieLens-1M most pairs of items occur.
_DENSE_ITEMS = 8192


def ordered_pairs(
    train: Interactions, users: np.ndarray | None, half_life_days: float | None
) -> sp.csr_array:
    """Sums all pairs of distinct items of a user, in the order of the user's first events with them.

    Args:
        train: a log whose users and items are all known.
        users: weight of each user's pairs, number `[n_users]`; None for 1.
        half_life_days: the time between two events that halves the weight of a pair; None for no fading.

    Returns:
        float64 `[n_items, n_items]`: row `a`, column `b` for `b` after `a`. The diagonal is empty.
    """
    n_items = train.items.height
    owners, items, times = _first_events(train)
    pairs = _pairs(owners, items, times, users, half_life_days)
    if n_items <= _DENSE_ITEMS:
        full = np.zeros(n_items**2)
        for earlier, later, values in pairs:
            # Not `full[...] += values`, which adds only one of several equal pairs.
            np.add.at(full, earlier * n_items + later, values)
        return sp.csr_array(full.reshape(n_items, n_items))
    total = sp.csr_array((n_items, n_items), dtype=np.float64)
    for earlier, later, values in pairs:
        total = total + sp.csr_array((values, (earlier, later)), shape=total.shape)
    return total


def _first_events(train: Interactions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and time of each first event of a user with an item, by user and time."""
    past = train.histories
    owners = past.owners()
    # Events are sorted by user and time, and `unique` gives the first index of each pair: its earliest
    # event. Sorted again, because the pairs are not in order of time.
    _, first = np.unique(owners * train.items.height + past.items, return_index=True)
    first.sort()
    return owners[first], past.items[first].astype(np.int64), train.event_times[first]


def _pairs(
    owners: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    users: np.ndarray | None,
    half_life_days: float | None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields earlier items, later items and weights of pairs, about `_PAIRS` at a time."""
    # `owners` ascends, so each search finds the first event of the same user: owners 4 4 4 6 give starts
    # 0 0 0 3, earlier events 0 1 2 0, and pairs up to each event 0 1 3 3.
    starts = np.searchsorted(owners, owners)
    earlier_events = np.arange(len(owners)) - starts
    ends = np.cumsum(earlier_events)  # pairs up to each event
    event = 0
    while event < len(owners):
        done = ends[event - 1] if event else 0
        # One event at least: its pairs alone may exceed the block.
        stop = max(event + 1, int(np.searchsorted(ends, done + _PAIRS, side="right")))
        counts = earlier_events[event:stop]
        # Each event of the block is paired with all earlier events of its user, from `starts` on.
        later = np.repeat(np.arange(event, stop), counts)
        earlier = ranges(starts[event:stop], counts)
        values = np.ones(len(later)) if users is None else users[owners[later]].astype(np.float64)
        if half_life_days is not None:
            values *= np.exp2((times[earlier] - times[later]) / (half_life_days * SECONDS_A_DAY))
        yield items[earlier], items[later], values
        event = stop
