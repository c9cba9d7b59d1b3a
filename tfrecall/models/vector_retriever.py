"""A retriever made of candidate vectors and a way to embed queries."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrecall.index.interests import best_scores


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
