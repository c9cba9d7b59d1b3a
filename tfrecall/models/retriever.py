"""What everything that can be evaluated, exported or asked has in common."""

from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl


@runtime_checkable
class Retriever(Protocol):
    """Scores every item of its catalogue for each query."""

    @property
    def name(self) -> str:
        """What tables and reports call the model."""
        ...

    @property
    def item_ids(self) -> np.ndarray:
        """Object array of `str` `[n_items]`, distinct, in the order of the scores' columns."""
        ...

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


class GivesRetriever(Protocol):
    """A model in training, whose scores change; what it gives is as the model is now."""

    def retriever(self) -> Retriever:
        """The model as it is now."""
        ...
