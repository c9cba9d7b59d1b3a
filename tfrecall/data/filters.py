"""Leaving events out before anything is learned, and saying how many."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.ragged import Ragged, offsets_of
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError, nearest

DUPLICATES = ("all", "first", "last")

logger = logging.getLogger("tfrecall")


def filter_log(
    data: Interactions,
    min_rating: float | None = None,
    duplicates: str = "all",
    min_user_interactions: int = 1,
    min_item_interactions: int = 1,
) -> Interactions:
    """Leaves out events, in this order: by rating, duplicates, users and items with few events.

    Users and items with too few events are left out again and again until none is left (a k-core),
    because each that goes takes events of others along. What is left keeps the order of the file.
    The user table keeps only users with enough events if `min_user_interactions` is above 1, and the
    catalogue only such items if `min_item_interactions` is; otherwise tables stay as they are. What
    is left out counts as never seen: it may be recommended. Each filter says in the notes how many
    rows, users and items it left out.

    Args:
        min_rating: events rated lower are left out; it takes a log with ratings.
        duplicates: of several events of one user with one item keep `all`, the `first` or the `last`
            by time; of events at the same time the one that comes first, or last, in the file.
        min_user_interactions: the least number of events of a user.
        min_item_interactions: the least number of events of an item.

    Raises:
        ConfigError: if a setting makes no sense for this log.
        DataError: if a filter leaves nothing.

    >>> log = pl.DataFrame({"user_id": list("aab"), "item_id": list("xyx"), "timestamp": [1, 2, 3]})
    >>> kept = filter_log(Interactions.from_frame(log), min_item_interactions=2)
    >>> kept.log["user_id"].to_list(), kept.items["item_id"].to_list(), kept.notes[-1]
    (['a', 'b'], ['x'], 'min_item_interactions=2 left out 1 of 3 rows, 0 of 2 users, 1 of 2 items; \
the catalogue keeps the items that are left')
    """
    _check(data, min_rating, duplicates, min_user_interactions, min_item_interactions)
    if min_rating is not None:
        keep = (data.log["rating"] >= min_rating).fill_null(False).to_numpy()
        data = _kept(data, keep, f"min_rating={min_rating:g}")
    if duplicates != "all":
        data = _kept(data, _one_of_each(data, duplicates == "last"), f'duplicates="{duplicates}"')
    if min_user_interactions > 1 or min_item_interactions > 1:
        keep = core(data.user_rows, data.item_rows, min_user_interactions, min_item_interactions)
        minima = {"users": min_user_interactions, "items": min_item_interactions}
        asked = {table: least for table, least in minima.items() if least > 1}
        name = " and ".join(f"min_{table[:-1]}_interactions={least}" for table, least in asked.items())
        data = _kept(data, keep, name, list(asked))
    return data


def core(users: np.ndarray, items: np.ndarray, min_user: int, min_item: int) -> np.ndarray:
    """Which events are left when users and items with too few are left out to a fixed point.

    Each round takes only what the round before has brought below its minimum, so a long chain of
    falling users and items costs no more than the events that fall.

    Args:
        users, items: int `[n_rows]`, from 0.
        min_user, min_item: the least number of events of a user, of an item.

    Returns:
        bool `[n_rows]`: the largest set of events in which each user and item has enough.
    """
    sides = [(_rows_of(users), items, min_item), (_rows_of(items), users, min_user)]
    left = [np.bincount(users), np.bincount(items)]
    alive = np.ones(len(users), dtype=bool)
    # Those without any event have nothing to lose.
    fallen = [
        np.flatnonzero((counts > 0) & (counts < least))
        for counts, least in zip(left, (min_user, min_item), strict=True)
    ]
    while fallen[0].size or fallen[1].size:
        lost: list[np.ndarray] = [np.empty(0, np.int64)] * 2
        for side, (events, others, least) in enumerate(sides):
            rows = events.take(fallen[side]).values
            rows = rows[alive[rows]]
            alive[rows] = False
            own, touched = (users, items)[side], others[rows]
            np.subtract.at(left[side], own[rows], 1)
            before = left[1 - side][touched]
            np.subtract.at(left[1 - side], touched, 1)
            now = left[1 - side][touched]
            # Below the minimum in this round: who was below it already has fallen before.
            lost[1 - side] = np.unique(touched[(before >= least) & (now < least)])
            fallen[side] = np.empty(0, np.int64)
        fallen = lost
    return alive


def _rows_of(owners: np.ndarray) -> Ragged:
    """The rows of the events of each user, or of each item."""
    return Ragged(np.argsort(owners, kind="stable"), offsets_of(np.bincount(owners)))


def _one_of_each(data: Interactions, last: bool) -> np.ndarray:
    """The first or last event of each pair of user and item: bool `[n_rows]`."""
    order = np.argsort(data.log["timestamp"].to_numpy(), kind="stable")
    order = order[::-1] if last else order
    pairs = data.user_rows[order].astype(np.int64) * data.items.height + data.item_rows[order]
    keep = np.zeros(len(data), dtype=bool)
    keep[order[pl.Series(pairs).is_first_distinct().to_numpy()]] = True
    return keep


def _kept(
    data: Interactions, keep: np.ndarray, name: str, tables: list[str] | None = None
) -> Interactions:
    """The rows that a filter keeps, and its note.

    Args:
        tables: tables that keep only who has an event left.
    """
    counts = [
        f"{keep.size - keep.sum():,} of {keep.size:,} rows",
        _lost(data.user_rows, keep, "users"),
        _lost(data.item_rows, keep, "items"),
    ]
    note = f"{name} left out {', '.join(counts)}"
    if not keep.any():
        raise DataError(f"No event is left: {note}. Lower {name}.")
    kept = data.with_log(data.log.filter(pl.Series(keep)))
    changes: dict[str, Any] = {}
    for table in tables or []:
        rows = data.user_rows if table == "users" else data.item_rows
        changes[table] = getattr(data, table)[np.unique(rows[keep])]
        word = "user table" if table == "users" else "catalogue"
        note += f"; the {word} keeps the {table} that are left"
    logger.info(note)
    return replace(kept, notes=(*data.notes, note), **changes)


def _lost(rows: np.ndarray, keep: np.ndarray, word: str) -> str:
    """How many of those with events have none left."""
    before, after = len(np.unique(rows)), len(np.unique(rows[keep]))
    return f"{before - after:,} of {before:,} {word}"


def _check(
    data: Interactions, min_rating: float | None, duplicates: str, min_user: int, min_item: int
) -> None:
    if duplicates not in DUPLICATES:
        raise ConfigError(
            f'There is no way "{duplicates}" to treat duplicates.{nearest(duplicates, DUPLICATES)} '
            f"Choose of {list(DUPLICATES)}."
        )
    if min_user < 1 or min_item < 1:
        raise ConfigError(
            "`min_user_interactions` and `min_item_interactions` must be at least 1, which leaves "
            f"nobody out. Received: {min_user}, {min_item}."
        )
    if min_rating is not None and "rating" not in data.log.columns:
        raise ConfigError(
            f"`min_rating` is {min_rating:g}, but the log has no ratings. Name their column "
            "(`data.rating_column`, on the command line --rating-column), or leave the filter out."
        )


__all__ = ["core", "filter_log"]
