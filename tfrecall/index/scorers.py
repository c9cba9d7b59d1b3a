"""Scorers of items from weighted histories: constant, own items, factors, item and user neighbours."""

from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from tfrecall.core.top_k import is_top_k


class Parts(NamedTuple):
    """The parts that add up to a score.

    Attributes:
        contributions: float64 `[n_events]`, one for each stored entry of the row of weights.
        base: the rest of the score.
    """

    contributions: np.ndarray
    base: float


class Scorer(Protocol):
    """Scores of all items from the weights of a history; its only state are its arrays.

    Attributes:
        kind: name of the scorer in the manifest of a release.
    """

    kind: ClassVar[str]

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """Scores all items for each row of weights.

        Args:
            weights: float32 `[n, n_items]`, as `HistoryWeights.matrix` gives them.
            users: int `[n]`, rows of the users in the training data, -1 for an unknown user.

        Returns:
            float32 `[n, n_items]`; 0 where no item of the history says anything about an item.
        """
        ...

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """Splits the score of one item, for one row of weights."""
        ...

    def similar(self, item: int) -> np.ndarray:
        """Similarity of every item to one: float32 `[n_items]`, higher is better."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays to save, by name."""
        ...

    def facts(self) -> dict[str, Any]:
        """Settings to save, as JSON can hold them."""
        ...

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "Scorer":
        """Restores a scorer from its arrays and facts; the arrays may be memory-mapped."""
        ...


def pack(matrix: sp.csr_array | np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Names the arrays of a matrix, sparse or dense; names begin with `name`."""
    if isinstance(matrix, np.ndarray):
        return {name: matrix}
    return {
        f"{name}_data": matrix.data,
        f"{name}_indices": matrix.indices,
        f"{name}_indptr": matrix.indptr,
    }


def unpack(arrays: dict[str, np.ndarray], name: str, columns: int) -> sp.csr_array | np.ndarray:
    """Restores the matrix that `pack` took apart."""
    if name in arrays:
        return arrays[name]
    data, indices, indptr = (arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sp.csr_array((data, indices, indptr), shape=(len(indptr) - 1, columns))


class Constant:
    """The same scores for every query.

    Args:
        values: float32 `[n_items]`.

    >>> Constant(np.array([1.0, 3.0])).scores(sp.csr_array((2, 2)), np.array([0, -1])).tolist()
    [[1.0, 3.0], [1.0, 3.0]]
    """

    kind: ClassVar[str] = "constant"

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """Repeats the values for each query: float32 `[n, n_items]`."""
        return np.tile(np.asarray(self.values), (weights.shape[0], 1))

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """Puts the whole score into `base`: the history has no share in it."""
        return Parts(np.zeros(len(weights.indices)), float(self.values[item]))

    def similar(self, item: int) -> np.ndarray:
        """The same scores for every item, too: float32 `[n_items]`."""
        return np.array(self.values)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"values": self.values}

    def facts(self) -> dict[str, Any]:
        return {}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "Constant":
        return cls(arrays["values"])


class Own:
    """Items of the history by their weights, then all others by values that are the same for every query.

    Args:
        others: float32 `[n_items]`, below 1.

    >>> history = sp.csr_array(np.array([[0.0, 2.0]], np.float32))
    >>> Own(np.array([0.5, 0.2], np.float32)).scores(history, np.array([-1])).tolist()
    [[0.5, 3.0]]
    """

    kind: ClassVar[str] = "own"

    def __init__(self, others: np.ndarray) -> None:
        self.others = others

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """One more than the weight of each item of the history, `others` elsewhere: float32 `[n, n_items]`."""
        scores = np.tile(np.asarray(self.others), (weights.shape[0], 1))
        rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
        scores[rows, weights.indices] = 1.0 + weights.data
        return scores

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """Gives the weight of the item to its own events, and the rest to `base`."""
        own = weights.indices == item
        return Parts(
            np.where(own, weights.data, 0.0).astype(np.float64),
            1.0 if own.any() else float(self.others[item]),
        )

    def similar(self, item: int) -> np.ndarray:
        """The same scores for every item: float32 `[n_items]`."""
        return np.array(self.others)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"others": self.others}

    def facts(self) -> dict[str, Any]:
        return {}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "Own":
        return cls(arrays["others"])


class Factors:
    """Inner products of item vectors with the user vector that fits a history best.

    The user vector comes from the user's step of alternating least squares: with `c = confidence * weight`
    for items of the history, and 1 for all others,

        x = (Y'Y + sum of (c - 1) y y' + regularization I)^-1 (sum of c y)

    So a score is a sum over the history, which gives explanations (section 5 of the paper), and users who
    were not in training are answered by the same rule. An empty history gives zeros.

    Args:
        items: float32 `[n_items, d]`.
        confidence: confidence in an event of weight 1; 1 or more.
        regularization: 0 or more.

    >>> factors = Factors(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), confidence=2.0, regularization=0.0)
    >>> history = sp.csr_array(np.array([[1.0, 0.0]], np.float32))
    >>> factors.scores(history, np.array([-1])).tolist()
    [[1.0, 0.0]]

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
        """Scores all items by vectors solved for each history: float32 `[n, n_items]`; `users` is not used."""
        vectors = np.zeros((weights.shape[0], self.items.shape[1]))
        for row, (start, end) in enumerate(zip(weights.indptr[:-1], weights.indptr[1:], strict=True)):
            if end > start:
                system, terms = self._system(weights.indices[start:end], weights.data[start:end])
                vectors[row] = np.linalg.solve(system, terms.sum(axis=0))
        return (vectors @ np.asarray(self.items, np.float64).T).astype(np.float32)

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """Splits a score into one term of the user vector for each item of the history."""
        if not len(weights.indices):
            return Parts(np.zeros(0), 0.0)
        system, terms = self._system(weights.indices, weights.data)
        # (A^-1 sum(t)) . y is sum(t . A^-1 y), because A is symmetric: one solution serves all terms.
        return Parts(terms @ np.linalg.solve(system, self.items[item].astype(np.float64)), 0.0)

    def similar(self, item: int) -> np.ndarray:
        """Cosines of the vectors with that of one item: float32 `[n_items]`, 0 for a zero vector."""
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
        """The matrix of a user's normal equations, and the terms of their right side: float64."""
        vectors = np.asarray(self.items[rows], dtype=np.float64)
        confidences = (self.confidence * weights.astype(np.float64))[:, np.newaxis]
        # `_gram` counts every item of the catalogue with confidence 1: the history adds what exceeds it,
        # so a query costs the length of its history, not of the catalogue.
        system = self._gram + vectors.T @ ((confidences - 1.0) * vectors)
        return system, confidences * vectors


class Neighbours:
    """Weights of a history, times a matrix of similarities between items.

    Args:
        similarity: float32 `[n_items, n_items]`, dense or CSR; row `a`, column `b` is what an event with
            `a` adds to the score of `b`.

    >>> similarity = np.array([[0.0, 0.5], [0.25, 0.0]], np.float32)
    >>> history = sp.csr_array(np.array([[2.0, 0.0]], np.float32))
    >>> Neighbours(similarity).scores(history, np.array([-1])).tolist()
    [[0.0, 1.0]]
    """

    kind: ClassVar[str] = "neighbours"

    def __init__(self, similarity: sp.csr_array | np.ndarray) -> None:
        self.similarity = similarity

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """Sums weighted similarities to items of each history: float32 `[n, n_items]`; ignores `users`."""
        scores = weights @ self.similarity
        return scores.toarray() if sp.issparse(scores) else scores

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """Splits a score into weight times similarity of each item of the history."""
        cells = weights.indices, np.full(len(weights.indices), item)
        values = _dense(self.similarity[cells]).astype(np.float64)
        return Parts(weights.data * values, 0.0)

    def similar(self, item: int) -> np.ndarray:
        """A row of the matrix: float32 `[n_items]`."""
        return _dense(self.similarity[[item]])

    def arrays(self) -> dict[str, np.ndarray]:
        return pack(self.similarity, "similarity")

    def facts(self) -> dict[str, Any]:
        return {"n_items": int(self.similarity.shape[1])}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "Neighbours":
        return cls(unpack(arrays, "similarity", facts["n_items"]))


def _dense(cells: Any) -> np.ndarray:
    """Copies entries of a matrix, sparse or dense, into an array of one axis."""
    return np.array(cells.toarray() if sp.issparse(cells) else cells).reshape(-1)


# Similarities in memory at once, 64 MB of float64: bounds memory where users are many.
BLOCK = 2**23


class UserNeighbours:
    """User-based collaborative filtering: summed similarity of the nearest users who interacted with an item.

    Similarity is the cosine between the weights of a query and another user's items, each item counting as
    `importance` of one. Users are not their own neighbours.

    Args:
        log: float32 CSR `[n_users, n_items]` of zeros and ones, the items of each user.
        importance: float64 `[n_items]`, above 0.
        top_n: number of neighbours of a query, equal ones by row; None for all.

    >>> log = sp.csr_array(np.array([[1, 1, 1, 1, 0], [0, 0, 0, 0, 1]], np.float32))
    >>> stranger = sp.csr_array(np.array([[1, 0, 0, 0, 0]], np.float32))
    >>> UserNeighbours(log, np.ones(5), top_n=1).scores(stranger, np.array([-1])).tolist()
    [[0.5, 0.5, 0.5, 0.5, 0.0]]
    """

    kind: ClassVar[str] = "user_neighbours"

    def __init__(self, log: sp.csr_array, importance: np.ndarray, top_n: int | None) -> None:
        self.log = log
        self.importance = np.asarray(importance, dtype=np.float64)
        self.top_n = top_n
        exact = sp.csr_array(log, dtype=np.float64)
        # Zeros and ones are their own squares, so this is the length with importances in it.
        norms = np.sqrt(exact @ self.importance)
        # A user without items is similar to nobody, whatever the zeros are divided by.
        exact.data = exact.data / np.repeat(np.where(norms > 0, norms, 1.0), np.diff(exact.indptr))
        self._directions = exact
        self._to_users = exact.T.tocsr()

    def scores(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """Sums similarities of neighbours over their items: float32 `[n, n_items]`."""
        step = max(1, BLOCK // max(1, self.log.shape[0]))
        answers = np.zeros(weights.shape, dtype=np.float32)
        for start in range(0, weights.shape[0], step):
            block = slice(start, start + step)
            # Dense while neighbours are chosen, then sparse: few of all users are neighbours.
            similar = sp.csr_array(self._neighbours(weights[block], users[block]))
            answers[block] = (similar @ self.log).toarray()
        return answers

    def parts(self, weights: sp.csr_array, user: int, item: int) -> Parts:
        """Splits a score by items of the history, by their shares in the similarity of neighbours with both."""
        (similar,) = self._neighbours(weights, np.array([user]))
        chose = self.log[:, [item]].toarray().reshape(-1) > 0
        through = self._directions[np.flatnonzero((similar > 0) & chose)].sum(axis=0)
        scaled = self._scaled(weights)
        return Parts(scaled.data * np.asarray(through)[scaled.indices], 0.0)

    def similar(self, item: int) -> np.ndarray:
        """Cosines of the sets of users of each item with that of one: float32 `[n_items]`."""
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
        """Weights times importance, divided by the length of their row: float64."""
        scaled = sp.csr_array(weights, dtype=np.float64)
        norms = np.sqrt(scaled.power(2) @ self.importance)
        lengths = np.repeat(np.where(norms > 0, norms, 1.0), np.diff(scaled.indptr))
        # An item of importance m stands for m equal columns: m times in the product, hence here, and m times in
        # the lengths of both users.
        scaled.data = scaled.data * self.importance[scaled.indices] / lengths
        return scaled

    def _neighbours(self, weights: sp.csr_array, users: np.ndarray) -> np.ndarray:
        """Similarities to all users, 0 beyond the `top_n` largest: float64 `[n, n_users]`."""
        similar = (self._scaled(weights) @ self._to_users).toarray()
        known = np.flatnonzero(users >= 0)
        # Each known user is most similar to the same user's row of the log, which would recommend the history.
        similar[known, users[known]] = 0.0
        if self.top_n is None or self.top_n >= similar.shape[1]:
            return similar
        return np.where(is_top_k(similar, self.top_n), similar, 0.0)
