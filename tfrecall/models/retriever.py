"""What everything that can be evaluated, exported or asked has in common."""

from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl


@runtime_checkable
class Retriever(Protocol):
    """Scores every item of its catalogue for each query.

    Attributes:
        name: what tables and reports call the model.
        item_ids: object array of `str` `[n_items]`, distinct, in the order of the scores' columns.
    """

    name: str
    item_ids: np.ndarray

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Returns float32 `[n_queries, n_items]`, higher is better.

        A row depends on its own query only, not on the rows beside it. -inf takes an item out of
        the list; NaN is an error. An unknown user is answered, not refused.

        Args:
            queries: `Interactions.queries` or some of its rows: `user_id`, and for models that want
                them `timestamp`, context and the user table's columns. Models must not look at
                `item_id`, which may be there.
        """
        ...
