"""Item transitions: first-order and skip transitions counted in the histories of users."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from tfrecall.baselines.base import HistoryModel, checked_top_n
from tfrecall.core.top_k import strongest
from tfrecall.core.transitions import count_transitions
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.index.history import HistoryWeights
from tfrecall.index.scorers import Neighbours


class ItemTransitions(HistoryModel):
    """Scores an item by how often it followed the latest items of the user.

    The baseline of sequence models: it uses the order of events, without any training. Where item `b` comes
    `d <= window` events after `a` in a history, the transition from `a` to `b` gains `d ** -decay`; it is
    then divided by `count(a) ** (1 - damping) * count(b) ** damping`. A query adds up the transitions from
    the user's last `window` events, each weighed by `d ** -decay` again if it lies `d` events back.

    Queries with a column `timestamp` are answered from the user's events up to that time, others from all
    of them. An item may follow itself. Users without events get zeros: all items tie, and ties count
    against a model.

    The default decay and damping were chosen for MovieLens-1M by NDCG@10 and hit_rate@50 on each
    user's last event but one; a longer window is better there and slower.

    Args:
        window: largest distance of two events that counts as a transition, and number of latest events of a
            query.
        decay: power of the distance by which weights fade; 0 counts the whole window alike, 1 halves the
            second event and leaves a fifth of the fifth.
        damping: from 0 to 1, how much an item's own popularity counts against it: 0 gives the probability of
            `b` after `a`, 1 that of `a` before `b`, 0.5 a symmetric measure like a cosine.
        top_n: keep of the transitions from each item only the `top_n` strongest, equal ones by row; None
            keeps all.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame(
    ...     {"user_id": [*"uuvvvw"], "item_id": [*"ababca"], "timestamp": [1, 2, 1, 2, 3, 1]}
    ... )
    >>> train = tr.data.Interactions.from_frame(log)
    >>> tr.ItemTransitions().fit(train).recommend(["w"], k=2)[0].item_ids
    ['b', 'c']

    Reference:
        Ludewig and Jannach, "Evaluation of session-based recommendation algorithms", User Modeling
        and User-Adapted Interaction 28, 2018: sequential rules. There, too, distances count by one
        over the distance, but a query is the last item only; the division by `count(b)` is ours.
    """

    name = "item_transitions"
    timed = True

    def __init__(
        self,
        window: int = 5,
        decay: float = 1.0,
        damping: float = 0.25,
        top_n: int | None = None,
    ) -> None:
        super().__init__()
        _check(window, decay, damping)
        self.window = window
        self.decay = decay
        self.damping = damping
        self.top_n = checked_top_n(top_n, "transitions kept for each item")

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "decay": self.decay,
            "damping": self.damping,
            "top_n": self.top_n,
        }

    def _weights(self) -> HistoryWeights:
        return HistoryWeights(window=self.window, decay=self.decay, repeated=True)

    def _learn(self, train: Interactions) -> Neighbours:
        """Counts transitions in the histories of `train`, divided by the counts of both items."""
        n_items = train.items.height
        distances = np.arange(1, self.window + 1) ** -float(self.decay)
        counted = count_transitions(train.histories, n_items, distances)
        counts = np.maximum(np.bincount(train.histories.items, minlength=n_items), 1)
        # The row of each stored entry; `indices` are their columns.
        sources = np.repeat(np.arange(n_items), np.diff(counted.indptr))
        counted.data /= counts[sources] ** (1 - self.damping) * counts[counted.indices] ** self.damping
        if self.top_n is not None:
            entries = counted.tocoo()
            rows, columns = entries.coords
            keep = strongest(rows, columns, entries.data, self.top_n)
            cells = rows[keep], columns[keep]
            counted = sp.csr_array((entries.data[keep], cells), shape=counted.shape)
        return Neighbours(counted.astype(np.float32))


def _check(window: int, decay: float, damping: float) -> None:
    if window < 1:
        raise ConfigError(
            f"`window` is how many events further an item still follows another. Received: {window}. "
            "Give 1 or more."
        )
    if not 0 <= decay < np.inf:
        raise ConfigError(
            "`decay` is the power of the distance that weights are divided by, 0 or more. "
            f"Received: {decay}. Give 1 to weigh by one over the distance, 0 to weigh all alike."
        )
    if not 0 <= damping <= 1:
        raise ConfigError(
            "`damping` is how much an item's popularity counts against it, from 0 to 1. "
            f"Received: {damping}. Give 0 for plain frequencies."
        )
