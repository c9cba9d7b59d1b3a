"""The same scores for everyone."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from tfrecall.answers.scorer import Parts


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
