"""Filters of events before training: ratings, duplicates, k-cores."""

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.core.columns import TIMESTAMP
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
    max_user_interactions: int | None = None,
) -> Interactions:
    """Filters events by rating, duplicates, users with too many, and users and items with few events.

    The filters apply in this order. The minima are applied until all users and items meet them (a k-core),
    because each removal takes events of others along. The remaining events keep the order of the file. With
    `min_user_interactions` above 1 the user table keeps only users with events, with
    `min_item_interactions` above 1 the item table only items with events; otherwise the tables are
    unchanged. Filtered events count as never seen: their items may be recommended. Each filter adds a note
    with the numbers of rows, users and items that it removed.

    Args:
        data: the log.
        min_rating: events rated lower, or not rated, are removed; the log must have ratings.
        duplicates: which events of one user with one item are kept: `all`, or the `first` or `last` by time,
            at equal times by the order of the file.
        min_user_interactions: least number of events of a user.
        min_item_interactions: least number of events of an item.
        max_user_interactions: users with more events are left out with all of them, as no person has so many;
            None leaves none out.

    Returns:
        The filtered log.

    Raises:
        ConfigError: if a setting is invalid, or needs ratings that the log does not have.
        DataError: if no event is left.

    Example:

    >>> log = pl.DataFrame({"user_id": list("aab"), "item_id": list("xyx"), "timestamp": [1, 2, 3]})
    >>> kept = filter_log(Interactions.from_frame(log), min_item_interactions=2)
    >>> kept.log["user_id"].to_list(), kept.items["item_id"].to_list(), kept.notes[-1]
    (['a', 'b'], ['x'], 'min_item_interactions=2 left out 1 of 3 rows, 0 of 2 users, 1 of 2 items; \
the catalogue keeps the items that are left')
    """
    check(
        data.log.columns,
        min_rating,
        duplicates,
        min_user_interactions,
        min_item_interactions,
        max_user_interactions,
    )
    for step in steps_within_users(min_rating, duplicates, max_user_interactions):
        data = _kept(data, step.keep(data), step.name, word=step.word)
    if min_user_interactions > 1 or min_item_interactions > 1:
        keep = core(data.user_rows, data.item_rows, min_user_interactions, min_item_interactions)
        data = _kept(data, keep, *core_step(min_user_interactions, min_item_interactions))
    return data


class Step(NamedTuple):
    """One filter whose decision on an event needs no events of other users.

    Attributes:
        name: setting of the filter, for notes.
        keep: gives whether each event of a log is kept: bool `[n_rows]`.
        word: what to do with a setting that leaves nothing.
    """

    name: str
    keep: Callable[[Interactions], np.ndarray]
    word: str = "Lower"


def steps_within_users(
    min_rating: float | None = None, duplicates: str = "all", max_user_interactions: int | None = None
) -> list[Step]:
    """The filters before the minima, in their order; arguments as for `filter_log`."""
    steps = []
    if min_rating is not None:
        steps.append(
            Step(
                f"min_rating={min_rating:g}",
                lambda data: (data.log["rating"] >= min_rating).fill_null(False).to_numpy(),
            )
        )
    if duplicates != "all":
        steps.append(
            Step(f'duplicates="{duplicates}"', lambda data: _one_of_each(data, duplicates == "last"))
        )
    if max_user_interactions is not None:
        steps.append(
            Step(
                f"max_user_interactions={max_user_interactions}",
                lambda data: np.bincount(data.user_rows)[data.user_rows] <= max_user_interactions,
                "Raise",
            )
        )
    return steps


def core_step(min_user: int, min_item: int) -> tuple[str, list[str]]:
    """Name of the filter by minima, and the tables that it reduces to ids with events."""
    minima = {"users": min_user, "items": min_item}
    minima = {table: least for table, least in minima.items() if least > 1}
    name = " and ".join(f"min_{table[:-1]}_interactions={least}" for table, least in minima.items())
    return name, list(minima)


def core(users: np.ndarray, items: np.ndarray, min_user: int, min_item: int) -> np.ndarray:
    """Finds the events that remain after users and items with too few events are removed to a fixed point.

    Each round handles only users and items that the previous round brought below their minimum, so a long
    chain of removals costs no more than the events removed.

    Args:
        users: int `[n_rows]`, from 0.
        items: int `[n_rows]`, from 0.
        min_user: least number of events of a user.
        min_item: least number of events of an item.

    Returns:
        bool `[n_rows]`: the largest set of events in which each user and item has enough.
    """
    sides = [(_rows_of(users), items, min_item), (_rows_of(items), users, min_user)]
    left = [np.bincount(users), np.bincount(items)]
    alive = np.ones(len(users), dtype=bool)
    # Ids without any event have none to lose.
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
            # `subtract.at` and not `-=`: an id that occurs several times in `touched` loses each of its events.
            before = left[1 - side][touched]
            np.subtract.at(left[1 - side], touched, 1)
            now = left[1 - side][touched]
            # Newly below the minimum; ids that were below it before have fallen in an earlier round.
            lost[1 - side] = np.unique(touched[(before >= least) & (now < least)])
            fallen[side] = np.empty(0, np.int64)
        fallen = lost
    return alive


def _rows_of(owners: np.ndarray) -> Ragged:
    """Rows of the events of each owner, a user or an item."""
    return Ragged(np.argsort(owners, kind="stable"), offsets_of(np.bincount(owners)))


def _one_of_each(data: Interactions, last: bool) -> np.ndarray:
    """Whether each event is the first, or last, of its user with its item: bool `[n_rows]`."""
    order = np.argsort(data.log[TIMESTAMP].to_numpy(), kind="stable")
    # Reversed, the first of a pair is its last by time, and at equal times the last of the file.
    order = order[::-1] if last else order
    pairs = data.user_rows[order].astype(np.int64) * data.items.height + data.item_rows[order]
    keep = np.zeros(len(data), dtype=bool)
    keep[order[pl.Series(pairs).is_first_distinct().to_numpy()]] = True
    return keep


def _kept(
    data: Interactions,
    keep: np.ndarray,
    name: str,
    tables: list[str] | None = None,
    word: str = "Lower",
) -> Interactions:
    """The rows that a filter keeps, with its note.

    Args:
        data: the log before the filter.
        keep: bool `[n_rows]`.
        name: setting of the filter, for the note.
        tables: tables to reduce to ids with events.
        word: what to do with a setting that leaves nothing.

    Raises:
        DataError: if no row is kept.
    """
    note = left_out(
        name,
        word,
        rows=(keep.size, int(keep.sum())),
        users=_counts(data.user_rows, keep),
        items=_counts(data.item_rows, keep),
    )
    kept = data.with_log(data.log.filter(pl.Series(keep)))
    changes: dict[str, Any] = {}
    for table in tables or []:
        rows = data.user_rows if table == "users" else data.item_rows
        # `unique` sorts, so the ids that are left keep the order of their table.
        changes[table] = getattr(data, table)[np.unique(rows[keep])]
        note += keeps(table)
    logger.info(note)
    return replace(kept, notes=(*data.notes, note), **changes)


def left_out(name: str, word: str, **counts: tuple[int, int]) -> str:
    """The note of a filter.

    Args:
        name: setting of the filter.
        word: what to do with a setting that leaves nothing.
        **counts: numbers before and after it, of `rows`, `users` and `items`.

    Raises:
        DataError: if no row is kept.
    """
    lost = (f"{before - after:,} of {before:,} {what}" for what, (before, after) in counts.items())
    note = f"{name} left out {', '.join(lost)}"
    if not counts["rows"][1]:
        raise DataError(f"No event is left: {note}. {word} {name}.")
    return note


def keeps(table: str) -> str:
    """End of the note of a filter that reduces a table."""
    word = "user table" if table == "users" else "catalogue"
    return f"; the {word} keeps the {table} that are left"


def _counts(rows: np.ndarray, keep: np.ndarray) -> tuple[int, int]:
    """Number of users or items with events, before and after."""
    return len(np.unique(rows)), len(np.unique(rows[keep]))


def check(
    columns: Collection[str],
    min_rating: float | None = None,
    duplicates: str = "all",
    min_user_interactions: int = 1,
    min_item_interactions: int = 1,
    max_user_interactions: int | None = None,
) -> None:
    """Refuses settings of filters that are invalid or need ratings that a log of these columns lacks.

    Raises:
        ConfigError: if one is.
    """
    if duplicates not in DUPLICATES:
        raise ConfigError(
            f"{argument('duplicates')} must be one of {list(DUPLICATES)}. "
            f'Received: "{duplicates}".'
            f"{nearest(duplicates, DUPLICATES)}"
        )
    if min_user_interactions < 1 or min_item_interactions < 1:
        raise ConfigError(
            f"{argument('min_user_interactions')} and {argument('min_item_interactions')} must be at least 1, "
            f"which removes nothing. Received: {min_user_interactions}, {min_item_interactions}."
        )
    if max_user_interactions is not None and max_user_interactions < max(1, min_user_interactions):
        raise ConfigError(
            f"{argument('max_user_interactions')} must be at least 1, and at least "
            f"{argument('min_user_interactions')}. "
            f"Received: {max_user_interactions}."
        )
    if min_rating is not None and "rating" not in columns:
        raise ConfigError(
            f"{argument('min_rating')} is {min_rating:g}, but the log has no ratings. Name their column "
            f"({argument('rating')}), or omit the filter."
        )


__all__ = ["core", "filter_log"]
