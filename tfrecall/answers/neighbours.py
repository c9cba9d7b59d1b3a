"""Scores by similarity to what a user had: one matrix between items."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from tfrecall.answers.scorer import Parts, pack, unpack


class Neighbours:
    """The weights of what a user had, times a matrix between items.

    Args:
        similarity: float32 `[n_items, n_items]`, dense or CSR; row `a`, column `b` is what having `a`
            says for `b`.
    """

    kind: ClassVar[str] = "neighbours"

    def __init__(self, similarity: sp.csr_array | np.ndarray) -> None:
        self.similarity = similarity

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """See `Scorer.scores`; who the users are does not matter."""
        found = weights @ self.similarity
        return found.toarray() if sp.issparse(found) else found

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """See `Scorer.parts`: weight times similarity."""
        cells = weights.indices, np.full(len(weights.indices), item)
        values = _dense(self.similarity[cells]).astype(np.float64)
        return Parts(weights.data * values, 0.0)

    def similar(self, item: int) -> np.ndarray:
        """See `Scorer.similar`: a row of the matrix."""
        return _dense(self.similarity[[item]])

    def arrays(self) -> dict[str, np.ndarray]:
        return pack(self.similarity, "similarity")

    def facts(self) -> dict[str, Any]:
        return {"n_items": int(self.similarity.shape[1])}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "Neighbours":
        return cls(unpack(arrays, "similarity", facts["n_items"]))


def _dense(cells: Any) -> np.ndarray:
    """Some entries of a matrix, sparse or not, as a new array of one axis."""
    return np.array(cells.toarray() if sp.issparse(cells) else cells).reshape(-1)
