"""The most chosen items, for everyone alike."""

import numpy as np
import polars as pl

from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError


class Popularity:
    """Scores an item by the number of its training rows, whoever asks.

    The line that every other model has to pass. Each repeated interaction counts.
    """

    name = "popularity"

    def __init__(self) -> None:
        self.item_ids: np.ndarray = np.empty(0, dtype=object)
        self._counts: np.ndarray | None = None

    def fit(self, train: Interactions) -> "Popularity":
        """Counts the rows of each item of `train.items`; returns itself."""
        self.item_ids = train.item_vocabulary.ids
        known = train.item_rows[train.item_rows >= 0]
        self._counts = np.bincount(known, minlength=len(self.item_ids)).astype(np.float32)
        return self

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        if self._counts is None:
            raise ConfigError(
                "This Popularity has not been fitted, so it has no scores. Call `fit(train)` first."
            )
        return np.tile(self._counts, (queries.height, 1))
