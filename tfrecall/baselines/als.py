"""Matrix factorisation by alternating least squares, fitted by the library `implicit`."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from tfrecall.baselines.base import HistoryModel, binary_matrix
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.index.scorers import Factors


class ALS(HistoryModel):
    """Matrix factorisation: scores an item by the inner product of its vector with the user's.

    The item vectors are those of `implicit.als.AlternatingLeastSquares` on the processor. A user's
    vector is computed from the user's training rows at query time, by the user's half of a step: so
    scores can be explained, and a history given in a query is answered by the same rule. Users without
    training rows get zeros. Number and time of a user's events with an item do not count.

    Args:
        factors: length of the vectors.
        regularization: weight of the squared vectors, 0 or more.
        alpha: items of the history count as `1 + alpha` observations, all others as one; 0 or more.
        iterations: passes over users and items.
        seed: seed of the initial vectors.

    Raises:
        ConfigError: by `check` and by `fit`, before it starts, if `implicit` is not installed.

    Example:

    >>> import tfrecall as tr
    >>> model = tr.ALS(factors=32, alpha=10.0)
    >>> model.fit(train).recommend(["u"], k=10)  # doctest: +SKIP

    Reference:
        Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
    """

    name = "als"

    def __init__(
        self,
        factors: int = 64,
        regularization: float = 0.01,
        alpha: float = 1.0,
        iterations: int = 15,
        seed: int = 42,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("factors", factors, 1),
            ("regularization", regularization, 0),
            ("alpha", alpha, 0),
            ("iterations", iterations, 1),
        ):
            if not least <= value < np.inf:
                raise ConfigError(f"`{name}` must be {least} or more, and finite. Received: {value}.")
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.seed = seed

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "factors": self.factors,
            "regularization": self.regularization,
            "alpha": self.alpha,
            "iterations": self.iterations,
            "seed": self.seed,
        }

    def check(self, train: Interactions) -> None:
        _library()

    def _learn(self, train: Interactions) -> Factors:
        factorization, threadpool_limits = _library()
        confidences = sp.csr_matrix(binary_matrix(train) * np.float32(1 + self.alpha))
        # Its own threads and those of BLAS would stand in each other's way.
        with threadpool_limits(1, "blas"):
            model = factorization(
                factors=self.factors,
                regularization=self.regularization,
                # `implicit` multiplies the matrix by its own alpha; ours is in there already, with the 1.
                alpha=1.0,
                iterations=self.iterations,
                random_state=self.seed,
            )
            model.fit(confidences, show_progress=False)
        return Factors(np.array(model.item_factors, np.float32), 1 + self.alpha, self.regularization)


def _library() -> tuple[Any, Any]:
    """Imports the factorisation and the limit of BLAS threads, which `implicit` brings along."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ConfigError(
            "ALS is fitted by the library `implicit`, which is not installed. Install it with "
            "`pip install 'tfrecall[als]'`."
        ) from error
    return AlternatingLeastSquares, threadpool_limits
