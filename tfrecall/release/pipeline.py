"""Release of a pipeline: a retriever proposes candidates, a ranker orders them."""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, overload

import numpy as np
import polars as pl

from tfrecall.core.manifests import restore
from tfrecall.core.results import (
    Recommendation,
    Recommendations,
    SimilarItems,
    StagedRecommendation,
)
from tfrecall.core.seen import Seen
from tfrecall.core.top_k import check_k, is_top_k, top_k
from tfrecall.index.search import Hits, ItemScore
from tfrecall.release.base import Items, RecommendingRelease, Release, check_queries
from tfrecall.release.joining import check_joinable, join_users
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.retriever import RetrieverRelease
from tfrecall.release.rules import ItemValues, Rules, in_order
from tfrecall.release.users import Query, QueryBatch, UserStore

N_CANDIDATES = 200
# Pairs scored in one call: bounds the memory of their feature vectors.
AT_ONCE = 65_536


class RanksLists(Protocol):
    """Protocol of the second stage: a `RankerRelease`, or a live model with the same methods."""

    users: UserStore
    manifest: dict[str, Any]

    @property
    def name(self) -> str: ...

    @property
    def item_ids(self) -> np.ndarray: ...

    @property
    def items(self) -> pl.DataFrame: ...

    def score_lists(self, features: dict[str, np.ndarray], item_ids: np.ndarray) -> np.ndarray: ...

    def features_of(self, queries: pl.DataFrame) -> dict[str, np.ndarray]: ...


class Staged(NamedTuple):
    """Answers of each stage.

    Attributes:
        queries: the completed queries.
        candidates: hits of the retrieval, `[n_queries, n_candidates]`.
        ranked: float32 of the same shape, the ranker's scores; -inf for padding.
        hits: the final lists.
        milliseconds: duration of each stage.
    """

    queries: QueryBatch
    candidates: Hits
    ranked: np.ndarray
    hits: Hits
    milliseconds: dict[str, float]


class BasePipeline(Release):
    """A retriever and a ranker in two stages.

    Attributes:
        root: the release directory; the retriever's for a pipeline that is not exported.
        manifest: facts of the version; the retriever's for a pipeline that is not exported.
        users: users, with the query columns of both models.
        catalogue: the items; their table has the columns of both.
        retrieval: the model that finds candidates.
        ranker: the model that scores candidates.
        n_candidates: number of candidates.
        rules: rules on ranked candidates, unless a request gives others.
        exclude_seen: whether lists leave out seen items by default.
        repeats: the retriever's model of repeat consumption; None without one.

    Raises:
        ConfigError: if the models do not belong together (`check_joinable`), or the rules name a column
            that the item table lacks.
    """

    lacks: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ("explain", "explanations", "explained"),
            "{name} is a pipeline, whose scores are the ranker's: what adds to them is not told. Ask its "
            "retrieval why an item is a candidate: `pipeline.retrieval.explain(query, item_id)`.",
        ),
        **dict.fromkeys(
            ("bundle", "interests"),
            "The retriever of {name} is a baseline: it has no vectors and no index.",
        ),
    }

    def __init__(
        self,
        retrieval: RecommendingRelease,
        ranker: RanksLists,
        n_candidates: int = N_CANDIDATES,
        rules: Rules | None = None,
    ) -> None:
        check_joinable(
            retrieval.item_ids,
            ranker.item_ids,
            retrieval.users,
            ranker.users,
            retrieval.manifest.get("histories", {}),
            ranker.manifest.get("histories", {}),
            retrieval.repeats is not None,
        )
        users = join_users(retrieval.users, ranker.users)
        catalogue = Items(retrieval.item_ids, lambda: _joined_items(retrieval.items, ranker.items))
        super().__init__(retrieval.root, retrieval.manifest, users, catalogue)
        self.retrieval, self.ranker = retrieval, ranker
        self.repeats, self.exclude_seen = retrieval.repeats, retrieval.exclude_seen
        # A baseline has no bundle: without these attributes `lacks` answers for them.
        if hasattr(retrieval, "bundle"):
            self.bundle, self.interests = retrieval.bundle, retrieval.interests
        # Row -1 pads lists of candidates; as an index it picks the last entry, the empty id.
        self._padded_ids = np.append(retrieval.item_ids, "")
        self._values: dict[str, ItemValues] = {}
        self.n_candidates = check_k(n_candidates, name="n_candidates")
        self.rules = rules if rules is not None else Rules()
        self._check_rules(self.rules)

    @property
    def name(self) -> str:
        """Names of both models, such as `two_tower > ranker`."""
        return f"{self.retrieval.name} > {self.ranker.name}"

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
        n_candidates: int | None = None,
        rules: Rules | None = None,
        details: bool = False,
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
        n_candidates: int | None = None,
        rules: Rules | None = None,
        details: bool = False,
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
        n_candidates: int | None = None,
        rules: Rules | None = None,
        details: bool = False,
        as_frame: bool = False,
    ) -> Recommendations | pl.DataFrame:
        """The best `k` items for each query by the ranker's scores.

        Excluded and not allowed items are left out before the retrieval takes its `n_candidates`. A list
        is short if fewer candidates are left or fit under the caps, and empty if all are excluded. Ties
        keep the order of the retrieval. With `diversity` scores need not fall along the list.

        Args:
            queries: user ids, or dictionaries of the features and histories that either model takes.
            k: from 1 to the size of the catalogue.
            exclude: ids to leave out of all lists.
            exclude_seen: whether to leave out seen items and those of the query's lists; None for the
                retriever's default.
            allow: ids to which all lists are restricted; None for no restriction.
            index: `exact` or `annoy`; None for the retriever's default.
            columns: columns of the item table to return with each item.
            n_candidates: number of candidates to rank; None for the pipeline's number.
            rules: rules in place of the pipeline's; `Rules()` for none.
            details: whether each answer is a `StagedRecommendation`, with candidates and timings.
            as_frame: whether to return a Polars frame, one row for each item: `query` (its position from
                0), `user_id`, `rank` from 1, `item_id`, `score`, then `columns`.

        Raises:
            ConfigError: if a number, the index, a rule or a column is impossible.
            DataError: if a query cannot be used.
        """
        check_queries(queries)
        self.check_columns(columns)
        staged = self.stages(
            queries,
            k,
            exclude=exclude,
            exclude_seen=exclude_seen,
            allow=allow,
            index=index,
            n_candidates=n_candidates,
            rules=rules,
        )
        asked = staged.queries
        answers = Recommendations()
        for i, user_id in enumerate(asked.user_ids):
            lists = self.catalogue.listed(staged.hits, i, columns)
            facts = (user_id, bool(asked.known[i]), *lists, asked.defaulted[i])
            more = self.details(staged, i) if details else None
            answers.append(
                Recommendation(*facts) if more is None else StagedRecommendation(*facts, **more)
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
        staged = self.stages(
            queries, k, exclude=exclude, exclude_seen=exclude_seen, allow=allow, index=index
        )
        return staged.queries, staged.hits

    def stages(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool | None = None,
        n_candidates: int | None = None,
        rules: Rules | None = None,
        allow: Sequence[str] | None = None,
        index: str | None = None,
    ) -> Staged:
        """The lists of `recommend` in arrays, with the answers of each stage.

        Args:
            queries: user ids, or dictionaries of features and histories.
            k: from 1 to the size of the catalogue.
            exclude: ids to leave out of all lists.
            exclude_seen: whether to leave out seen items; None for the pipeline's default.
            n_candidates: number of candidates to rank; None for the pipeline's number.
            rules: rules in place of the pipeline's; None for the pipeline's.
            allow: ids to which all lists are restricted; None for no restriction.
            index: `exact` or `annoy`; None for the retriever's default.
        """
        clock = Clock()
        asked = self.users.build_queries(queries)
        clock.stop("query")
        n = len(asked.users)
        barred = self.barred(asked, [exclude] * n, [exclude_seen] * n)
        return self.staged(
            asked,
            k,
            barred,
            n_candidates=n_candidates,
            rules=rules,
            allow=allow,
            index=index,
            clock=clock,
        )

    def barred(
        self,
        asked: QueryBatch,
        exclude: Sequence[Sequence[str]],
        exclude_seen: Sequence[bool | None],
    ) -> list[np.ndarray]:
        """Catalogue rows to leave out for each query, by the pipeline's default where it is None."""
        rule = [self.exclude_seen if leave_out is None else leave_out for leave_out in exclude_seen]
        return self.retrieval.barred(asked, exclude, rule)

    def staged(
        self,
        asked: QueryBatch,
        k: int,
        barred: Sequence[np.ndarray],
        *,
        n_candidates: int | None = None,
        rules: Rules | None = None,
        allow: Sequence[str] | None = None,
        index: str | None = None,
        clock: "Clock | None" = None,
    ) -> Staged:
        """The stages of queries that were completed already (`UserStore.build_queries`).

        Args:
            asked: `n` queries.
            k: from 1 to the size of the catalogue.
            barred: for each query the catalogue rows to leave out (`barred`).
            n_candidates: number of candidates to rank; None for the pipeline's number.
            rules: rules in place of the pipeline's; None for the pipeline's.
            allow: ids to which all lists are restricted; None for no restriction.
            index: `exact` or `annoy`; None for the retriever's default.
            clock: measures the stages; None for a new one.
        """
        clock = Clock() if clock is None else clock
        k = check_k(k, len(self.item_ids), of_what="items in the catalogue")
        rules = self.rules if rules is None else rules
        self._check_rules(rules)
        # Both restrictions hold. The retrieval applies them, so all `n_candidates` are allowed items.
        allow = rules.allowed(allow)
        count = self.n_candidates if n_candidates is None else n_candidates
        count = min(check_k(count, name="n_candidates"), len(self.item_ids))
        own = asked._replace(features=self._own(asked.features))
        candidates = self.retrieval.search(own, count, barred, allow=allow, index=index)
        clock.stop("retrieval")
        ranked = self._ranked(asked.features, candidates.rows)
        clock.stop("ranking")
        hits = self._ordered(candidates.rows, ranked, k, rules)
        clock.stop("rules")
        return Staged(asked, candidates, ranked, hits, clock.milliseconds)

    def embed(self, features: dict[str, np.ndarray]) -> np.ndarray:
        """The vectors that the retrieval searches with."""
        return self.retrieval.embed(self._own(features))

    def under(self, rule: Seen) -> "BasePipeline":
        """The pipeline with candidates and lists of a rule, whatever its default is."""
        other = copy(self)
        other.exclude_seen = rule is Seen.REMOVED
        return other

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the whole catalogue, -inf beyond the candidates, so that a pipeline can be evaluated.

        The candidates are those of `recommend`: without seen items where `exclude_seen` leaves them out.
        With diversity or caps a score is minus the position in the list of all candidates.
        """
        found = self.retrieval.scores(queries)
        if self.rules.allow is not None:
            allowed = np.zeros(found.shape[1], dtype=bool)
            rows = self.catalogue.rows([*self.rules.allow])
            allowed[rows[rows >= 0]] = True
            found = np.where(allowed, found, -np.inf)
        chosen = self._candidates_of(queries, found)
        rows = _listed(chosen, found)
        ranked = self._ranked(self.ranker.features_of(queries), rows)
        given = np.full_like(found, -np.inf, dtype=np.float32)
        if self.rules.reorder:
            hits = self._ordered(rows, ranked, rows.shape[1], self.rules)
            # A greedy list has no scores that fall along it; minus the position sorts the same way.
            rows, ranked = hits.rows, np.where(hits.rows < 0, -np.inf, -np.arange(rows.shape[1]))
        else:
            ranked = self._boosted(rows, ranked, self.rules)
        query, place = np.nonzero(rows >= 0)
        given[query, rows[query, place]] = ranked[query, place]
        return given

    def similar_items(
        self,
        item_id: str,
        k: int = 10,
        *,
        score: ItemScore | None = None,
        index: str | None = None,
        columns: Sequence[str] = (),
    ) -> SimilarItems:
        """The items most similar to an item by the retriever, without itself.

        Raises:
            DataError: if the item is not in the catalogue.
        """
        row = self.catalogue.row(item_id)
        self.check_columns(columns)
        # Both catalogues have the same rows; that of the pipeline has the columns of the ranker, too.
        hits = self.retrieval.similar(row, k, score=score, index=index)
        return SimilarItems(item_id, *self.catalogue.listed(hits, 0, columns))

    def embed_queries(self, queries: pl.DataFrame) -> np.ndarray:
        """Vectors of a table of queries; missing histories are those at the end of training."""
        return self.embed(self.users.of_table(queries))

    def _candidates_of(self, queries: pl.DataFrame, found: np.ndarray) -> np.ndarray:
        """Mask of the candidates of each query: bool, of the shape of `found`."""
        count = min(self.n_candidates, found.shape[1])
        if not self.exclude_seen:
            return is_top_k(found, count)
        users = self.users.rows_of(queries["user_id"].cast(pl.String).to_list())
        unseen = found.copy()
        for row, user in enumerate(users):
            unseen[row, self.users.seen(user)] = -np.inf
        return is_top_k(unseen, count)

    def _own(self, features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {column: features[column] for column in self.retrieval.users.forms}

    def _ranked(self, features: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """The ranker's scores: float32 of the shape of `rows`, -inf for row -1."""
        own = {column: features[column] for column in self.ranker.users.forms}
        ranked = np.empty(rows.shape, np.float32)
        # Whole queries a step, so that the features of each are embedded once.
        step = max(1, AT_ONCE // max(1, rows.shape[1]))
        for start in range(0, len(rows) if rows.size else 0, step):
            part = slice(start, start + step)
            lists = self._padded_ids[rows[part]]
            ranked[part] = self.ranker.score_lists({c: v[part] for c, v in own.items()}, lists)
        ranked[rows < 0] = -np.inf
        return ranked

    def _ordered(self, rows: np.ndarray, ranked: np.ndarray, k: int, rules: Rules) -> Hits:
        scores = self._boosted(rows, ranked, rules)
        if not rules.reorder:
            # All at once; padding has -inf and goes last.
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            best, values = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
            return Hits(best.astype(np.int32), values)
        hits = Hits(np.full((len(rows), k), -1, np.int32), np.full((len(rows), k), -np.inf, np.float32))
        for i, candidates in enumerate(rows):
            mine = np.flatnonzero(candidates >= 0)
            order = mine[self._order(candidates[mine], scores[i, mine], k, rules)]
            hits.rows[i, : len(order)] = candidates[order]
            hits.scores[i, : len(order)] = scores[i, order]
        return hits

    def _order(self, rows: np.ndarray, scores: np.ndarray, k: int, rules: Rules) -> np.ndarray:
        caps = [(cap, self._values_of(column).table(rows)) for column, cap in rules.caps.items()]
        vectors = np.asarray(self.bundle.exact.vectors)[rows] if rules.diversity else None
        return in_order(scores, k, diversity=rules.diversity, vectors=vectors, caps=caps)

    def _boosted(self, rows: np.ndarray, ranked: np.ndarray, rules: Rules) -> np.ndarray:
        if not rules.boosts:
            return ranked
        added = np.zeros(len(self.item_ids) + 1, np.float32)  # the last one for row -1
        for boost in rules.boosts:
            if boost.column is not None:
                added[:-1][self._values_of(boost.column).having(boost.values)] += boost.by
            # An item listed twice is boosted once.
            listed = np.unique(self.catalogue.rows([*boost.items]))
            added[listed[listed >= 0]] += boost.by
        return ranked + added[rows]

    def _values_of(self, column: str) -> ItemValues:
        if column not in self._values:
            self._values[column] = ItemValues.of(self.catalogue.shown[column])
        return self._values[column]

    def _check_rules(self, rules: Rules) -> None:
        if rules.columns:
            self.check_columns(rules.columns)
        if rules.diversity:
            _ = self.bundle  # a retriever that is a baseline has no vectors

    def details(self, staged: Staged, i: int) -> dict[str, Any]:
        """What `StagedRecommendation` adds to the answer of query `i`."""
        there = staged.candidates.rows[i] >= 0
        return {
            "candidates": self.item_ids[staged.candidates.rows[i][there]].tolist(),
            "retrieval_scores": staged.candidates.scores[i][there].tolist(),
            "ranker_scores": staged.ranked[i][there].tolist(),
            "milliseconds": staged.milliseconds,
        }


class Clock:
    """Milliseconds between its stops."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last = perf_counter()

    def stop(self, name: str) -> None:
        now = perf_counter()
        self.milliseconds[name] = round(1000 * (now - self._last), 3)
        self._last = now


def _listed(chosen: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The chosen columns of each row, the largest score first, -1 beyond: int32 `[n, any]`."""
    # Queries may have different numbers of candidates: as wide as the longest, the others padded.
    width = max(1, int(chosen.sum(axis=1).max(initial=0)))
    return top_k(np.where(chosen, scores, -np.inf), width)


RANKER_CONTEXT = "ranker_context"


def _joined_items(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """The retriever's item table, and the columns that only the ranker's has."""
    more = [column for column in second.columns if column not in first.columns]
    if not more:
        return first
    return first.join(second.select("item_id", *more), on="item_id", how="left", maintain_order="left")


class PipelineRelease(BasePipeline):
    """A loaded release of a pipeline: a retriever and a ranker in one directory. Made by `tfrecall.load`."""

    @classmethod
    def load(cls, root: Path, manifest: dict[str, Any]) -> "PipelineRelease":
        """Open the parts of a version whose files were checked.

        Raises:
            ReleaseError: naming a part that is damaged or foreign.
        """
        first, second = (
            {**manifest[of], "version": manifest["version"]} for of in ("retrieval", "ranker")
        )
        facts, place = manifest["pipeline"], root / "manifest.json"
        rules = restore(f"{place}, pipeline.rules", lambda: Rules.from_dict(facts["rules"]))
        stages = RetrieverRelease.load(root, first), RankerRelease.load(root, second, RANKER_CONTEXT)
        # Facts of one stage may lack what those of the other name.
        pipeline = restore(
            f"{place}, retrieval or ranker", lambda: cls(*stages, facts["n_candidates"], rules)
        )
        pipeline.manifest = manifest
        return pipeline
