"""Scores by the users that items share, without a matrix of items by items."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from tfrecall.index.scorers import Parts, pack, unpack

# Scores summed at once, 64 MB of float64.
BLOCK = 2**23
# What is left of an item's score, as a share of it, after its similarity to itself is taken out, and is
# rounding only: sums over some thousand users in float64.
ROUNDING = 1e-12


class SharedUsers:
    """Weights of a history, times similarities of items that factor into users of both, one item, the other.

    Item `a` of a history adds to the score of another item `b`

        weight(a) * first(a) * (sum of importance over users of both) * second(b)

    Summed first over the items of a history, then over users, it needs the log and no matrix of items by
    items: less memory where users are few and their histories long. An item adds nothing to itself.

    Args:
        log: float32 CSR `[n_users, n_items]` of zeros and ones, the items of each user.
        importance: float64 `[n_users]`.
        first, second: float64 `[n_items]`.

    >>> log = sp.csr_array(np.array([[1, 1, 0], [1, 0, 1]], np.float32))
    >>> scorer = SharedUsers(log, np.ones(2), np.ones(3), np.array([1.0, 1.0, 0.5]))
    >>> scorer.scores(sp.csr_array(np.array([[2.0, 0, 0]], np.float32)), np.array([-1])).tolist()
    [[0.0, 2.0, 1.0]]
    """

    kind: ClassVar[str] = "shared_users"

    def __init__(
        self, log: sp.csr_array, importance: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> None:
        self.log = log
        self.importance = np.asarray(importance, np.float64)
        self.first = np.asarray(first, np.float64)
        self.second = np.asarray(second, np.float64)
        exact = sp.csr_array(log, dtype=np.float64)
        # Rows are items, so that both products run over them in memory order.
        self._users_of = exact.T.tocsr()
        self._counts = self._users_of @ self.importance

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """Sums weighted similarities to items of each history: float32 `[n, n_items]`; ignores `users`."""
        answers = np.empty(weights.shape, np.float32)
        step = max(1, BLOCK // max(1, weights.shape[1]))
        for start in range(0, weights.shape[0], step):
            block = slice(start, start + step)
            answers[block] = self._summed(weights[block])
        return answers

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """Splits a score into weight times similarity of each item of the history."""
        towards = self._both(item)[weights.indices] * self.first[weights.indices] * self.second[item]
        return Parts(np.where(weights.indices == item, 0.0, weights.data * towards), 0.0)

    def similar(self, item: int) -> np.ndarray:
        """What the item adds to the score of every other: float32 `[n_items]`."""
        similarity = self._both(item) * self.first[item] * self.second
        similarity[item] = 0.0
        return similarity.astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        numbers = {"importance": self.importance, "first": self.first, "second": self.second}
        return {**pack(self.log, "log"), **numbers}

    def facts(self) -> dict[str, Any]:
        return {"n_items": int(self.log.shape[1])}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "SharedUsers":
        log = sp.csr_array(unpack(arrays, "log", facts["n_items"]))
        return cls(log, arrays["importance"], arrays["first"], arrays["second"])

    def _both(self, item: int) -> np.ndarray:
        """Importance of the users of one item and each other: float64 `[n_items]`."""
        return self._users_of @ (self._users_of[[item]].toarray()[0] * self.importance)

    def _summed(self, weights: sp.csr_array) -> np.ndarray:
        scaled = sp.csr_array(weights, dtype=np.float64)
        scaled.data = scaled.data * self.first[scaled.indices]
        # [n_users, n]: the summed weights of the items that each user shares with each history.
        shared = (scaled @ self._users_of).toarray().T * self.importance[:, np.newaxis]
        summed = self._users_of @ np.ascontiguousarray(shared)
        rows = np.repeat(np.arange(weights.shape[0]), np.diff(scaled.indptr))
        whole = summed[scaled.indices, rows]
        rest = whole - scaled.data * self._counts[scaled.indices]
        summed[scaled.indices, rows] = np.where(rest > ROUNDING * whole, rest, 0.0)
        return (summed * self.second[:, np.newaxis]).T
