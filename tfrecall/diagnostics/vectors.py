"""Collapse of a tower's vectors: equal vectors, lines, dead dimensions."""

import numpy as np

from tfrecall.diagnostics.finding import Finding

# Share of the mean squared length below which the vectors are one vector with noise; for unit vectors a
# mean cosine above .99. Useful models are above .2.
MIN_SPREAD = 0.01
# An effective rank of 1 is a line, on which every user gets the same list or its reverse. Useful models
# use a third of their dimensions and more.
MIN_EFFECTIVE_RANK = 1.1
# A dimension is dead below a hundredth of the median deviation. A tenth of dead ones is reported: the
# model is smaller than intended.
DEAD_DEVIATION, MIN_DEAD_SHARE = 0.01, 0.1


def spread(vectors: np.ndarray) -> float:
    """Variance around the mean vector over the mean squared length, from 0 (all equal) to 1.

    For vectors of equal length, 1 - spread is the mean cosine of all pairs, a vector with itself included.

    >>> spread(np.array([[1.0, 0.0], [0.0, 1.0]]))
    0.5
    """
    vectors = np.asarray(vectors, np.float64)
    length = np.mean(np.sum(vectors**2, axis=1))
    around = np.sum(vectors.var(axis=0))
    return float(around / length) if length else 0.0


def effective_rank(vectors: np.ndarray) -> float:
    """Effective rank of the centred vectors: the exponential of the entropy of their variances.

    From 1 to the number of dimensions; 0 if all vectors are equal.

    Reference:
        Roy and Vetterli, "The effective rank", EUSIPCO 2007, here of the variances.

    >>> round(effective_rank(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])), 6)
    2.0
    """
    covariance = np.cov(np.asarray(vectors, np.float64), rowvar=False, ddof=0)
    # Rounding can make eigenvalues of 0 slightly negative, whose logarithm is NaN.
    shares = np.clip(np.linalg.eigvalsh(np.atleast_2d(covariance)), 0, None)
    if not shares.sum():
        return 0.0
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def collapsed_vectors(vectors: np.ndarray, side: str) -> Finding | None:
    """Finding if the vectors are nearly equal, or lie on a line.

    Args:
        vectors: float `[n, embedding_dim]`, all or a sample.
        side: `query` or `candidate`.
    """
    if len(vectors) < 2:
        return None
    wide, rank = spread(vectors), effective_rank(vectors)
    if wide >= MIN_SPREAD and (rank >= MIN_EFFECTIVE_RANK or vectors.shape[1] < 2):
        return None
    how = (
        f"are nearly equal: their mean cosine is {mean_cosine(vectors):.4f}, and {wide:.2%} of their "
        "squared length tells them apart"
        if wide < MIN_SPREAD
        else f"lie on a line: they use {rank:.2f} of {vectors.shape[1]} dimensions"
    )
    means = {
        "query": "so everybody gets nearly the same list",
        "candidate": "so the model hardly tells candidates apart",
    }[side]
    return Finding(
        "collapsed_vectors",
        "error",
        f"The {len(vectors):,} {side} vectors {how}, {means}. Usual causes: a learning rate that is too "
        "high (`training.learning_rate`), features that say nothing, too strong a "
        "`model.embedding_regularization`, or `model.normalize` with a temperature near 1 (try "
        "`task.temperature` = 0.05).",
    )


def mean_cosine(vectors: np.ndarray) -> float:
    """Mean cosine of all pairs of different vectors; a vector of zeros is at right angles to all.

    >>> mean_cosine(np.array([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0]]))
    0.3333333333333333
    """
    vectors = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    n = len(units)
    # |sum of units|^2 is the sum over all ordered pairs, each with itself included: O(n * d), no n x n.
    return float((np.sum(units.sum(axis=0) ** 2) - np.sum(units**2)) / (n * (n - 1)))


def dead_dimensions(vectors: np.ndarray, side: str) -> Finding | None:
    """Finding if some dimensions are constant.

    Args:
        vectors: float `[n, embedding_dim]`, all or a sample.
        side: `query` or `candidate`.
    """
    deviations = np.asarray(vectors, np.float64).std(axis=0)
    if not deviations.any():
        return None  # equal vectors are a finding of `collapsed_vectors`
    dead = int(np.sum(deviations < DEAD_DEVIATION * np.median(deviations[deviations > 0])))
    if dead < MIN_DEAD_SHARE * len(deviations):
        return None
    return Finding(
        "dead_dimensions",
        "warning",
        f"{dead} of the {len(deviations)} dimensions of the {side} vectors have the same value for all, "
        "so the model is smaller than `model.layer_sizes` says. Lower `training.learning_rate`, or make "
        "the last layer smaller: the release gets smaller and answers as well.",
    )
