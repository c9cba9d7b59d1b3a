"""Release of a baseline: histories of users and a scorer. Needs no TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from tfrecall.core.manifests import restore
from tfrecall.core.results import Explanation
from tfrecall.errors import ConfigError, ReleaseError
from tfrecall.index.history import Answers, HistoryWeights, QueryHistories
from tfrecall.index.scorers import Constant, Factors, Neighbours, Own, Scorer, UserNeighbours
from tfrecall.index.search import Hits, ItemScore
from tfrecall.index.shared_users import SharedUsers
from tfrecall.release.base import REPEATED, Items, RecommendingRelease
from tfrecall.release.parts import TIMES
from tfrecall.release.users import Query, QueryBatch, UserStore

# `kind` of a baseline in the manifest.
KIND = "baseline"


def scorer_file(directory: Path, name: str) -> Path:
    """Path of an array of the scorer."""
    return directory / f"{name}.npy"


_SCORERS: dict[str, type[Scorer]] = {
    scorer.kind: scorer for scorer in (Neighbours, SharedUsers, Constant, Own, UserNeighbours, Factors)
}


class BaselineRelease(RecommendingRelease):
    """A loaded release of a baseline, which scores from the history of a user. Made by `tfrecall.load`.

    A query is a user id, or a dictionary with `user_id`, `history` or both. There is no
    index to choose, and there are no vectors. Items of score 0 are left out of lists: they have nothing in
    common with the history.

    Attributes:
        root: the release directory.
        manifest: facts of the version.
        users: ids and histories of its users.
        catalogue: its items.
        exclude_seen: whether lists leave out seen items by default.
        answers: the scorer, with search and explanations.
    """

    needs_tensorflow = False
    lacks: ClassVar[dict[str, str]] = dict.fromkeys(
        ("bundle", "embed", "embed_queries", "interests", "explained"),
        "{root} is the release of a baseline ({name}): it has no vectors and no index. Ask it for "
        "recommendations, similar items or scores.",
    )

    def __init__(
        self,
        root: Path,
        manifest: dict[str, Any],
        users: UserStore,
        catalogue: Items,
        answers: Answers,
        times: np.ndarray,
    ) -> None:
        super().__init__(root, manifest, users, catalogue)
        self.answers = answers
        self._times = times

    @classmethod
    def load(cls, root: Path, manifest: dict[str, Any]) -> "BaselineRelease":
        """Open the parts of a version whose files were checked.

        Raises:
            ReleaseError: naming a part that is damaged or foreign.
        """
        query, context = manifest["query"], root / "context" / str(manifest["version"])
        catalogue = Items.load(context)
        users = UserStore.load(
            context,
            query["forms"],
            query["defaults"],
            item_ids=catalogue.ids,
            item_lists=[REPEATED],
        )
        times = _array(context / TIMES)
        if times.shape != users.seen_items.shape:
            raise ReleaseError(
                f"{context / TIMES} is foreign: it holds times of other events. Save the model again."
            )
        return cls(root, manifest, users, catalogue, _answers(root, manifest, catalogue), times)

    def search(
        self,
        asked: QueryBatch,
        k: int,
        barred: Sequence[np.ndarray],
        *,
        allow: Sequence[str] | None = None,
        index: str | None = None,
    ) -> Hits:
        """The lists of queries that were completed already (`UserStore.build_queries`)."""
        if index not in (None, "exact"):
            raise ConfigError(
                f'A baseline scores every item, so there is no index "{index}". Leave it out.'
            )
        allowed = None if allow is None else self.catalogue.rows(allow)
        return self.answers.search(self._had(asked), k, barred, allowed)

    def explanations(self, query: Query, item_ids: Sequence[str]) -> list[Explanation]:
        """Explanations of several items for one query: the contribution of each item of the history."""
        asked = self.users.build_queries([query])
        had, rows = self._had(asked), [self.catalogue.row(item_id) for item_id in item_ids]
        return [self.answers.explain(had, asked.user_ids[0], row) for row in rows]

    def similar(
        self, row: int, k: int = 10, *, score: ItemScore | None = None, index: str | None = None
    ) -> Hits:
        """The list of `similar_items` in arrays, by the model's own measure.

        Raises:
            ConfigError: if a `score` of vectors is asked for.
        """
        if score is not None:
            raise ConfigError(
                f"{self.root} is the release of a baseline, which compares items by its own measure: it has no "
                f"vectors with a cosine or an inner product. Received: score={score!r}. Leave `score` out."
            )
        return self.answers.similar(row, k)

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the whole catalogue, from histories at the end of training: float32 `[n, n_items]`."""
        users = self.users.rows_of(queries["user_id"].to_list())
        return self.answers.scores(self._of_users(users))

    def _had(self, asked: QueryBatch) -> QueryHistories:
        """Histories of queries: the given ones, otherwise the stored ones of their users."""
        # Stored histories stay slices of one memory-mapped array; a copy is made only for a batch in
        # which some query gives its own list.
        given = [lists.get(REPEATED) for lists in asked.lists]
        if all(ids is None for ids in given):
            return self._of_users(asked.users)
        known = self._of_users(asked.users)
        lists = [
            np.asarray(known.list(query)) if ids is None else self.catalogue.rows(ids)
            for query, ids in enumerate(given)
        ]
        times = [
            # Given lists carry no times. Equal times keep their order, oldest first, in any decay by time.
            self._times[known.starts[query] : known.ends[query]] if ids is None else np.zeros(len(ids))
            for query, ids in enumerate(given)
        ]
        return QueryHistories.of_lists(asked.users, lists, times)

    def _of_users(self, users: np.ndarray) -> QueryHistories:
        offsets = np.asarray(self.users.seen_offsets)
        # Unknown users (-1) get the empty slice 0:0. Their `users + shift` is still a valid index, -1 or 0,
        # and `np.where` drops what it picks.
        starts, ends = (np.where(users < 0, 0, offsets[users + shift]) for shift in (0, 1))
        return QueryHistories(users, starts, ends, np.asarray(self.users.seen_items), self._times)


def _answers(root: Path, manifest: dict[str, Any], catalogue: Items) -> Answers:
    facts, part = manifest["scorer"], root / "scorer" / str(manifest["version"])
    if facts["kind"] not in _SCORERS:
        raise ReleaseError(
            f"{root} is scored by {facts['kind']!r}, which this version of tfrecall does not know. It knows: "
            f"{', '.join(_SCORERS)}. Use the version that wrote it."
        )
    arrays = {name: _array(scorer_file(part, name)) for name in facts["arrays"]}
    place = f"{root / 'manifest.json'}, scorer"
    scorer = restore(place, lambda: _SCORERS[facts["kind"]].restored(arrays, facts["facts"]))
    weights = restore(f"{place}.weights", lambda: HistoryWeights(**facts["weights"]))
    return Answers(catalogue.ids, weights, scorer)


def _array(file: Path) -> np.ndarray:
    """A file mapped into memory, so that processes on one machine share it."""
    try:
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{file} cannot be read: {error}. Save the model again.") from error
