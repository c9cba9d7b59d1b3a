"""What turns weights of what users had into scores."""

from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp


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
