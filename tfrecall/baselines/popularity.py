"""The most chosen items, for everyone alike."""

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
    """Scores an item by the number of its training rows, whoever asks.

    The line that every other model has to pass. Each repeated interaction counts. With a window it is
    called `recent_popularity`.

    Args:
        window_days: count only the rows less than so many days before the latest of the log; None for
            all rows.
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
    """Scores a user's own items by how often or how lately they were had, then all others by popularity.

    The line that a model has to pass where purchases repeat. Equal counts go to the item had last.

    Args:
        by: `frequency` or `recency`.
    """

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
        """Remembers the events of each user of `train.users`; returns itself."""
        self.item_ids = train.item_vocabulary.ids
        self._users, self._histories = train.user_vocabulary, train.histories
        counts = np.bincount(train.item_rows, minlength=len(self.item_ids))
        # Below the 1 that any own item has.
        self._popularity = (counts / (counts.max(initial=0) + 1)).astype(np.float32)
        return self

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        if self._users is None or self._histories is None:
            raise ConfigError(
                "These OwnItems have not been fitted, so they have no scores. Call `fit(train)` first."
            )
        answers = np.tile(self._popularity, (queries.height, 1))
        rows, items = self._histories.flat(self._users.rows(queries["user_id"]))
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)  # 0 is the oldest event of a user
        latest = np.zeros(answers.shape, np.float32)
        np.maximum.at(latest, (rows, items), (place + 1).astype(np.float32))
        if self.by == "recency":
            return np.where(latest > 0, latest, answers)
        counts = np.zeros(answers.shape, np.float32)
        np.add.at(counts, (rows, items), np.float32(1))
        # Less than one event, so that it only decides between equal counts.
        longest = self._histories.lengths.max(initial=0) + 1
        return np.where(counts > 0, counts + latest / np.float32(longest), answers)
