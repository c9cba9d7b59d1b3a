"""Scores by users who had the same."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from tfrecall.answers.scorer import Parts, pack, unpack

# Similarities held at a time, of 8 bytes: bounds memory where users are many.
BLOCK = 2**23


class UserNeighbours:
    """Adds up how similar to who asks those are who had an item, among the most similar users.

    Similarity is the cosine between the weights of who asks and what another user had, each item
    counting as `importance` of one. Users are not their own neighbours.

    Args:
        log: float32 CSR `[n_users, n_items]` of zeros and ones, who had what.
        importance: float64 `[n_items]`, above 0.
        top_n: the neighbours kept, of equal ones those in the lower row; None for all.
    """

    kind: ClassVar[str] = "user_neighbours"

    def __init__(self, log: sp.csr_array, importance: np.ndarray, top_n: int | None) -> None:
        self.log = log
        self.importance = np.asarray(importance, dtype=np.float64)
        self.top_n = top_n
        exact = sp.csr_array(log, dtype=np.float64)
        norms = np.sqrt(exact @ self.importance)
        # Who had nothing is similar to nobody, whatever that is divided by.
        exact.data = exact.data / np.repeat(np.where(norms > 0, norms, 1.0), np.diff(exact.indptr))
        self._directions = exact
        self._to_users = exact.T.tocsr()

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """See `Scorer.scores`."""
        step = max(1, BLOCK // max(1, self.log.shape[0]))
        answers = np.zeros(weights.shape, dtype=np.float32)
        for start in range(0, weights.shape[0], step):
            block = slice(start, start + step)
            similar = sp.csr_array(self._neighbours(weights[block], users[block]))
            answers[block] = (similar @ self.log).toarray()
        return answers

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """See `Scorer.parts`: an item counts through the neighbours who had it and the other one."""
        (similar,) = self._neighbours(weights, np.array([user]))
        chose = self.log[:, [item]].toarray().reshape(-1) > 0
        through = self._directions[np.flatnonzero((similar > 0) & chose)].sum(axis=0)
        scaled = self._scaled(weights)
        return Parts(scaled.data * np.asarray(through)[scaled.indices], 0.0)

    def similar(self, item: int) -> np.ndarray:
        """See `Scorer.similar`: the cosine of the users who had each."""
        both = (self.log.T @ self.log[:, [item]]).toarray().reshape(-1).astype(np.float64)
        counts = np.asarray(self.log.sum(axis=0), dtype=np.float64)
        return (both / np.sqrt(np.maximum(counts * counts[item], 1.0))).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {**pack(self.log, "log"), "importance": self.importance}

    def facts(self) -> dict[str, Any]:
        return {"n_items": int(self.log.shape[1]), "top_n": self.top_n}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "UserNeighbours":
        log = unpack(arrays, "log", facts["n_items"])
        return cls(sp.csr_array(log), arrays["importance"], facts["top_n"])

    def _scaled(self, weights: sp.csr_array) -> sp.csr_array:
        """Weights times importance, over the length of the row: float64."""
        scaled = sp.csr_array(weights, dtype=np.float64)
        norms = np.sqrt(scaled.power(2) @ self.importance)
        lengths = np.repeat(np.where(norms > 0, norms, 1.0), np.diff(scaled.indptr))
        scaled.data = scaled.data * self.importance[scaled.indices] / lengths
        return scaled

    def _neighbours(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """Similarities to all users, 0 for those who are not kept: float64 `[n, n_users]`."""
        similar = (self._scaled(weights) @ self._to_users).toarray()
        known = np.flatnonzero(users >= 0)
        similar[known, users[known]] = 0.0
        if self.top_n is None or self.top_n >= similar.shape[1]:
            return similar
        at = similar.shape[1] - self.top_n
        last = np.partition(similar, at, axis=1)[:, at, np.newaxis]
        above, equal = similar > last, similar == last
        room = self.top_n - above.sum(axis=1, keepdims=True)
        return np.where(above | (equal & (np.cumsum(equal, axis=1) <= room)), similar, 0.0)
