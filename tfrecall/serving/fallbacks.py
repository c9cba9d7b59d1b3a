"""Popular items, which stand in where a model has no list in time."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from tfrecall.release.base import Release


class Popular:
    """Items of a release by their number of training events; equal ones in catalogue order.

    Args:
        release: a release of any kind that recommends.
    """

    def __init__(self, release: Release) -> None:
        self._release = release

    def best(
        self, k: int, barred: np.ndarray, allowed: Iterable[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and counts of the `k` most popular items.

        Args:
            k: length of the list, which is short if fewer items are left.
            barred: catalogue rows to leave out; -1 is ignored.
            allowed: the only rows that the list may have; None for all.
        """
        counts, hidden = self._release.event_counts, set(barred.tolist())
        if allowed is None:
            # A head that is long enough even if all that is barred stands in it.
            order: Iterable[int] = self._order[: k + len(hidden)].tolist()
        else:
            rows = [row for row in set(allowed) if row >= 0]
            order = sorted(rows, key=lambda row: (-counts[row], row))
        best = np.array([row for row in order if row not in hidden][:k], dtype=np.int64)
        return best, counts[best]

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(-self._release.event_counts, kind="stable")
