"""Counts of which items follow which in histories."""

import numpy as np
import scipy.sparse as sp

from tfrecall.core.ragged import Ragged


def count_transitions(histories: Ragged, n_items: int, weights: np.ndarray) -> sp.csr_array:
    """Adds up the weights of all pairs of events that stand near each other in a history.

    Args:
        histories: rows of items of each user, oldest first.
        n_items: size of the catalogue.
        weights: float `[window]`; a pair at the distance `d` adds `weights[d - 1]`.

    Returns:
        float64 `[n_items, n_items]`: row `a`, column `b` for `b` after `a`.
    """
    items = histories.values
    users = histories.owners()
    total = sp.csr_array((n_items, n_items), dtype=np.float64)
    for distance, weight in enumerate(weights, start=1):
        # The flat array shifted against itself; pairs that cross from one user to the next do not count.
        inside = users[:-distance] == users[distance:]
        pairs = items[:-distance][inside], items[distance:][inside]
        ones = np.full(len(pairs[0]), weight)
        total = total + sp.csr_array((ones, pairs), shape=total.shape)
    return total
