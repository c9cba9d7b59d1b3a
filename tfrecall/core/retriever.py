"""What everything that can be evaluated, exported or asked has in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from tfrecall.core.top_k import best_scores


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


@dataclass(frozen=True, eq=False)
class VectorRetriever:
    """Scores are inner products of query and candidate vectors, of several the largest.

    The candidate vectors are those of the moment it was made, the queries are embedded when it is
    asked: make a new one after more training.

    Attributes:
        name: what tables call the model.
        item_ids: object array of `str` `[n]`.
        vectors: float32 `[n, embedding_dim]`.
        embed: gives the vectors of queries, float32 `[n_queries, embedding_dim]`, or
            `[n_queries, interests, embedding_dim]`.
    """

    name: str
    item_ids: np.ndarray
    vectors: np.ndarray
    embed: Callable[[pl.DataFrame], np.ndarray]

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """See `Retriever.scores`."""
        return best_scores(self.embed(queries), self.vectors)
