"""User-based collaborative filtering."""

from typing import Any

import numpy as np

from tfrecall.baselines.base import HistoryModel, binary_matrix, checked_top_n
from tfrecall.data.interactions import Interactions
from tfrecall.index.scorers import UserNeighbours


class UserCF(HistoryModel):
    """Scores an item by the summed similarity of the nearest users who interacted with it.

    Similarity of two users is the cosine of their rows in the binary user-item matrix. A user is not
    similar to itself. An item of no neighbour scores 0, as does every item for a user without training rows.
    Number and time of a user's events with an item do not count.

    Similarities are computed at query time: fitting takes no time, and each query a product with the whole
    log.

    Args:
        top_n: number of neighbours of a user at most, equal ones by row; None for all users.
        inverse_item_frequency: whether an item of `n` users counts as `1 / log(1 + n)` of one in the
            cosine: to share an item that everyone has says little about two users.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame(
    ...     {"user_id": [*"uuvvvw"], "item_id": [*"ababca"], "timestamp": [1, 2, 1, 2, 3, 1]}
    ... )
    >>> train = tr.data.Interactions.from_frame(log)
    >>> tr.UserCF(top_n=1).fit(train).recommend(["w"], k=2)[0].item_ids
    ['b']

    Reference:
        Breese, Heckerman and Kadie, "Empirical analysis of predictive algorithms for collaborative
        filtering", UAI 1998; their inverse user frequency is `log(all / n)`, which is 0 for an item
        that everyone has.
    """

    name = "user_cf"

    def __init__(self, top_n: int | None = 100, *, inverse_item_frequency: bool = False) -> None:
        super().__init__()
        self.top_n = checked_top_n(top_n, "neighbours of each user")
        self.inverse_item_frequency = inverse_item_frequency

    @property
    def settings(self) -> dict[str, Any]:
        return {"top_n": self.top_n, "inverse_item_frequency": self.inverse_item_frequency}

    def _learn(self, train: Interactions) -> UserNeighbours:
        log = binary_matrix(train)
        counts = np.bincount(log.indices, minlength=log.shape[1])
        importance = np.ones(log.shape[1])
        if self.inverse_item_frequency:
            importance = 1.0 / np.log1p(np.maximum(counts, 1))
        return UserNeighbours(log, importance, self.top_n)
