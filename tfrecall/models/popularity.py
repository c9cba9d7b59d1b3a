"""The most chosen items, for everyone alike."""

from typing import Any

import numpy as np

from tfrecall.answers import Constant
from tfrecall.answers.had import SECONDS_A_DAY
from tfrecall.data.interactions import Interactions
from tfrecall.models.history_model import HistoryModel, checked_days


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
