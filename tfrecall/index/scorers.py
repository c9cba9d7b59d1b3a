"""What turns weights of what users had into scores."""

from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from tfrecall.core.top_k import is_top_k


class Parts(NamedTuple):
    """What a score is made of.

    Attributes:
        contributions: float64 `[n_had]`, one for each stored entry of the row that was asked with.
        base: the rest of the score.
    """

    contributions: np.ndarray
    base: float


class Scorer(Protocol):
    """Scores for every item, from the weights of what users had; no state but its arrays.

    Attributes:
        kind: what the manifest of a release calls it.
    """

    kind: ClassVar[str]

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """Scores of all items.

        Args:
            weights: float32 `[n, n_items]`, as `HistoryWeights.matrix` gives them.
            users: int `[n]`, rows of the users in the training data, -1 for somebody unknown.

        Returns:
            float32 `[n, n_items]`; 0 where nothing a user had says anything about an item.
        """
        ...

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """What the score of one item is made of, for one row of weights."""
        ...

    def similar(self, item: int) -> np.ndarray:
        """How much every item has to do with one: float32 `[n_items]`, higher is better."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be kept, by name."""
        ...

    def facts(self) -> dict[str, Any]:
        """What has to be kept beside, as JSON can hold it."""
        ...

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "Scorer":
        """The scorer that gave these arrays and facts; the arrays may be mapped files."""
        ...


def pack(matrix: sp.csr_array | np.ndarray, name: str) -> dict[str, np.ndarray]:
    """The arrays of a matrix, sparse or not, by names that begin with `name`."""
    if isinstance(matrix, np.ndarray):
        return {name: matrix}
    return {
        f"{name}_data": matrix.data,
        f"{name}_indices": matrix.indices,
        f"{name}_indptr": matrix.indptr,
    }


def unpack(arrays: dict[str, np.ndarray], name: str, columns: int) -> sp.csr_array | np.ndarray:
    """The matrix that `pack` took apart."""
    if name in arrays:
        return arrays[name]
    data, indices, indptr = (arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sp.csr_array((data, indices, indptr), shape=(len(indptr) - 1, columns))


class Constant:
    """Scores that do not depend on who asks.

    Args:
        values: float32 `[n_items]`.
    """

    kind: ClassVar[str] = "constant"

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """See `Scorer.scores`."""
        return np.tile(np.asarray(self.values), (weights.shape[0], 1))

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """See `Scorer.parts`: nothing that the user had has a share."""
        return Parts(np.zeros(len(weights.indices)), float(self.values[item]))

    def similar(self, item: int) -> np.ndarray:
        """See `Scorer.similar`: the same list for every item, too."""
        return np.array(self.values)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"values": self.values}

    def facts(self) -> dict[str, Any]:
        return {}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "Constant":
        return cls(arrays["values"])


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
        return np.where(is_top_k(similar, self.top_n), similar, 0.0)
