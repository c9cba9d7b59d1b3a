"""Releases as retrievers and predictors, so that they can be evaluated like models."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from tfrecall.core.results import Explanation
from tfrecall.core.seen import Seen
from tfrecall.data.interactions import Interactions
from tfrecall.release.base import Release
from tfrecall.release.pipeline import BasePipeline
from tfrecall.release.ranker import RankerRelease


@dataclass(frozen=True, eq=False)
class ReleaseRanker:
    """Predictions of an exported ranker for the rows of a log.

    Attributes:
        name: name of the ranker in tables.
        release: the loaded release.
    """

    name: str
    release: RankerRelease

    def predictions(self, rows: Interactions) -> np.ndarray:
        """Predicts each row: float32 `[n_rows]`."""
        return self.release.predictions(rows.queries)


@dataclass(frozen=True, eq=False)
class ReleaseRetriever:
    """Scores of an exported retriever, under a chosen name.

    Attributes:
        name: name of the release in tables; two releases of one recipe have the same name themselves.
        release: the loaded release.
    """

    name: str
    release: Release

    @property
    def item_ids(self) -> np.ndarray:
        return self.release.item_ids

    @property
    def vectors(self) -> np.ndarray:
        """Candidate vectors: float32 `[n, embedding_dim]`."""
        return np.asarray(self.release.bundle.exact.vectors)

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores all items for each query: float32 `[n_queries, n_items]`."""
        return self.release.scores(queries)

    def explanations(self, query: pl.DataFrame, rows: np.ndarray) -> list[Explanation]:
        """Explains the scores of items, rows of the catalogue, for one row of a table of queries."""
        people, user = self.release.users, query["user_id"][0]
        past = np.asarray(people.seen(int(people.rows_of([user])[0])), np.int64)
        repeats = self.release.repeats
        # Only `repeats` weigh these events; towers read histories from the query.
        past = past[len(past) :] if repeats is None else past[-repeats.length :]
        return self.release.explained(user, people.of_table(query), past, rows)


@dataclass(frozen=True, eq=False)
class PipelineRetriever(ReleaseRetriever):
    """Scores of an exported pipeline, under a chosen name, with the candidates of each rule."""

    def under(self, rule: Seen) -> ReleaseRetriever:
        """The pipeline as it answers with seen items kept, or removed."""
        return ReleaseRetriever(self.name, cast(BasePipeline, self.release).under(rule))


def retriever_of(name: str, release: Release) -> ReleaseRetriever:
    """Makes a release a retriever, so that it can be evaluated like a model."""
    kind = PipelineRetriever if isinstance(release, BasePipeline) else ReleaseRetriever
    return kind(name, release)
