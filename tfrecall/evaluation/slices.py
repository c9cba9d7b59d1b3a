"""Slices of the test rows by popularity of the item, length of the history and time since its last event."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from tfrecall.core.columns import EVENTS_BEFORE, TIMESTAMP, USER
from tfrecall.data.histories import events_before, slices_of
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation.metrics import most_popular

# The Pareto cut that most papers on the long tail use.
HEAD_SHARE = 0.2
# Lower ends of the bins of history length; the last one is open.
HISTORY_BINS = (0, 1, 10, 50, 200)
_HOUR, _DAY = 3600, 86_400


def slice_masks(
    test: Interactions, seen: Interactions, history: Interactions | None = None
) -> dict[str, np.ndarray]:
    """Marks the test rows of each slice: name -> bool `[n_rows]`.

    By item, three parts that make up all rows: `head_items`, the most popular 20 % of the items of
    `seen` by number of rows; `tail_items`, the other items with rows; `new_items`, those without.
    By user, five parts that make up all rows: `history_0`, `history_1_9`, `history_10_49`,
    `history_50_199`, `history_200_plus`, by the user's rows in `seen`. `new_users` is a second name
    of `history_0`.
    With `history`, the log with all events, lengths and gaps are those of the events before each row, and
    `new_users` are those without rows in `seen`.
    By time since the user's newest event in `seen`, of rows that have one: `gap_same_second`, `gap_1_hour` (at
    most), `gap_1_day` (above an hour, at most a day), `gap_over_1_day`. A log without times has none of
    the four.
    """
    trained = _history_lengths(test, seen)
    lengths = trained if history is None else events_before(test, history)
    masks = _item_masks(test, seen)
    for low, high in _bins():
        masks[f"history_{_bin_name(low, high)}"] = (lengths >= low) & (high is None or lengths < high)
    masks["new_users"] = trained == 0
    queries = test.log.select(USER, TIMESTAMP)
    if history is not None:
        queries = queries.with_columns(pl.Series(EVENTS_BEFORE, lengths))
    return {**masks, **_gap_masks(queries, seen if history is None else history)}


def ranking_masks(test: Interactions, known: Interactions) -> dict[str, np.ndarray]:
    """Marks the test rows of each slice of a ranker: name -> bool `[n_rows]`.

    `popularity_0`, `popularity_1_9`, ..., `popularity_200_plus` by the rows of the item in `known`,
    `history_0`, ..., `history_200_plus` by those of the user. Each group of five makes up all rows.
    """
    counts = {"popularity": _item_rows(test, known), "history": _history_lengths(test, known)}
    return {
        f"{name}_{_bin_name(low, high)}": (rows >= low) & (high is None or rows < high)
        for name, rows in counts.items()
        for low, high in _bins()
    }


def _bins() -> Iterable[tuple[int, int | None]]:
    return zip(HISTORY_BINS, (*HISTORY_BINS[1:], None), strict=True)


def _item_rows(test: Interactions, known: Interactions) -> np.ndarray:
    """Number of rows in `known` of each test row's item; 0 for an item in no table."""
    rows = known.item_vocabulary.rows(test.log["item_id"])
    return np.where(rows < 0, 0, _counts(known)[rows])


def _counts(log: Interactions) -> np.ndarray:
    """Number of rows of each item of the table: int `[n_items]`."""
    known = log.item_rows[log.item_rows >= 0]
    return np.bincount(known, minlength=log.items.height)


def _item_masks(test: Interactions, seen: Interactions) -> dict[str, np.ndarray]:
    counts = _counts(seen)
    rows = seen.item_vocabulary.rows(test.log["item_id"])
    # Row -1, an item in no table, reads the last item of the table, which `rows` then overrules.
    head = most_popular(counts, HEAD_SHARE)[rows] & (rows >= 0)
    new = (counts[rows] == 0) | (rows < 0)
    return {"head_items": head, "tail_items": ~head & ~new, "new_items": new}


def _gap_masks(queries: pl.DataFrame, log: Interactions) -> dict[str, np.ndarray]:
    times = queries[TIMESTAMP].to_numpy()
    if not len(log) or not np.ptp(log.event_times):
        return {}
    starts, ends = slices_of(log, queries)
    # A user without events before the row has no gap: NaN is in no part.
    gaps = np.where(ends > starts, times - log.event_times[np.maximum(ends - 1, 0)], np.nan)
    return {
        "gap_same_second": gaps < 1,  # times may have fractions
        "gap_1_hour": (gaps >= 1) & (gaps <= _HOUR),
        "gap_1_day": (gaps > _HOUR) & (gaps <= _DAY),
        "gap_over_1_day": gaps > _DAY,
    }


def _history_lengths(test: Interactions, seen: Interactions) -> np.ndarray:
    lengths = seen.log.group_by("user_id").len("length")
    users = test.log.select("user_id")
    # By id and not by row: the tables of `test` and `seen` may number users differently.
    joined = users.join(lengths, on="user_id", how="left", maintain_order="left")
    return joined["length"].cast(pl.Int64).fill_null(0).to_numpy()


def _bin_name(low: int, high: int | None) -> str:
    if high is None:
        return f"{low}_plus"
    return f"{low}" if high == low + 1 else f"{low}_{high - 1}"
