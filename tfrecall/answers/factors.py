"""Scores of a factorisation, with the user's vector computed from what the user had."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from tfrecall.answers.scorer import Parts


class Factors:
    """Inner products of item vectors with the user vector that fits a history best.

    The user vector is that of the user's step of alternating least squares: with `c = confidence *
    weight` for what the user had, and 1 for all other items,

        x = (Y'Y + sum of (c - 1) y y' + regularization I)^-1 (sum of c y)

    So a score is a sum over the history, as section 5 of the paper has it for explanations, and somebody
    who was not in training is answered by the same rule.

    Args:
        items: float32 `[n_items, d]`.
        confidence: of an event of weight 1, 1 or more.
        regularization: 0 or more.

    Reference:
        Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
    """

    kind: ClassVar[str] = "factors"

    def __init__(self, items: np.ndarray, confidence: float, regularization: float) -> None:
        self.items = items
        self.confidence = confidence
        self.regularization = regularization
        exact = np.asarray(items, dtype=np.float64)
        self._gram = exact.T @ exact + regularization * np.eye(exact.shape[1])

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """See `Scorer.scores`; who the users are does not matter."""
        vectors = np.zeros((weights.shape[0], self.items.shape[1]))
        for row, (start, end) in enumerate(zip(weights.indptr[:-1], weights.indptr[1:], strict=True)):
            if end > start:
                system, had = self._system(weights.indices[start:end], weights.data[start:end])
                vectors[row] = np.linalg.solve(system, had.sum(axis=0))
        return (vectors @ np.asarray(self.items, np.float64).T).astype(np.float32)

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """See `Scorer.parts`."""
        if not len(weights.indices):
            return Parts(np.zeros(0), 0.0)
        system, had = self._system(weights.indices, weights.data)
        return Parts(had @ np.linalg.solve(system, self.items[item].astype(np.float64)), 0.0)

    def similar(self, item: int) -> np.ndarray:
        """See `Scorer.similar`: the cosine of the vectors."""
        norms = np.linalg.norm(self.items, axis=1)
        lengths = np.where(norms > 0, norms, 1.0)
        return ((self.items @ self.items[item]) / (lengths * lengths[item])).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"items": self.items}

    def facts(self) -> dict[str, Any]:
        return {"confidence": self.confidence, "regularization": self.regularization}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "Factors":
        return cls(arrays["items"], facts["confidence"], facts["regularization"])

    def _system(self, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The matrix of a user's equations, and the terms of their right side: float64."""
        vectors = np.asarray(self.items[rows], dtype=np.float64)
        confidences = (self.confidence * weights.astype(np.float64))[:, np.newaxis]
        system = self._gram + vectors.T @ ((confidences - 1.0) * vectors)
        return system, confidences * vectors
