"""The protocol of retrievers: models and releases that score a whole catalogue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from tfrecall.core.seen import Seen
from tfrecall.core.top_k import best_scores


@runtime_checkable
class Retriever(Protocol):
    """Scores every item of its catalogue for each query."""

    @property
    def name(self) -> str:
        """Name of the model in tables and reports."""
        ...

    @property
    def item_ids(self) -> np.ndarray:
        """Object array of `str` `[n_items]`, distinct, in the order of the scores' columns."""
        ...

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores all items for each query: float32 `[n_queries, n_items]`, higher is better.

        A row depends on its own query only, not on other rows. -inf takes an item out of the list;
        NaN is an error. Unknown users get scores, too.

        Args:
            queries: `Interactions.queries` or some of its rows: `user_id`, and for models that use
                them `timestamp`, context and the columns of the user table. Models must not read
                `item_id`, which may be a column.
        """
        ...


@runtime_checkable
class AnswersByRule(Retriever, Protocol):
    """A retriever whose scores depend on the rule: a pipeline chooses its candidates before it ranks."""

    def under(self, rule: Seen) -> Retriever:
        """Returns the retriever as it answers with seen items kept, or removed."""
        ...


@runtime_checkable
class ReadsHistories(Retriever, Protocol):
    """A retriever whose histories of users come from a log, which can be another one than it learned from."""

    def reading(self, log: Any) -> Retriever:
        """Returns the retriever with the histories of another log; what it learned stays."""
        ...


class GivesRetriever(Protocol):
    """A model in training, whose scores change: its retriever is a snapshot."""

    def retriever(self, log: Any = None) -> Retriever:
        """Returns a retriever with the current weights, and the histories of a log; None for its own."""
        ...


@dataclass(frozen=True, eq=False)
class VectorRetriever:
    """Scores by inner products of query and candidate vectors; with several query vectors, the largest counts.

    A snapshot: candidate vectors are fixed at its creation, while queries are embedded at each call. Make a
    new one after more training.

    Attributes:
        name: name of the model in tables.
        item_ids: object array of `str` `[n]`.
        vectors: float32 `[n, embedding_dim]`.
        embed: embeds a table of queries, float32 `[n_queries, embedding_dim]`, or
            `[n_queries, interests, embedding_dim]`.
    """

    name: str
    item_ids: np.ndarray
    vectors: np.ndarray
    embed: Callable[[pl.DataFrame], np.ndarray]

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores all items for each query: float32 `[n_queries, n_items]`."""
        return best_scores(self.embed(queries), self.vectors)
