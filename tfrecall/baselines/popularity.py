"""Popularity of items: over all users, and within the history of one user."""

from typing import Any, Literal

import numpy as np
import polars as pl

from tfrecall.baselines.base import HistoryModel, checked_days
from tfrecall.core.ragged import Histories
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.index.history import SECONDS_A_DAY
from tfrecall.index.scorers import Constant


class Popularity(HistoryModel):
    """Scores an item by the number of its training rows, the same for every user.

    The baseline that every other model has to beat. Each repeated interaction counts. With a window the name
    is `recent_popularity`.

    Args:
        window_days: count only rows less than so many days before the latest of the log; None for
            all rows.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame(
    ...     {"user_id": [*"uuvvvw"], "item_id": [*"ababca"], "timestamp": [1, 2, 1, 2, 3, 1]}
    ... )
    >>> train = tr.data.Interactions.from_frame(log)
    >>> tr.Popularity().fit(train).recommend(["w"], k=2)[0].item_ids  # without "a", which w has
    ['b', 'c']
    """

    name = "popularity"

    def __init__(self, window_days: float | None = None) -> None:
        super().__init__()
        self.window_days = checked_days("window_days", window_days)
        if window_days is not None:
            self.name = "recent_popularity"

    @property
    def settings(self) -> dict[str, Any]:
        return {"window_days": self.window_days}

    def _learn(self, train: Interactions) -> Constant:
        items = train.item_rows
        if self.window_days is not None and len(train):
            times = train.log["timestamp"].to_numpy()
            items = items[times > times.max() - self.window_days * SECONDS_A_DAY]
        return Constant(np.bincount(items, minlength=train.items.height).astype(np.float32))


class OwnItems:
    """Scores the items of a user's history by frequency or recency, then all others by popularity.

    The baseline to beat where purchases repeat. Of equal counts the most recent item comes first.

    Args:
        by: `frequency` or `recency`.

    Attributes:
        ranks_seen_only: says that without seen items nothing but popularity is left, so that evaluation
            shows no figures for that rule.
    """

    ranks_seen_only = True

    def __init__(self, by: Literal["frequency", "recency"] = "frequency") -> None:
        if by not in ("frequency", "recency"):
            raise ConfigError(f"`by` is frequency or recency. Received: {by!r}.")
        self.by = by
        self.name = "own_most_frequent" if by == "frequency" else "own_most_recent"
        self.item_ids: np.ndarray = np.empty(0, dtype=object)
        self._users: Vocabulary | None = None
        self._histories: Histories | None = None
        self._popularity: np.ndarray = np.empty(0, np.float32)

    def fit(self, train: Interactions) -> "OwnItems":
        """Stores the events of each user of `train.users`; returns itself."""
        self.item_ids = train.item_vocabulary.ids
        self._users, self._histories = train.user_vocabulary, train.histories
        counts = np.bincount(train.item_rows, minlength=len(self.item_ids))
        # Popularity below 1, so that every item of the history comes before all others.
        self._popularity = (counts / (counts.max(initial=0) + 1)).astype(np.float32)
        return self

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores all items for each query: float32 `[n_queries, n_items]`; an unknown user gets popularity."""
        if self._users is None or self._histories is None:
            raise ConfigError(
                "These OwnItems have not been fitted, so they have no scores. Call `fit(train)` first."
            )
        scores = np.tile(self._popularity, (queries.height, 1))
        events = self._histories.take(self._users.rows(queries["user_id"]))
        # A pair of query and item as one number. Read from the end, the first of equal pairs is the latest.
        pairs = events.owners() * scores.shape[1] + events.values
        own, first, counts = np.unique(pairs[::-1], return_index=True, return_counts=True)
        place = events.positions()  # 0 is the oldest event of a user
        # From 1, so that 0 is left for items that the user has not had.
        latest = (place[::-1][first] + 1).astype(np.float32)
        if self.by == "frequency":
            # Less than one event, so that it only decides between equal counts.
            longest = self._histories.lengths.max(initial=0) + 1
            latest = counts.astype(np.float32) + latest / np.float32(longest)
        scores.reshape(-1)[own] = latest
        return scores
