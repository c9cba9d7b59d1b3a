"""Popularity of items: over all users, and within the history of one user."""

from typing import Any, Literal

import numpy as np

from tfrecall.baselines.base import HistoryModel, checked_days
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.index.history import SECONDS_A_DAY, HistoryWeights
from tfrecall.index.scorers import Constant, Own


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


class OwnItems(HistoryModel):
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
        super().__init__()
        self.by = by
        self.name = "own_most_frequent" if by == "frequency" else "own_most_recent"

    @property
    def settings(self) -> dict[str, Any]:
        return {"by": self.by}

    def _weights(self) -> HistoryWeights:
        if self.by == "frequency":
            return HistoryWeights(repeated=True, newest_first=True)
        return HistoryWeights(decay=1.0)

    def _learn(self, train: Interactions) -> Own:
        counts = np.bincount(train.item_rows, minlength=train.items.height)
        # Below 1, so that every item of the history comes before all others.
        return Own((counts / (counts.max(initial=0) + 1)).astype(np.float32))
