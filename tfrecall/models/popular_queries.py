"""The query that stands for what is popular: fitted to the counts of items, for users without a history."""

import numpy as np
from scipy.optimize import minimize

# Weight of the squared length of the vector: a few items, told apart by one direction, would be scored without
# bounds.
_SHRINKAGE = 1e-4


def popular_vector(candidates: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The vector whose softmax over the candidates explains the shares of the items best.

    What training would learn for a query without any feature, if candidates did not learn from it.

    Args:
        candidates: float `[n, d]`, vectors of the candidates.
        shares: float `[n]`, share of each in the training rows; they sum to 1.

    Returns:
        Float32 `[d]`.

    >>> popular_vector(np.eye(2), np.array([0.75, 0.25])).argmax()
    np.int64(0)
    """
    items, target = np.asarray(candidates, np.float64), np.asarray(shares, np.float64)
    mean = target @ items

    def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
        logits = items @ vector
        top = logits.max()
        likelihoods = np.exp(logits - top)
        total = likelihoods.sum()
        value = top + np.log(total) - mean @ vector + 0.5 * _SHRINKAGE * vector @ vector
        return value, items.T @ (likelihoods / total) - mean + _SHRINKAGE * vector

    start = np.zeros(items.shape[1])
    return minimize(loss, start, jac=True, method="L-BFGS-B").x.astype(np.float32)
