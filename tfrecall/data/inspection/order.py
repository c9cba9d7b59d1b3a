"""Order of a log: whether items that follow each other do so for many users, or only meet."""

import numpy as np
import polars as pl

from tfrecall.core.ragged import Ragged

# Pairs of neighbours that are compared at most: the share of equal ones needs no more.
MOST_PAIRS = 500_000
# Equal pairs below which their ratio is chance.
LEAST_EQUAL = 30


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
    # Another event of the same user than the row itself, each as likely.
    others = np.random.default_rng(seed).integers(0, histories.lengths[users[rows]] - 1)
    others += others >= place[rows]
    anywhere = rows - place[rows] + others
    following, equal = _equal_pairs(users[rows], items[rows - 1], items[rows])
    meeting, _ = _equal_pairs(users[rows], items[anywhere], items[rows])
    return following / meeting if equal >= LEAST_EQUAL and meeting else 1.0


def _equal_pairs(users: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[float, int]:
    """The share of equal pairs among all pairs of pairs of two users, and their number."""
    pairs = pl.DataFrame({"user": users, "before": before, "after": after})
    pairs = pairs.filter(pl.col("before") != pl.col("after")).unique()
    counts = pairs.group_by("before", "after").len()["len"].to_numpy().astype(np.int64)
    total, equal = pairs.height, int((counts * (counts - 1) // 2).sum())
    return (equal / (total * (total - 1) / 2) if total > 1 else 0.0), equal
