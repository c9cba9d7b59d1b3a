"""EASE: a linear autoencoder between items, in closed form."""

from typing import Any

import numpy as np
from scipy.linalg import lapack

from tfrecall.baselines.base import HistoryModel, binary_matrix
from tfrecall.core.memory import available_bytes, gigabytes
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError
from tfrecall.index.scorers import Neighbours

# 8 for the float64 matrix, inverted in place, and 4 for its float32 copy while both are there.
_BYTES_A_PAIR = 12
# Items whose co-occurrences are counted at once.
_BLOCK_ITEMS = 1024


class EASE(HistoryModel):
    """Scores an item by a linear regression on all other items of the user's training rows.

    With `G` the co-occurrences of items in the binary user-item matrix and `P` the inverse of
    `G + l2 I`, item `a` of a history adds `-P[a, b] / P[b, b]` to the score of `b`, below 0 where it speaks
    against it. An item adds nothing to its own score. Users without training rows get zeros.

    Needs 12 bytes for each pair of items while it is fitted, 4 afterwards, and time that grows with the
    cube of the items: 4,000 items take 200 MB and seconds, 50,000 take 30 GB and hours.

    Args:
        l2: regularisation, added to the diagonal, above 0: the larger, the less rare items count. On
            MovieLens-1M, the last tenth of the training time before 2003 as validation, hit_rate@50 with seen
            items removed rises from .109 (500) and .112 (1,000) to .118 (4,000) and .121 (16,000).

    Raises:
        DataError: by `check` and by `fit`, before it starts, if the memory does not suffice.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame(
    ...     {"user_id": [*"uuvvvw"], "item_id": [*"ababca"], "timestamp": [1, 2, 1, 2, 3, 1]}
    ... )
    >>> train = tr.data.Interactions.from_frame(log)
    >>> tr.EASE(l2=1.0).fit(train).recommend(["w"], k=2)[0].item_ids
    ['b', 'c']

    Reference:
        Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
    """

    name = "ease"

    def __init__(self, l2: float = 1000.0) -> None:
        super().__init__()
        if not 0 < l2 < np.inf:
            raise ConfigError(
                f"`l2` is what is added to the diagonal, a number above 0. Received: {l2}. "
                "Give 100 to 4000: the more users share two items, the more."
            )
        self.l2 = l2

    @property
    def settings(self) -> dict[str, Any]:
        return {"l2": self.l2}

    def check(self, train: Interactions) -> None:
        check_memory(train.items.height)

    def _learn(self, train: Interactions) -> Neighbours:
        histories = binary_matrix(train)
        inverse = _inverse(_co_occurrences(histories, self.l2))
        # Each column by its own diagonal: entry (a, b) becomes -P[a, b] / P[b, b].
        scale = -1.0 / np.diag(inverse)
        similarity = np.empty(inverse.shape, dtype=np.float32)
        for start in range(0, len(similarity), _BLOCK_ITEMS):
            rows = slice(start, start + _BLOCK_ITEMS)
            np.multiply(inverse[rows], scale, out=similarity[rows], casting="same_kind")
        np.fill_diagonal(similarity, 0.0)
        return Neighbours(similarity)


def check_memory(n_items: int, available: int | None = None) -> None:
    """Checks that the matrices of a catalogue fit into memory.

    Args:
        n_items: size of the catalogue.
        available: bytes; those free on this machine if None. Nothing is refused where these are not known.

    Raises:
        DataError: if the matrices need more than is available.
    """
    needed = _BYTES_A_PAIR * n_items**2
    available = available_bytes() if available is None else available
    if available is not None and needed > available:
        fits = int((available / _BYTES_A_PAIR) ** 0.5)
        raise DataError(
            f"EASE inverts a matrix of items by items: {n_items:,} items take {gigabytes(needed)} of "
            f"memory, and {gigabytes(available)} are free, enough for {fits:,} items. Leave out rare "
            "items, or take ItemCF with `top_n`, which keeps only what occurs together."
        )


def _co_occurrences(histories: Any, l2: float) -> np.ndarray:
    """`G + l2 I`: float64 `[n_items, n_items]`, made in blocks, so that memory holds it once."""
    n_items = histories.shape[1]
    columns = histories.tocsc()
    # LAPACK inverts in place in Fortran order only; of another order it would make a copy.
    gram = np.empty((n_items, n_items), order="F")
    for start in range(0, n_items, _BLOCK_ITEMS):
        block = slice(start, start + _BLOCK_ITEMS)
        gram[:, block] = (columns[:, block].T @ histories).T.toarray()
    gram[np.diag_indices(n_items)] += l2
    return gram


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverts a symmetric, positive definite matrix in Fortran order, in place."""
    # Cholesky: half the time of a general inverse, and it fails where the matrix is not positive
    # definite.
    factor, failed = lapack.dpotrf(matrix, lower=1, overwrite_a=1)
    inverse, wrong = lapack.dpotri(factor, lower=1, overwrite_c=1) if not failed else (factor, 1)
    if wrong:
        raise DataError(
            "The co-occurrences of items cannot be inverted: `l2` is too small beside their counts. "
            "Give EASE a larger one."
        )
    for start in range(0, len(inverse), _BLOCK_ITEMS):  # LAPACK fills the lower half only
        rows = slice(start, start + _BLOCK_ITEMS)
        square = np.tril(inverse[rows, rows])
        inverse[rows, rows] = square + np.tril(square, -1).T
        inverse[rows, rows.stop :] = inverse[rows.stop :, rows].T
    return inverse
