"""Trending items: popularity in the days before a request, their number chosen on the newest events."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tfrecall.baselines.base import checked_days
from tfrecall.core.columns import TIMESTAMP
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.index.history import SECONDS_A_DAY

WINDOWS = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0, 365.0)
# The newest share of the log chooses the window, as validation rows of a split by time would, by a sample.
HELD_SHARE, MOST_HELD = 0.1, 2000


class Trending:
    """Scores an item by its training rows in the days before the request, the same for every user.

    The baseline of a log with times: much of what a model of sequences knows is what is in fashion. A request
    without a time, or after the end of the log, is answered at its end; events at the very time of a
    request do not count. Where all events have one time, all of them count.

    Args:
        windows_days: numbers of days to choose from. Each is judged by the newest tenth of the log, every event
            of it asked at its own time: the largest mean of 1 / log2(rank + 2), ties against the item.

    Attributes:
        window_days: the chosen number, after `fit`.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> days = ["2024-01-01", "2024-01-01", "2024-03-01", "2024-03-02"]
    >>> log = pl.DataFrame({"user_id": [*"uvuw"], "item_id": [*"aabb"], "timestamp": days})
    >>> model = Trending([30, 90]).fit(tr.data.Interactions.from_frame(log))
    >>> model.window_days, model.scores(pl.DataFrame({"user_id": ["u"]})).tolist()
    (30, [[0.0, 2.0]])

    Reference:
        Ji et al., "A Re-visit of the Popularity Baseline in Recommender Systems", SIGIR 2020.
    """

    name = "trending"

    def __init__(self, windows_days: Sequence[float] = WINDOWS) -> None:
        for days in windows_days:
            checked_days("windows_days", days)
        if not len(windows_days):
            raise ConfigError("`windows_days` needs a number of days to choose. Received: none.")
        self.windows_days = tuple(windows_days)
        self.window_days: float | None = None
        self.item_ids: np.ndarray = np.empty(0, dtype=object)
        self._times = np.empty(0)
        self._items = np.empty(0, np.int64)

    def fit(self, train: Interactions) -> "Trending":
        """Chooses the window, and keeps the events; returns itself."""
        known = train.item_rows >= 0
        times = train.log[TIMESTAMP].to_numpy()[known]
        order = np.argsort(times, kind="stable")
        self.item_ids = train.item_vocabulary.ids
        self._times, self._items = times[order], train.item_rows[known][order]
        self.window_days = max(self.windows_days, key=self._gain)
        return self

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores all items for each query: float32 `[n_queries, n_items]`.

        Args:
            queries: with a column `timestamp`, or all at the end of the log.

        Raises:
            ConfigError: if the model is not fitted.
        """
        if self.window_days is None:
            raise ConfigError(
                "This Trending has not been fitted, so it has no scores. Call `fit(train)` first."
            )
        if TIMESTAMP in queries.columns:
            asked = queries[TIMESTAMP].cast(pl.Float64).fill_null(np.inf).to_numpy()
        else:
            asked = np.full(queries.height, np.inf)
        return self._counts(np.where(np.isnan(asked), np.inf, asked), self.window_days)

    def _gain(self, window_days: float) -> float:
        """Mean gain of the newest events, each asked at its own time."""
        held = np.arange(len(self._times))[-int(np.ceil(HELD_SHARE * len(self._times))) :]
        if not len(held):
            return 0.0
        rows = held[np.linspace(0, len(held) - 1, min(len(held), MOST_HELD)).astype(np.int64)]
        counts = self._counts(self._times[rows], window_days)
        own = counts[np.arange(len(rows)), self._items[rows]]
        ranks = (counts >= own[:, np.newaxis]).sum(axis=1) - 1
        return float((1 / np.log2(ranks + 2)).mean())

    def _counts(self, asked: np.ndarray, window_days: float) -> np.ndarray:
        """Rows of each item in the days before each moment: float32 `[n, n_items]`."""
        n_items, times = len(self.item_ids), self._times
        # Of a moment after the end of the log the last days of the log count: what was learned stays.
        end = times[-1] if len(times) else 0.0
        last = np.where(asked > end, len(times), np.searchsorted(times, asked, side="left"))
        seconds = np.minimum(asked, end) - window_days * SECONDS_A_DAY
        first = np.searchsorted(times, seconds, side="right")
        if len(times) and times[0] == end:
            first, last = np.zeros_like(first), np.full_like(last, len(times))
        counts, low, high = np.zeros(n_items, np.int64), 0, 0
        scores = np.empty((len(asked), n_items), np.float32)
        # In the order of time each event enters and leaves once, whatever the number of requests.
        for query in np.argsort(asked, kind="stable").tolist():
            counts += np.bincount(self._items[high : last[query]], minlength=n_items)
            counts -= np.bincount(self._items[low : first[query]], minlength=n_items)
            low, high = int(first[query]), int(last[query])
            scores[query] = counts
        return scores
