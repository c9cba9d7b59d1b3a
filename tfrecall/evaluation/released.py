"""A release behind the protocol of evaluation."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrecall.core.results import Explanation
from tfrecall.data.interactions import Interactions
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.retriever import Release


@dataclass(frozen=True, eq=False)
class ReleaseRanker:
    """Scores of the rows of a log as the exported ranker gives them.

    Attributes:
        name: what tables call it.
        release: what is asked.
    """

    name: str
    release: RankerRelease

    def predictions(self, rows: Interactions) -> np.ndarray:
        """Of each row: float32 `[n_rows]`."""
        return self.release.predictions(rows.queries)


@dataclass(frozen=True, eq=False)
class ReleaseRetriever:
    """Scores as the exported model gives them, under a name of one's own.

    Attributes:
        name: what tables call it; two releases of one recipe have the same name themselves.
        release: what is asked.
    """

    name: str
    release: Release

    @property
    def item_ids(self) -> np.ndarray:
        return self.release.item_ids

    @property
    def vectors(self) -> np.ndarray:
        """Of the candidates: float32 `[n, embedding_dim]`."""
        return np.asarray(self.release.bundle.exact.vectors)

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """See `Retriever.scores`."""
        return self.release.scores(queries)

    def explanations(self, query: pl.DataFrame, rows: np.ndarray) -> list[Explanation]:
        """Why one row of a table of queries gets some items, rows of the catalogue."""
        people, user = self.release.people, query["user_id"][0]
        past = np.asarray(people.seen(int(people.users([user])[0])), np.int64)
        repeats = self.release.repeats
        past = past[len(past) :] if repeats is None else past[-repeats.length :]
        return self.release.explained(user, people.of_table(query), past, rows)
