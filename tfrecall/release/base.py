"""Parts that releases of all kinds hold, and the protocol of those that recommend."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import polars as pl

from tfrecall.core.manifests import restore
from tfrecall.core.results import Explanation, Recommendation, SimilarItems
from tfrecall.core.vocabulary import Vocabulary, item_row
from tfrecall.errors import DataError, MissingColumnError, ReleaseError, UnsupportedError, nearest
from tfrecall.index.repeats import Repeats
from tfrecall.index.search import Hits
from tfrecall.release.users import Query, QueryBatch, UserStore

# The list of a query that repeats and baselines weigh.
REPEATED = "history"
_LISTS = (list, tuple, set, frozenset, np.ndarray, pl.Series)
# Items of a list: ids, scores, and the columns wanted.
Listed = tuple[list[str], list[float], list[dict[str, Any]]]


@runtime_checkable
class Recommender(Protocol):
    """Anything that gives lists of items to queries: releases of retrievers, baselines and pipelines."""

    @property
    def name(self) -> str:
        """The model's name in tables."""
        ...

    @property
    def item_ids(self) -> np.ndarray:
        """Object array of `str` `[n]`, the catalogue."""
        ...

    def recommend(self, queries: Sequence[Query], k: int = 10) -> list[Recommendation]:
        """The best `k` items for each query."""
        ...

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the whole catalogue for a table of queries: float32 `[n_queries, n_items]`."""
        ...


class Items:
    """Items of a release in catalogue order.

    Args:
        ids: object array of `str` `[n]`, distinct.
        read: gives the item table, `item_id` first; called when a column is first asked for.
    """

    def __init__(self, ids: np.ndarray, read: Callable[[], pl.DataFrame]) -> None:
        self.ids = ids
        self.vocabulary = Vocabulary(ids.tolist())
        self._read = read

    @classmethod
    def load(cls, directory: Path, ids: np.ndarray | None = None) -> "Items":
        """Opens `items.parquet` of a directory.

        Args:
            directory: the part `context` of a release.
            ids: the catalogue that the table must be in step with; None to take it from the table.

        Raises:
            ReleaseError: if ids are not distinct, or the table is needed and cannot be read.
        """
        file = directory / "items.parquet"
        if ids is None:
            table = _read_items(file)
            ids = np.array(table["item_id"].to_list(), dtype=object)
            return cls(ids, lambda: table)
        catalogue = ids
        return restore(str(file), lambda: cls(catalogue, lambda: _read_items(file, catalogue)))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def table(self) -> pl.DataFrame:
        """The item table, in catalogue order, `item_id` first."""
        return self._read()

    def row(self, item_id: str) -> int:
        """The row of an item in the catalogue.

        Raises:
            DataError: if it is not there, with the nearest id.
        """
        return item_row(self.vocabulary, item_id)

    def rows(self, item_ids: Sequence[str]) -> np.ndarray:
        """Rows of items: int64 `[n]`, -1 for an item outside the catalogue.

        Raises:
            DataError: if they are no list of strings.
        """
        if not isinstance(item_ids, _LISTS) or not all(isinstance(item, str) for item in item_ids):
            raise DataError(
                f"A list of item ids, which are strings, is wanted. Received: {item_ids!r}."
            )
        return np.array([self.vocabulary.row(item) for item in item_ids], dtype=np.int64)

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raises a `MissingColumnError` if the table lacks one of them."""
        for column in [columns] if isinstance(columns, str) else columns:
            if column not in self.table.columns:
                raise MissingColumnError(
                    f'The item table has no column "{column}".{nearest(column, self.table.columns)} '
                    f"It has: {', '.join(self.table.columns)}."
                )

    def listed(self, hits: Hits, query: int, columns: Sequence[str] = ()) -> Listed:
        """Ids, scores and columns of the items that a search found for one query."""
        found = hits.rows[query] >= 0
        rows, scores = hits.rows[query][found], hits.scores[query][found]
        return self.ids[rows].tolist(), scores.tolist(), self.columns(rows, columns)

    def columns(self, rows: np.ndarray, columns: Sequence[str]) -> list[dict[str, Any]]:
        """One dictionary an item with the columns wanted; none if there are none."""
        return self.table[rows.tolist()].select(columns).to_dicts() if len(columns) else []


def _read_items(file: Path, item_ids: np.ndarray | None = None) -> pl.DataFrame:
    """Reads an item table and checks that it is that of a catalogue."""
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


# Methods of version 0.4.0 that are functions now.
_MOVED = {
    "recommend_all": "`release.recommend_all(...)` is `tfrecall.batch.recommend_all(release, ...)`."
}


class Release:
    """A loaded release, of any kind. Made by `tfrecall.load`.

    Attributes:
        root: the release directory.
        manifest: facts of the version.
        users: features and histories of its users.
        catalogue: its items.
        needs_tensorflow: whether answering takes an exported model.
    """

    needs_tensorflow: ClassVar[bool] = True
    # Abilities of other kinds, with the sentence that says what to do instead.
    lacks: ClassVar[dict[str, str]] = {}

    def __init__(
        self, root: Path, manifest: dict[str, Any], users: UserStore, catalogue: Items
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.users = users
        self.catalogue = catalogue

    def __getattr__(self, name: str) -> Any:
        # Called for what is not there, so a release has exactly the abilities of its kind (`hasattr`).
        sentence = _MOVED.get(name) or type(self).lacks.get(name)
        if sentence is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise UnsupportedError(sentence.format(root=self.root, name=self.name))

    @property
    def name(self) -> str:
        """The name of the model in tables."""
        return self.manifest["model"]["name"]

    @property
    def version(self) -> int:
        """The number of the version, from 1."""
        return self.manifest["version"]

    @property
    def item_ids(self) -> np.ndarray:
        """Object array of `str` `[n]`, in catalogue order."""
        return self.catalogue.ids

    @property
    def items(self) -> pl.DataFrame:
        """The item table, in catalogue order, `item_id` first."""
        return self.catalogue.table

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raises a `MissingColumnError` if the item table lacks one of them."""
        self.catalogue.check_columns(columns)

    def part(self, part: str) -> Path:
        """The directory of a part of this version, such as `index`."""
        return self.root / part / str(self.version)


class RecommendingRelease(Release, ABC):
    """A release that recommends by one search over its catalogue.

    Attributes:
        repeats: how its users come back to items; None if they do not.
        exclude_seen: whether lists leave out seen items by default.
    """

    repeats: Repeats | None = None

    def __init__(
        self, root: Path, manifest: dict[str, Any], users: UserStore, catalogue: Items
    ) -> None:
        super().__init__(root, manifest, users, catalogue)
        self.exclude_seen: bool = manifest.get("exclude_seen", True)

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
        check_queries(queries)
        self.check_columns(columns)
        asked, hits = self.find(
            queries, k, exclude=exclude, exclude_seen=exclude_seen, allow=allow, index=index
        )
        return [
            Recommendation(user_id, bool(known), *self.catalogue.listed(hits, i, columns), missing)
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
    ) -> tuple[QueryBatch, Hits]:
        """The lists of `recommend` in arrays: the completed queries, and rows of the catalogue."""
        asked = self.users.build_queries(queries)
        hits = self.search(
            asked, k, exclude=exclude, exclude_seen=exclude_seen, allow=allow, index=index
        )
        return asked, hits

    @abstractmethod
    def search(
        self,
        asked: QueryBatch,
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool | None = None,
        allow: Sequence[str] | None = None,
        index: str | None = None,
    ) -> Hits:
        """The lists of queries that were completed already (`UserStore.build_queries`)."""

    @abstractmethod
    def similar_items(
        self, item_id: str, k: int = 10, *, index: str | None = None, columns: Sequence[str] = ()
    ) -> SimilarItems:
        """The items most similar to an item, without itself.

        Raises:
            DataError: if the item is not in the catalogue.
        """

    def explain(self, query: Query, item_id: str) -> Explanation:
        """Why the user of a query gets an item with its score.

        Of a baseline: what each item that the user had adds to it. Of towers: how much the score falls
        if an item that the user had is taken away, or a feature; see `Explanation.additive` and
        `tfrecall.release.explanation.LeaveOneOut`. Only items of the catalogue are reasons, and of long lists
        those that count. Of several interests the best one scores, which may be another one as
        something goes. With `repeats` an item goes from what they weigh, too.

        Args:
            query: as `recommend` takes it.
            item_id: any item of the catalogue, whether it would be recommended or not.

        Raises:
            DataError: if the query cannot be used, or the item is not in the catalogue.
        """
        return self.explanations(query, [item_id])[0]

    @abstractmethod
    def explanations(self, query: Query, item_ids: Sequence[str]) -> list[Explanation]:
        """Explanations of several items for one query, at the price of one."""

    @abstractmethod
    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the whole catalogue, so that a release can be evaluated like a model."""

    def _barred(
        self, asked: QueryBatch, exclude: Sequence[str], exclude_seen: bool | None
    ) -> list[np.ndarray]:
        """Catalogue rows that each query does not get: excluded, and if wanted seen or given ones."""
        barred = self.catalogue.rows(exclude)
        if not (self.exclude_seen if exclude_seen is None else exclude_seen):
            return [barred] * len(asked.users)
        return [
            np.concatenate([barred, self.users.seen(user), *map(self.catalogue.rows, lists.values())])
            for user, lists in zip(asked.users, asked.lists, strict=True)
        ]


def check_queries(queries: Sequence[Query]) -> None:
    """Raises a `DataError` if queries are no list, such as a single user id."""
    if not isinstance(queries, _LISTS):
        raise DataError(f"`queries` is a list of user ids or dictionaries. Received: {queries!r}.")
