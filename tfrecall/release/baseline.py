"""Answers from the release of a baseline: what users had, and a scorer. Needs no TensorFlow."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.manifests import restore
from tfrecall.core.results import Explanation, SimilarItems
from tfrecall.errors import ConfigError, ReleaseError
from tfrecall.index.bundle import Bundle
from tfrecall.index.history import Answers, HistoryWeights, QueryHistories
from tfrecall.index.scorers import Constant, Factors, Neighbours, Scorer, UserNeighbours
from tfrecall.index.search import Hits
from tfrecall.release.retriever import REPEATED, Release, read_items
from tfrecall.release.users import Asked, People, Query

# What the manifest calls a release of a model that answers from what users had.
KIND = "baseline"
# When each of `seen_items.npy` was had, in seconds.
TIMES = "seen_times.npy"


def scorer_file(directory: Path, name: str) -> Path:
    """Where an array of the scorer lies."""
    return directory / f"{name}.npy"


_SCORERS: dict[str, type[Scorer]] = {
    scorer.kind: scorer for scorer in (Neighbours, Constant, UserNeighbours, Factors)
}


class BaselineRelease(Release):
    """A loaded release of a model that answers from what a user had. Made by `tfrecall.release.load`.

    It is asked like any other release; a query is a user id, or a dictionary with `user_id`, `history`
    or both. There is no index to choose, and there are no vectors. Items of score 0 are left out of
    lists, see `Answers.search`.

    Attributes:
        answers: what scores, ranks and explains.
    """

    needs_tensorflow = False

    def __init__(self, root: Path, manifest: dict[str, Any]) -> None:
        self.root = root
        self.manifest = manifest
        self.repeats = None
        self.exclude_seen: bool = manifest.get("exclude_seen", True)
        self.people = self._people()
        self.answers = self._answers()
        self._times = _array(self._part("context") / TIMES)
        if self._times.shape != self.people.seen_items.shape:
            raise ReleaseError(
                f"{self._part('context') / TIMES} is foreign: it holds times of other events. Save again."
            )
        self._rows = {item: row for row, item in enumerate(self.item_ids)}

    def _people(self) -> People:
        query = self.manifest["query"]
        context = self._part("context")
        ids = np.array(self.items["item_id"].to_list(), dtype=object)
        return People.load(
            context, query["forms"], query["defaults"], item_ids=ids, item_lists=[REPEATED]
        )

    def _answers(self) -> Answers:
        told, part = self.manifest["scorer"], self._part("scorer")
        if told["kind"] not in _SCORERS:
            raise ReleaseError(
                f"{self.root} is scored by {told['kind']!r}, which this version of tfrecall does not "
                f"know. It knows: {', '.join(_SCORERS)}. Use the version that wrote it."
            )
        arrays = {name: _array(scorer_file(part, name)) for name in told["arrays"]}
        place = f"{self.root / 'manifest.json'}, scorer"
        scorer = restore(place, lambda: _SCORERS[told["kind"]].restored(arrays, told["facts"]))
        weights = restore(f"{place}.weights", lambda: HistoryWeights(**told["weights"]))
        ids = np.array(self.items["item_id"].to_list(), dtype=object)
        return Answers(ids, weights, scorer)

    @cached_property
    def items(self) -> pl.DataFrame:
        """The item table, in catalogue order, `item_id` first."""
        return read_items(self._part("context") / "items.parquet")

    @property
    def item_ids(self) -> np.ndarray:
        return self.answers.item_ids

    @property
    def bundle(self) -> Bundle:
        """There is none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"{self.root} is the release of a baseline ({self.name}): it has no vectors and no index. "
            "Ask it for recommendations, similar items or scores."
        )

    def search(
        self,
        asked: Asked,
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool | None = None,
        allow: Sequence[str] | None = None,
        index: str | None = None,
    ) -> Hits:
        """As `Release.search`."""
        if index not in (None, "exact"):
            raise ConfigError(
                f'A baseline scores every item, so there is no index "{index}". Leave it out.'
            )
        barred = self._known_rows(exclude)
        allowed = None if allow is None else self._known_rows(allow)
        had = self._had(asked)
        if exclude_seen is None:
            exclude_seen = self.exclude_seen
        rows = [
            np.concatenate([barred, self.people.seen(user), had.list(query)])
            if exclude_seen
            else barred
            for query, user in enumerate(asked.users)
        ]
        return self.answers.search(had, k, rows, allowed)

    def explanations(self, query: Query, item_ids: Sequence[str]) -> list[Explanation]:
        """As `Release.explanations`."""
        asked = self.people.ask([query])
        had, rows = self._had(asked), [self._row(item_id) for item_id in item_ids]
        return [self.answers.explain(had, asked.user_ids[0], row) for row in rows]

    def similar_items(
        self, item_id: str, k: int = 10, *, index: str | None = None, columns: Sequence[str] = ()
    ) -> SimilarItems:
        """As `Release.similar_items`, by what the model takes for similar."""
        row = self._row(item_id)
        self.check_columns(columns)
        return SimilarItems(item_id, *self._items(self.answers.similar(row, k), 0, columns))

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """As `Release.scores`, as of the end of the training data."""
        users = self.people.users(queries["user_id"].to_list())
        return self.answers.scores(self._of_users(users))

    def _had(self, asked: Asked) -> QueryHistories:
        """What the queries say that was had, or else what is known of their users."""
        given = [lists.get(REPEATED) for lists in asked.lists]
        if all(ids is None for ids in given):
            return self._of_users(asked.users)
        known = self._of_users(asked.users)
        lists = [
            np.asarray(known.list(query)) if ids is None else self._known_rows(ids)
            for query, ids in enumerate(given)
        ]
        times = [
            self._times[known.starts[query] : known.ends[query]] if ids is None else np.zeros(len(ids))
            for query, ids in enumerate(given)
        ]
        return QueryHistories.of_lists(asked.users, lists, times)

    def _of_users(self, users: np.ndarray) -> QueryHistories:
        offsets = np.asarray(self.people.seen_offsets)
        starts, ends = (np.where(users < 0, 0, offsets[users + shift]) for shift in (0, 1))
        return QueryHistories(users, starts, ends, np.asarray(self.people.seen_items), self._times)


def _array(file: Path) -> np.ndarray:
    """A file mapped into memory, so that processes on one machine share it."""
    try:
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{file} cannot be read: {error}. Save the model again.") from error
