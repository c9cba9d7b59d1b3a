"""Queries with several vectors, of which the one nearest to a candidate scores it."""

import numpy as np


def best_scores(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The largest inner product of each query's vectors with each candidate: float `[n_queries, n]`.

    Args:
        queries: float `[n_queries, d]` or `[n_queries, interests, d]`.
        vectors: float `[n, d]`.

    >>> best_scores(np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[2.0, 3.0], [5.0, 4.0]])).tolist()
    [[3.0, 5.0]]
    """
    if queries.ndim == 2:
        return queries @ vectors.T
    # One interest at a time: all at once would hold as many times the scores.
    scores = queries[:, 0] @ vectors.T
    for interest in range(1, queries.shape[1]):
        np.maximum(scores, queries[:, interest] @ vectors.T, out=scores)
    return scores
