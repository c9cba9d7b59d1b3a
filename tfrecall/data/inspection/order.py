"""Order of a log: whether items that follow each other do so for many users, or only meet."""

import numpy as np
import polars as pl

from tfrecall.core.ragged import Ragged

# Pairs of neighbours that are compared at most: the share of equal ones needs no more.
MOST_PAIRS = 500_000
# Equal pairs below which their ratio is chance.
LEAST_EQUAL = 30
# Share of pairs of items in one order from which that is the order of a sorted file.
SORTED = 0.98


def order_lift(histories: Ragged, seed: int = 42) -> float:
    """How many times as often neighbouring events of two users are the same pair as any two events are.

    1 where the order of the events says nothing beyond who the user is, also with few events to tell. A pair
    of a user counts once, and pairs of one item not at all: repetitions are no order.

    Args:
        histories: items of each user from 0, the oldest first.
        seed: seed of the events that neighbours are compared with.

    >>> histories = Ragged.of_lists([[k, (k + 1) % 4, (k + 2) % 4, (k + 3) % 4] for k in range(4)] * 20)
    >>> order_lift(histories) > 2
    True
    """
    items, users, place = histories.values, histories.owners(), histories.positions()
    rows = np.flatnonzero(place > 0)[:MOST_PAIRS]
    if not len(rows):
        return 1.0
    anywhere = _any_other(histories, rows, seed)
    following, equal = _equal_pairs(users[rows], items[rows - 1], items[rows])
    meeting, _ = _equal_pairs(users[rows], items[anywhere], items[rows])
    return following / meeting if equal >= LEAST_EQUAL and meeting else 1.0


def is_sorted(histories: Ragged, seed: int = 42) -> bool:
    """Whether any two items stand in the same order wherever two users have both: a file sorted by item.

    Such an order says nothing about when events happened, yet neighbours in it recur. False with few pairs
    to tell by.

    Args:
        histories: items of each user from 0, in the order of the file.
        seed: seed of the pairs that are looked at, one an event.

    >>> histories = Ragged.of_lists([[k, k + 2, k + 3] for k in range(6)] * 20)
    >>> is_sorted(histories), is_sorted(Ragged.of_lists([[1, 2], [2, 1]] * 40))
    (True, False)
    """
    users = histories.owners()
    rows = np.flatnonzero(histories.lengths[users] > 1)[:MOST_PAIRS]
    others = _any_other(histories, rows, seed)
    first, second = (
        histories.values[np.minimum(rows, others)],
        histories.values[np.maximum(rows, others)],
    )
    low, high = np.minimum(first, second), np.maximum(first, second)
    pairs = pl.DataFrame({"user": users[rows], "low": low, "high": high, "rises": first < second})
    pairs = pairs.filter(pl.col("low") != pl.col("high")).unique(["user", "low", "high"], keep="first")
    counts = pairs.group_by("low", "high").agg(all=pl.len(), rising=pl.col("rises").sum())
    users_of, rising = (counts[name].to_numpy().astype(np.int64) for name in ("all", "rising"))
    falling = users_of - rising
    # Pairs of users, of whom n have two items: n (n - 1), in the same order where both rise or both fall.
    shared = int((users_of * (users_of - 1)).sum())
    alike = int((rising * (rising - 1) + falling * (falling - 1)).sum())
    return shared >= LEAST_EQUAL and alike >= SORTED * shared


def _any_other(histories: Ragged, rows: np.ndarray, seed: int) -> np.ndarray:
    """For each of some events another one of the same user, each as likely; users have two or more."""
    place, lengths = histories.positions()[rows], histories.lengths[histories.owners()[rows]]
    others = np.random.default_rng(seed).integers(0, lengths - 1)
    others += others >= place
    return rows - place + others


def _equal_pairs(users: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[float, int]:
    """The share of equal pairs among all pairs of pairs of two users, and their number."""
    pairs = pl.DataFrame({"user": users, "before": before, "after": after})
    pairs = pairs.filter(pl.col("before") != pl.col("after")).unique()
    counts = pairs.group_by("before", "after").len()["len"].to_numpy().astype(np.int64)
    total, equal = pairs.height, int((counts * (counts - 1) // 2).sum())
    return (equal / (total * (total - 1) / 2) if total > 1 else 0.0), equal
