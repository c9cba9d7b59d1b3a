"""Answers from a release: recommendations for users, similar items for items."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tfrecall.core.manifests import restore
from tfrecall.core.results import Explanation, Recommendation, SimilarItems
from tfrecall.core.top_k import best_scores
from tfrecall.errors import DataError, MissingColumnError, ReleaseError, nearest
from tfrecall.index.bundle import Bundle
from tfrecall.index.repeats import Repeats, search_with_repeats
from tfrecall.index.search import Hits
from tfrecall.release.explanation import LeftOut, explained, listed
from tfrecall.release.users import Asked, People, Query

if TYPE_CHECKING:
    from tfrecall.batch.recommend import Bulk

# What a query calls the list of items that `repeats` weigh.
REPEATED = "history"
_LISTS = (list, tuple, set, frozenset, np.ndarray, pl.Series)


class Release:
    """A loaded release. Made by `tfrecall.release.load`.

    Attributes:
        root: the release directory.
        manifest: what the release says of itself.
        people: its users.
        repeats: how its users come back to what they had; None if they do not.
        exclude_seen: whether it leaves out what users had, if it is not asked otherwise.
        needs_tensorflow: whether recommending takes an exported model.
    """

    needs_tensorflow = True

    def __init__(self, root: Path, manifest: dict[str, Any], bundle: Bundle) -> None:
        self.root = root
        self.manifest = manifest
        self._bundle = bundle
        told = manifest.get("repeats")
        place = f"{root / 'manifest.json'}, repeats"
        self.repeats = restore(place, lambda: Repeats(**told)) if told else None
        self.people = self._people()
        self.exclude_seen: bool = manifest.get("exclude_seen", True)
        self._rows = {item: row for row, item in enumerate(self.item_ids)}

    def _people(self) -> People:
        query, told = self.manifest["query"], self.manifest.get("histories", {})
        return People.load(
            self._part("context"),
            query["forms"],
            query["defaults"],
            {name: history["history_length"] for name, history in told.items()},
            self.item_ids,
            [REPEATED] if self.repeats else [],
            {name: history["context"] for name, history in told.items() if history.get("context")},
        )

    @property
    def bundle(self) -> Bundle:
        """Its indexes."""
        return self._bundle

    @property
    def name(self) -> str:
        """The name of the model, as tables call it."""
        return self.manifest["model"]["name"]

    @property
    def version(self) -> int:
        return self.manifest["version"]

    @property
    def interests(self) -> int:
        """How many vectors a query has; the best of them scores an item."""
        return self.manifest["model"].get("interests", 1)

    @property
    def item_ids(self) -> np.ndarray:
        """Object array of `str` `[n]`, in catalogue order."""
        return self.bundle.exact.ids

    @cached_property
    def _query_model(self) -> "_SavedTower":
        """Loaded when first asked: similar items, for one, do without TensorFlow."""
        return _SavedTower(self._part("query"))

    @cached_property
    def items(self) -> pl.DataFrame:
        """The item table, in catalogue order, `item_id` first."""
        return read_items(self._part("context") / "items.parquet", self.item_ids)

    def recommend(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool | None = None,
        allow: Sequence[str] | None = None,
        index: str | None = None,
        columns: Sequence[str] = (),
    ) -> list[Recommendation]:
        """The best `k` items for each query.

        A known user is answered as of the user's last event in the training data, unless the query
        says otherwise: what the user had is known up to that event, and with it.

        Args:
            queries: user ids, or dictionaries of features (see `forms` in the manifest). Histories are
                lists of item ids, oldest first, in place of what is known of a user, or of somebody
                never seen: `{"history": ["a", "b"]}`. Unknown ids count for nothing; of a long list the
                newest count; None is the empty list. A release with `repeats` takes `history`, too. What
                its model takes of the context of these events may stand beside, one value an id, None
                or nothing at all where it is not known: `"history_rating": [5, None]`.
            k: from 1 to the size of the catalogue.
            exclude: ids that nobody shall get; ids that are not in the catalogue are ignored.
            exclude_seen: whether users do not get what they had in the training data or what the lists
                of their query hold; None for what the release was made for (`exclude_seen` in its
                manifest).
            allow: the only ids that anybody may get, of which those outside the catalogue are ignored;
                None for all.
            index: `exact` or `annoy`; None for the bundle's default, which is exact search below
                50,000 items.
            columns: columns of the item table wanted with each item.

        Raises:
            ConfigError: if `k`, the index or a column is impossible.
            DataError: if a query cannot be used.
        """
        self._check_queries(queries)
        self.check_columns(columns)
        asked, hits = self.find(
            queries, k, exclude=exclude, exclude_seen=exclude_seen, allow=allow, index=index
        )
        return [
            Recommendation(user_id, bool(known), *self._items(hits, i, columns), missing)
            for i, (user_id, known, missing) in enumerate(
                zip(asked.user_ids, asked.known, asked.defaulted, strict=True)
            )
        ]

    def find(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool | None = None,
        allow: Sequence[str] | None = None,
        index: str | None = None,
    ) -> tuple[Asked, Hits]:
        """As `recommend`, in arrays: rows of the catalogue instead of ids and items."""
        asked = self.people.ask(queries)
        hits = self.search(
            asked, k, exclude=exclude, exclude_seen=exclude_seen, allow=allow, index=index
        )
        return asked, hits

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
        """As `find`, of queries that were completed already (`people.ask`)."""
        search = self.bundle.index(index)
        if exclude_seen is None:
            exclude_seen = self.exclude_seen
        barred = self._known_rows(exclude)
        allowed = None if allow is None else self._known_rows(allow)
        if not len(asked.users):
            return Hits(np.empty((0, 0), np.int32), np.empty((0, 0), np.float32))
        seen = [self.people.seen(user) for user in asked.users]
        given = [{name: self._known_rows(ids) for name, ids in lists.items()} for lists in asked.lists]
        past = [lists.get(REPEATED, had) for lists, had in zip(given, seen, strict=True)]
        rows = [
            np.concatenate([barred, had, *lists.values()]) if exclude_seen else barred
            for lists, had in zip(given, seen, strict=True)
        ]
        vectors = self.embed(asked.features)
        return search_with_repeats(
            search, self.bundle.exact, vectors, k, rows, allowed, self.repeats, past
        )

    def recommend_all(
        self,
        users: Iterable[str] | None = None,
        k: int = 10,
        out: str | Path = "recommendations.parquet",
        **options: Any,
    ) -> "Bulk":
        """The best items for many users, as a Parquet file; see `tfrecall.batch.recommend`."""
        from tfrecall.batch.recommend import recommend_all  # pyarrow, which only files need

        return recommend_all(self, users, k, out, **options)

    def similar_items(
        self, item_id: str, k: int = 10, *, index: str | None = None, columns: Sequence[str] = ()
    ) -> SimilarItems:
        """The items whose vectors have the largest inner product with the item's, without itself.

        Raises:
            DataError: if the item is not in the catalogue.
        """
        row = self._row(item_id)
        self.check_columns(columns)
        vector = np.asarray(self.bundle.exact.vectors[row : row + 1])
        hits = self.bundle.index(index).search(vector, k, exclude=[np.array([row])])
        return SimilarItems(item_id, *self._items(hits, 0, columns))

    def explain(self, query: Query, item_id: str) -> Explanation:
        """Why the user of a query gets an item with its score.

        Of a baseline: what each item that the user had adds to it. Of towers: how much the score falls
        if an item that the user had is taken away, or a feature; see `Explanation.additive` and
        `tfrecall.release.explanation.LeftOut`. Only items of the catalogue are reasons, and of long lists
        those that count. Of several interests the best one scores, which may be another one as
        something goes. With `repeats` an item goes from what they weigh, too.

        Args:
            query: as `recommend` takes it.
            item_id: any item of the catalogue, whether it would be recommended or not.

        Raises:
            DataError: if the query cannot be used, or the item is not in the catalogue.
        """
        return self.explanations(query, [item_id])[0]

    def explanations(self, query: Query, item_ids: Sequence[str]) -> list[Explanation]:
        """As `explain` for several items, at the price of one."""
        asked = self.people.ask([query])
        rows = [self._row(item_id) for item_id in item_ids]
        if not rows:
            return []
        past = np.empty(0, np.int64)
        if self.repeats is not None:
            given = asked.lists[0].get(REPEATED)
            had = self.people.seen(asked.users[0]) if given is None else self._known_rows(given)
            past = np.asarray(had, np.int64)[-self.repeats.length :]
        return self.explained(asked.user_ids[0], asked.features, past, np.array(rows))

    def explained(
        self,
        user_id: str | None,
        features: Mapping[str, np.ndarray],
        past: np.ndarray,
        rows: np.ndarray,
    ) -> list[Explanation]:
        """As `explanations`, in arrays.

        Args:
            user_id: who asks.
            features: one row, as `embed` takes it.
            past: catalogue rows that `repeats` weigh, oldest first; none without.
            rows: of the items.
        """
        histories = self.people.histories
        lists = listed(self.people, features, self._rows)
        own = {column: row for column, row in features.items() if column not in histories}
        variants = LeftOut.of(lists, own, self.people.defaults, past)
        length = max((history.length for history in histories.values()), default=1)
        queries = variants.embedded(self.embed, length)
        vectors = self.bundle.exact.vectors
        return explained(user_id, self.item_ids, rows, variants, queries, vectors, self.repeats)

    def embed(self, features: dict[str, np.ndarray]) -> np.ndarray:
        """Raw features to query vectors, by the exported model: float32 `[n, embedding_dim]`.

        Of a model with `interests` > 1 in its manifest `[n, interests, embedding_dim]`.
        """
        return self._query_model(features)

    def embed_queries(self, queries: pl.DataFrame) -> np.ndarray:
        """A table of queries (`Interactions.queries`) to vectors, as `embed` gives them.

        Histories that the table does not hold are what users had at the end of the training data, not at
        the time of each row: rows to be judged by should come later.
        """
        return self.embed(self.people.of_table(queries))

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the whole catalogue, so that a release can be evaluated like a model.

        What users had is that of the end of the training data, see `embed_queries`.
        """
        scores = best_scores(self.embed_queries(queries), self.bundle.exact.vectors)
        if self.repeats is None:
            return scores
        users = self.people.users(queries["user_id"].to_list())
        return self.repeats.apply(scores, [self.people.seen(user) for user in users])

    @staticmethod
    def _check_queries(queries: Sequence[Query]) -> None:
        if not isinstance(queries, _LISTS):
            raise DataError(f"`queries` is a list of user ids or dictionaries. Received: {queries!r}.")

    def _part(self, part: str) -> Path:
        return self.root / part / str(self.version)

    def _row(self, item_id: str) -> int:
        if item_id not in self._rows:
            raise DataError(
                f'There is no item "{item_id}" in the catalogue of {len(self._rows)} items.'
                f"{nearest(str(item_id), self._rows)}"
            )
        return self._rows[item_id]

    def _known_rows(self, item_ids: Sequence[str]) -> np.ndarray:
        if not isinstance(item_ids, _LISTS) or not all(isinstance(item, str) for item in item_ids):
            raise DataError(
                f"A list of item ids, which are strings, is wanted. Received: {item_ids!r}."
            )
        return np.array([self._rows.get(item, -1) for item in item_ids], dtype=np.int64)

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raises a `MissingColumnError` if the item table lacks one of them."""
        for column in [columns] if isinstance(columns, str) else columns:
            if column not in self.items.columns:
                raise MissingColumnError(
                    f'The item table has no column "{column}".{nearest(column, self.items.columns)} '
                    f"It has: {', '.join(self.items.columns)}."
                )

    def _items(
        self, hits: Hits, i: int, columns: Sequence[str]
    ) -> tuple[list[str], list[float], list[dict[str, Any]]]:
        there = hits.rows[i] >= 0
        rows, scores = hits.rows[i][there], hits.scores[i][there]
        items = self.items[rows.tolist()].select(columns).to_dicts() if len(columns) else []
        return self.item_ids[rows].tolist(), scores.tolist(), items


def read_items(file: Path, item_ids: np.ndarray | None = None) -> pl.DataFrame:
    """Reads the item table of a release.

    Args:
        file: `items.parquet`.
        item_ids: the catalogue that it must be in step with; None to take it from the table.

    Raises:
        ReleaseError: if it cannot be read, has no texts in `item_id`, or is of another catalogue.
    """
    try:
        table = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ReleaseError(f"{file} cannot be read: {error}. Export again.") from error
    ids = table["item_id"] if "item_id" in table.columns else pl.Series()
    if ids.dtype != pl.String or ids.null_count() or ids.n_unique() < len(ids):
        raise ReleaseError(f"{file} is foreign: it has no column `item_id` of distinct texts.")
    if item_ids is not None and ids.to_list() != item_ids.tolist():
        raise ReleaseError(f"{file} is foreign: its items are not those of the index. Export again.")
    return table


class _SavedTower:
    """The one signature of a tower's SavedModel, from arrays to an array."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf  # seconds, which only what asks a model has to spend

        self._constant = tf.constant
        try:
            self._model = tf.saved_model.load(str(path))
            self._signature = self._model.signatures["serving_default"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            raise ReleaseError(
                f"The SavedModel {path} cannot be loaded: {error}. Export again."
            ) from error
        (self._output,) = self._signature.structured_outputs

    def __call__(self, features: dict[str, np.ndarray]) -> np.ndarray:
        tensors = {name: self._constant(values) for name, values in features.items()}
        return self._signature(**tensors)[self._output].numpy()
