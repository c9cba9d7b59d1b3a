"""Swing: similarity of items by pairs of users who share little else."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from tfrecall.baselines.base import HistoryModel, binary_matrix, checked_top_n
from tfrecall.baselines.item_cf import compact
from tfrecall.core.ragged import Ragged
from tfrecall.core.top_k import strongest
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.index.scorers import Neighbours


class Swing(HistoryModel):
    """Scores an item by its summed similarity to the items of the user's training rows.

    Similarity of two items is a sum over the pairs of users who have both, each pair once:

        1 / sqrt(n(u)) * 1 / sqrt(n(v)) / (alpha + items that u and v share)

    with `n(u)` for the items of user `u`. Two users who share only these two items count more than two who
    share a hundred. An item is not similar to itself. Users without training rows get zeros.

    A popular item has far too many pairs of users, so of each item's users at most `max_users` count: those
    with the fewest items, who weigh most, equal ones by row. For an item with more, the similarity of `b` to
    `a` is computed from the users of `a`, and differs from that of `a` to `b`.

    Args:
        alpha: added to the number of shared items, above 0: the larger, the less the other items that a pair
            shares matter.
        top_n: keep of each item's neighbours only the `top_n` most similar, equal ones by row; None keeps
            all.
        max_users: users of an item that count; None for all, which takes time that grows with the square of
            an item's users.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame(
    ...     {"user_id": [*"uuvvvw"], "item_id": [*"ababca"], "timestamp": [1, 2, 1, 2, 3, 1]}
    ... )
    >>> train = tr.data.Interactions.from_frame(log)
    >>> tr.Swing().fit(train).recommend(["w"], k=2)[0].item_ids
    ['b']

    Reference:
        Yang et al., "Large Scale Product Graph Construction for Recommendation in E-commerce",
        arXiv:2010.05525, 2020; there each pair counts twice, and no cap is
        described.
    """

    name = "swing"

    def __init__(
        self, alpha: float = 1.0, top_n: int | None = None, max_users: int | None = 200
    ) -> None:
        super().__init__()
        _check(alpha, max_users)
        self.alpha = alpha
        self.top_n = checked_top_n(top_n, "neighbours kept for each item")
        self.max_users = max_users

    @property
    def settings(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "top_n": self.top_n, "max_users": self.max_users}

    def _learn(self, train: Interactions) -> Neighbours:
        histories = binary_matrix(train)
        users_of = histories.tocsc()
        lengths = np.diff(histories.indptr)
        rows = []
        for item in range(train.items.height):
            users = users_of.indices[users_of.indptr[item] : users_of.indptr[item + 1]]
            if self.max_users is not None and len(users) > self.max_users:
                users = users[np.lexsort((users, lengths[users]))[: self.max_users]]
            # In the order of the table: sums then round alike, whatever chose the users.
            row = _similar_to(histories[np.sort(users)], self.alpha)
            row[item] = 0.0
            rows.append(_strongest(row, self.top_n))
        return Neighbours(compact(_stacked(rows, train.items.height)))


def _similar_to(histories: sp.csr_array, alpha: float) -> np.ndarray:
    """Similarity of all items to one, from the histories of its users: float64 `[n_items]`."""
    n_users, n_items = histories.shape
    if n_users < 2:
        return np.zeros(n_items)
    weights = 1.0 / np.sqrt(np.diff(histories.indptr))
    pairs = np.outer(weights, weights) / (alpha + (histories @ histories.T).toarray())
    np.fill_diagonal(pairs, 0.0)
    # The sum of `pairs` over all users of an item, for each of its users: so each pair counts twice.
    by_item = histories.T.tocsr()
    met = by_item @ pairs
    items = np.repeat(np.arange(n_items), np.diff(by_item.indptr))
    return np.bincount(items, met[items, by_item.indices], n_items) / 2


def _strongest(row: np.ndarray, top_n: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The `top_n` largest values above 0 and their columns, ascending; equal ones by column."""
    values = row.astype(np.float32)
    columns = np.flatnonzero(values > 0)
    if top_n is not None:
        # One row as a sparse matrix: `strongest` has the rule for ties.
        columns = np.sort(columns[strongest(np.zeros_like(columns), columns, values[columns], top_n)])
    return columns, values[columns]


def _stacked(rows: list[tuple[np.ndarray, np.ndarray]], n_items: int) -> sp.csr_array:
    columns = Ragged.of_lists([columns for columns, _ in rows])
    values = Ragged.of_lists([values for _, values in rows], np.float32)
    return sp.csr_array((values.values, columns.values, columns.offsets), shape=(n_items, n_items))


def _check(alpha: float, max_users: int | None) -> None:
    if not 0 < alpha < np.inf:
        raise ConfigError(
            f"`alpha` is added to the items that two users share, a number above 0. Received: {alpha}. "
            "Give 1 to let what else they share count most."
        )
    if max_users is not None and max_users < 2:
        raise ConfigError(
            f"`max_users` is how many users of an item are paired, 2 or more. Received: {max_users}. "
            "Give None to look at all."
        )
