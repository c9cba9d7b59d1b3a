"""Base classes of all kinds of releases, and the protocol of the recommending ones."""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, overload, runtime_checkable

import numpy as np
import polars as pl

from tfrecall.core.columns import COLD, ITEM
from tfrecall.core.html import html_facts
from tfrecall.core.manifests import restore
from tfrecall.core.results import Explanation, Recommendation, Recommendations, SimilarItems
from tfrecall.core.titles import title_column, titles
from tfrecall.core.vocabulary import Vocabulary, item_row
from tfrecall.errors import DataError, MissingColumnError, ReleaseError, UnsupportedError, nearest
from tfrecall.index.repeats import Repeats
from tfrecall.index.search import Hits, ItemScore
from tfrecall.release.manifest import STATE
from tfrecall.release.users import Query, QueryBatch, UserStore

# Name of the query's list from which repeats and baselines compute their scores.
REPEATED = "history"
_LISTS = (list, tuple, set, frozenset, np.ndarray, pl.Series)
# Items of a list: ids, scores, and the requested columns.
Listed = tuple[list[str], list[float], list[dict[str, Any]]]


@runtime_checkable
class Recommender(Protocol):
    """Protocol of releases that recommend items for queries: retrievers, baselines and pipelines."""

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
        read: returns the item table, `item_id` first; called at the first use of a column.
    """

    def __init__(self, ids: np.ndarray, read: Callable[[], pl.DataFrame]) -> None:
        self.ids = ids
        self.vocabulary = Vocabulary(ids.tolist())
        self._read = read
        self._count_events: Callable[[], np.ndarray] | None = None

    @classmethod
    def load(cls, directory: Path, ids: np.ndarray | None = None) -> "Items":
        """Open `items.parquet` of a directory.

        Args:
            directory: the part `context` of a release.
            ids: the catalogue, whose order the table must have; None to take it from the table.

        Raises:
            ReleaseError: if the ids are not distinct, or the table cannot be read.
        """
        file = directory / "items.parquet"
        if ids is None:
            table = _read_items(file)
            ids = np.array(table["item_id"].to_list(), dtype=object)
            return cls(ids, lambda: table)
        # The catalogue is known from the index, so the table is read only when a column is requested:
        # recommendations of ids alone do without it.
        catalogue = ids
        return restore(str(file), lambda: cls(catalogue, lambda: _read_items(file, catalogue)))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def table(self) -> pl.DataFrame:
        """The item table, in catalogue order, `item_id` first."""
        return self._read()

    def count_events(self, count: Callable[[], np.ndarray]) -> None:
        """Take the function that counts the events of each item in training, for `cold`."""
        self._count_events = count

    @cached_property
    def shown(self) -> pl.DataFrame:
        """The item table with `cold`, whether an item had no event in training.

        A column of that name in the table itself stays; where no item has events, nothing is told apart, and
        there is no such column.
        """
        if self._count_events is None or COLD in self.table.columns:
            return self.table
        counts = self._count_events()
        return self.table.with_columns(pl.Series(COLD, counts == 0)) if counts.any() else self.table

    def row(self, item_id: str) -> int:
        """The row of an item in the catalogue.

        Raises:
            DataError: if the catalogue lacks the item, with the nearest id.
        """
        return item_row(self.vocabulary, item_id)

    def rows(self, item_ids: Sequence[str]) -> np.ndarray:
        """Rows of items: int64 `[n]`, -1 for an item outside the catalogue.

        Raises:
            DataError: if `item_ids` is not a list of strings.
        """
        if not isinstance(item_ids, _LISTS) or not all(isinstance(item, str) for item in item_ids):
            raise DataError(
                f"A list of item ids, which are strings, is wanted. Received: {item_ids!r}."
            )
        return np.array([self.vocabulary.row(item) for item in item_ids], dtype=np.int64)

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise a `MissingColumnError` if the table lacks one of them."""
        for column in [columns] if isinstance(columns, str) else columns:
            if column not in self.shown.columns:
                raise MissingColumnError(
                    f'The item table has no column "{column}".{nearest(column, self.shown.columns)} '
                    f"It has: {', '.join(self.table.columns)}."
                )

    def listed(self, hits: Hits, query: int, columns: Sequence[str] = ()) -> Listed:
        """Ids, scores and columns of the hits of one query."""
        # Short lists are padded with row -1, which NumPy would read as the last item.
        found = hits.rows[query] >= 0
        rows, scores = hits.rows[query][found], hits.scores[query][found]
        return self.ids[rows].tolist(), scores.tolist(), self.columns(rows, columns)

    def frame(self, answers: Recommendations, columns: Sequence[str] = ()) -> pl.DataFrame:
        """Recommendations as a frame, with columns of the item table."""
        names = [columns] if isinstance(columns, str) else columns
        wanted = [name for name in dict.fromkeys(names) if name != ITEM]
        return answers.frame(self.shown.select(ITEM, *wanted) if wanted else None)

    def columns(self, rows: np.ndarray, columns: Sequence[str]) -> list[dict[str, Any]]:
        """One dictionary of columns for each item; the empty list if no columns are requested."""
        return (
            self.shown[rows.tolist()].select(list(dict.fromkeys(columns))).to_dicts()
            if len(columns)
            else []
        )


def _read_items(file: Path, item_ids: np.ndarray | None = None) -> pl.DataFrame:
    """Read an item table and check it against the catalogue."""
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
        needs_tensorflow: whether recommendations run an exported model.
    """

    needs_tensorflow: ClassVar[bool] = True
    # Ability of another kind -> message with the alternative.
    lacks: ClassVar[dict[str, str]] = {}

    def __init__(
        self, root: Path, manifest: dict[str, Any], users: UserStore, catalogue: Items
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.users = users
        self.catalogue = catalogue
        catalogue.count_events(lambda: self.event_counts)

    def __getattr__(self, name: str) -> Any:
        # Python calls this for missing attributes only. UnsupportedError is an AttributeError too, so
        # `hasattr` tells the abilities of a kind, while a call says what to use instead.
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

    @property
    def title_column(self) -> str | None:
        """The column of the item table that names items for people; None without one."""
        return title_column(self.items, self.manifest.get("schema", {}).get("candidate", ()))

    def item_names(self) -> dict[str, str]:
        """The title of each item, its id without one."""
        names = titles(self.items, self.title_column).to_list()
        return dict(zip(self.item_ids.tolist(), names, strict=True))

    def _repr_html_(self) -> str:
        facts = {
            "kind": type(self).__name__,
            "directory": str(self.root),
            "version": self.version,
            "made": self.manifest.get("created_at"),
            "users": len(self.users.vocabulary),
            "items": len(self.item_ids),
        }
        return html_facts(f"Release of {self.name}", facts)

    @cached_property
    def event_counts(self) -> np.ndarray:
        """Number of training events of each item: int64 `[n]`, in catalogue order."""
        return np.bincount(np.asarray(self.users.seen_items), minlength=len(self.item_ids))

    def with_seen(self, rows: np.ndarray, user: int, lists: Iterable[Sequence[str]]) -> np.ndarray:
        """Catalogue rows, and those of the items that a user had or that a query lists.

        Args:
            rows: rows to begin with, such as those of excluded items.
            user: row of the user in the release, -1 for an unknown one.
            lists: lists of item ids of the query.
        """
        return np.concatenate([rows, self.users.seen(user), *map(self.catalogue.rows, lists)])

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise a `MissingColumnError` if the item table lacks one of them."""
        self.catalogue.check_columns(columns)

    def copy_parts(self, parts: Sequence[str], directory: Path, *, shared: bool = False) -> None:
        """Copy parts of this version to one in the making; not every version has `state`.

        Args:
            parts: their names.
            directory: where the other version is made.
            shared: whether both versions have the same files, where the file system can link them: for parts
                that nobody changes before they are published.
        """
        for part in parts:
            if part != STATE or self.part(part).is_dir():
                copy = _link if shared else shutil.copy2
                shutil.copytree(self.part(part), directory / part, copy_function=copy)

    def part(self, part: str) -> Path:
        """The directory of a part of this version, such as `index`."""
        return self.root / part / str(self.version)


def _link(source: str, target: str) -> None:
    """Give a file a second name, or copy it where that cannot be: elsewhere, or without the right to."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


class RecommendingRelease(Release, ABC):
    """A release that recommends by one search over its catalogue.

    Attributes:
        repeats: the model of repeat consumption; None without one.
        exclude_seen: whether lists leave out seen items by default.
    """

    repeats: Repeats | None = None

    def __init__(
        self, root: Path, manifest: dict[str, Any], users: UserStore, catalogue: Items
    ) -> None:
        super().__init__(root, manifest, users, catalogue)
        self.exclude_seen: bool = manifest.get("exclude_seen", True)

    @overload
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
        as_frame: Literal[False] = False,
    ) -> Recommendations: ...

    @overload
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
        as_frame: Literal[True],
    ) -> pl.DataFrame: ...

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
        as_frame: bool = False,
    ) -> Recommendations | pl.DataFrame:
        """The best `k` items for each query.

        The features and histories of a known user are those after the user's last event in the training
        data, that event included, unless the query gives others.

        Args:
            queries: user ids, or dictionaries of features (`forms` in the manifest). Histories are
                lists of item ids, oldest first, in place of the stored history of a known user, or for a
                new one: `{"history": ["a", "b"]}`. Unknown ids are ignored; the newest ids of a long
                list count; None is the empty list. A release with `repeats` takes `history`, too. The
                context of these events is a further list of the same length, with None where a value
                is not known: `"history_rating": [5, None]`; without it all of it is unknown.
            k: from 1 to the size of the catalogue.
            exclude: ids to leave out of all lists; ids outside the catalogue are ignored.
            exclude_seen: whether to leave out the items of the user's training history and of the
                query's lists; None for the release's default (`exclude_seen` in its manifest).
            allow: ids to which all lists are restricted; ids outside the catalogue are ignored; None
                for no restriction.
            index: `exact` or `annoy`; None for the bundle's default, which is exact search below
                50,000 items.
            columns: columns of the item table to return with each item, and `cold`: whether it had no event in
                training, so that its place comes from its features alone.
            as_frame: whether to return a Polars frame, one row for each item: `query` (its position from
                0), `user_id`, `rank` from 1, `item_id`, `score`, then `columns`.

        Raises:
            ConfigError: if `k`, the index or a column is impossible.
            DataError: if a query cannot be used.
        """
        check_queries(queries)
        self.check_columns(columns)
        asked, hits = self.find(
            queries, k, exclude=exclude, exclude_seen=exclude_seen, allow=allow, index=index
        )
        answers = Recommendations(
            Recommendation(user_id, bool(known), *self.catalogue.listed(hits, i, columns), missing)
            for i, (user_id, known, missing) in enumerate(
                zip(asked.user_ids, asked.known, asked.defaulted, strict=True)
            )
        )
        return self.catalogue.frame(answers, columns) if as_frame else answers

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
        n = len(asked.users)
        barred = self.barred(asked, [exclude] * n, [exclude_seen] * n)
        return asked, self.search(asked, k, barred, allow=allow, index=index)

    @abstractmethod
    def search(
        self,
        asked: QueryBatch,
        k: int,
        barred: Sequence[np.ndarray],
        *,
        allow: Sequence[str] | None = None,
        index: str | None = None,
    ) -> Hits:
        """The lists of queries that were completed already (`UserStore.build_queries`).

        Args:
            asked: `n` queries.
            k: from 1 to the size of the catalogue.
            barred: for each query the catalogue rows to leave out (`barred`).
            allow: ids to which all lists are restricted; None for no restriction.
            index: `exact` or `annoy`; None for the default.
        """

    def similar_items(
        self,
        item_id: str,
        k: int = 10,
        *,
        score: ItemScore | None = None,
        index: str | None = None,
        columns: Sequence[str] = (),
    ) -> SimilarItems:
        """The items most similar to an item, without itself.

        Args:
            item_id: an item of the catalogue.
            k: from 1 to the size of the catalogue.
            score: of vectors `cosine` (None), or `inner` for the inner product, which favours popular items;
                None for a baseline, which has its own measure.
            index: `exact` or `annoy`; None for the default.
            columns: columns of the item table to add.

        Raises:
            ConfigError: if there is no such score or index, or `k` is impossible.
            DataError: if the item is not in the catalogue.
        """
        row = self.catalogue.row(item_id)
        self.check_columns(columns)
        hits = self.similar(row, k, score=score, index=index)
        return SimilarItems(item_id, *self.catalogue.listed(hits, 0, columns))

    @abstractmethod
    def similar(
        self, row: int, k: int = 10, *, score: ItemScore | None = None, index: str | None = None
    ) -> Hits:
        """The list of `similar_items` in arrays, for the item of a row of the catalogue."""

    @overload
    def explain(
        self, query: Query, item_id: str, *, as_frame: Literal[False] = False
    ) -> Explanation: ...

    @overload
    def explain(self, query: Query, item_id: str, *, as_frame: Literal[True]) -> pl.DataFrame: ...

    def explain(
        self, query: Query, item_id: str, *, as_frame: bool = False
    ) -> Explanation | pl.DataFrame:
        """Why the user of a query gets an item with its score.

        For a baseline, the reasons are the contributions of the items of the history; with the base they
        add up to the score. For a two-tower model, they are the falls of the score when one item of the
        history, or one feature, is left out; see `Explanation.additive` and
        `tfrecall.release.explanation.LeaveOneOut`.
        Only items of the catalogue are reasons, of a long history only the newest events that the model
        reads. With several interests the best one scores, possibly another one after an item is left
        out. With `repeats` the item is left out of the repeated history, too.

        Args:
            query: as `recommend` takes it.
            item_id: any item of the catalogue, whether it would be recommended or not.
            as_frame: whether to return a Polars frame, one row for each reason that contributes: `reason`
                (items by title, times as dates), `contribution`, `item_id` and `feature`.

        Raises:
            DataError: if the query cannot be used, or the item is not in the catalogue.
        """
        explanation = self.explanations(query, [item_id])[0]
        return explanation.frame(self.item_names()) if as_frame else explanation

    @abstractmethod
    def explanations(self, query: Query, item_ids: Sequence[str]) -> list[Explanation]:
        """Explain several items for one query, at the cost of one."""

    @abstractmethod
    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the whole catalogue, so that a release can be evaluated like a model."""

    def barred(
        self,
        asked: QueryBatch,
        exclude: Sequence[Sequence[str]],
        exclude_seen: Sequence[bool | None],
    ) -> list[np.ndarray]:
        """Catalogue rows to leave out for each query, -1 for ids outside the catalogue.

        Args:
            asked: `n` queries.
            exclude: for each query the ids to leave out.
            exclude_seen: for each query whether seen items and those of its lists go; None for the
                release's default.

        Returns:
            `n` arrays of int64. Searches only read them: several may be the same array.
        """
        # One list for all queries, the usual case, is looked up once.
        distinct = {id(ids): ids for ids in exclude}
        rows = {place: self.catalogue.rows(ids) for place, ids in distinct.items()}
        found = []
        for query, (ids, leave_out) in enumerate(zip(exclude, exclude_seen, strict=True)):
            own = rows[id(ids)]
            if self.exclude_seen if leave_out is None else leave_out:
                own = self.with_seen(own, asked.users[query], asked.lists[query].values())
            found.append(own)
        return found


def check_queries(queries: Sequence[Query]) -> None:
    """Raise a `DataError` if queries are no list, such as a single user id."""
    if not isinstance(queries, _LISTS):
        raise DataError(f"`queries` is a list of user ids or dictionaries. Received: {queries!r}.")
