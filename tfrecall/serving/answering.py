"""Answers of one loaded release to batches of mixed requests.

Requests of a batch differ in `k`, exclusions and columns; those with the same index, allowed items and rules
share one call of the model and one search.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from time import perf_counter
from typing import Any, TypeVar, cast

import numpy as np

from tfrecall.core.results import Explanation
from tfrecall.errors import DataError, TfrecallError, UnsupportedError
from tfrecall.index.search import Hits
from tfrecall.release.base import Release
from tfrecall.release.pipeline import BasePipeline, Staged
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.rules import Rules
from tfrecall.release.users import QueryBatch
from tfrecall.serving.fallbacks import Popular
from tfrecall.serving.observer import Observer
from tfrecall.serving.queries import AskedQuery, Queries, given
from tfrecall.serving.recent import RecentEvents
from tfrecall.serving.requests import (
    Because,
    Item,
    ItemsAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
)

# Reasons of one item.
REASONS = 3

Request = RecommendRequest | SimilarRequest | RankRequest
Answer = RecommendAnswer | ItemsAnswer
# Rows, ids and scores of the items of one list.
Listed = tuple[list[int], list[str], list[float]]
One = TypeVar("One")
Made = TypeVar("Made")


class Answerer:
    """Answers of one loaded release version.

    Args:
        name: name of the release in answers.
        release: a release of any kind.
        index: exact, annoy, faiss or scann for requests that name none; None for the release's default.
        popular_for_unknown: whether unknown users who give nothing of themselves get popular items, not the
            model's.
        fallback: whether popular items stand in where the model has no item for an unknown user.
        recent: events that came after the training log; None without feedback.
        observer: hears of stages.
    """

    def __init__(
        self,
        name: str,
        release: Release,
        index: str | None = None,
        *,
        popular_for_unknown: bool = False,
        fallback: bool = True,
        recent: RecentEvents | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.name = name
        self.release = release
        self.index = index
        self._popular_for_unknown = popular_for_unknown
        self._fallback = fallback
        self._observer = observer or Observer()
        self._queries = Queries(name, release, recent)
        self._popular = Popular(release)
        self._columns: dict[str, list[Any]] = {}

    def answer(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """Answers to requests of all forms, in order; an error stands in the place of its answer."""
        lists = [one for one in requests if isinstance(one, RecommendRequest)]
        answered = iter(self.recommend(lists))
        return [
            next(answered) if isinstance(one, RecommendRequest) else _each(self._alone, [one])[0]
            for one in requests
        ]

    def _alone(self, requests: Sequence[Request]) -> list[Answer]:
        (request,) = requests
        start = perf_counter()
        if isinstance(request, SimilarRequest):
            stage, answer = "similar", self.similar(request)
        else:
            stage, answer = "rank", self.rank(cast(RankRequest, request))
        self._observer.stages(self.name, {stage: perf_counter() - start}, [request])
        return [answer]

    def recommend(self, requests: Sequence[RecommendRequest]) -> list[RecommendAnswer | Exception]:
        """Answers to requests in order; an error in the place of an answer belongs to that request alone."""
        answers: list[RecommendAnswer | Exception] = [DataError("unanswered")] * len(requests)
        groups: dict[Any, list[tuple[int, AskedQuery]]] = {}
        for place, request in enumerate(requests):
            try:
                query = self._queries.read(request)
                groups.setdefault(self._together(request), []).append((place, query))
            except TfrecallError as error:
                answers[place] = error
        for group in groups.values():
            places, queries = zip(*group, strict=True)
            for place, answer in zip(places, _each(self._answered, queries), strict=True):
                answers[place] = answer
        return answers

    def popular(self, request: RecommendRequest, reason: str) -> RecommendAnswer:
        """Popular items in place of the model's list, with the request's restrictions.

        Costs no call of the model and little time: it is asked where the model has failed.

        Args:
            request: the request.
            reason: `timeout` or `failed`.

        Raises:
            TfrecallError: if the request cannot be used.
        """
        one = self._queries.read(request)
        user = one.query.get("user_id")
        user_id = None if user is None else str(user)
        users = self.release.users
        row = -1 if user_id is None else users.vocabulary.row(user_id)
        return RecommendAnswer(
            release=self.name,
            version=self.release.version,
            user_id=user_id,
            known=len(users.seen(row)) > 0,
            fallback=reason,
            items=self._popular_items(one),
        )

    def similar(self, request: SimilarRequest) -> ItemsAnswer:
        """The items most similar to one.

        Raises:
            UnsupportedError: if the release is a ranker's.
            DataError: if the item is not in the catalogue.
        """
        if (request.item_id is None) == (request.title is None):
            raise DataError(
                "Similar items are those of an `item_id` or of a `title`: give one of them."
            )
        item_id = request.item_id
        if item_id is None:
            item_id = self._queries.item(request.title)
        found = self.release.similar_items(
            item_id, request.k, score=request.score, index=request.index or self.index
        )
        rows = self.release.catalogue.rows(found.item_ids)
        items = self._items_of(rows, found.scores, request.columns)
        return ItemsAnswer(
            release=self.name, version=self.release.version, items=items, item_id=item_id
        )

    def rank(self, request: RankRequest) -> ItemsAnswer:
        """Given items by a ranker's scores, best first; equal ones in the given order.

        Raises:
            UnsupportedError: if the release has no ranker.
            DataError: if an item is not in the catalogue.
        """
        ranker = self.release.ranker if isinstance(self.release, BasePipeline) else self.release
        if not isinstance(ranker, RankerRelease):
            raise UnsupportedError(
                f'The release "{self.name}" has no ranker. Ask /v1/recommend instead.'
            )
        query = given(request.user_id, request.features)
        scores = ranker.predict([query], request.items)
        order = np.argsort(-scores, kind="stable")
        rows = self.release.catalogue.rows(request.items)[order]
        items = self._items_of(rows, scores[order], request.columns)
        user = query.get("user_id")
        return ItemsAnswer(
            release=self.name,
            version=self.release.version,
            items=items,
            user_id=None if user is None else str(user),
        )

    def warm(self) -> None:
        """Answer once, so that the first request does not pay for loading the model.

        Raises:
            Exception: if the release cannot answer.
        """
        users = self.release.users.ids[:1]
        if isinstance(self.release, RankerRelease):
            self.release.predict(
                [{"user_id": user} for user in users], self.release.item_ids[:1].tolist()
            )
            return
        requests = [RecommendRequest(user_id=user, k=1) for user in users]
        for answer in self.recommend(requests):
            if isinstance(answer, Exception):
                raise answer
        for request in requests:
            self.popular(request, "failed")

    def is_approximate(self, request: RecommendRequest) -> bool:
        """Whether the list of a request comes from an approximate index."""
        return (request.index or self.index or self._default_index) not in (None, "exact")

    @cached_property
    def _default_index(self) -> str | None:
        bundle = getattr(self.release, "bundle", None)
        return None if bundle is None else bundle.default

    def _together(self, request: RecommendRequest) -> tuple[Any, ...]:
        """Requests with equal keys go in one search."""
        index = request.index or self.index
        # Trees are searched with an effort that depends on k; exact lists are prefixes of longer ones.
        k = request.k if self.is_approximate(request) else None
        allow = None if request.allow is None else tuple(request.allow)
        rules = None if request.rules is None else json.dumps(request.rules, sort_keys=True)
        return index, k, allow, rules, request.n_candidates

    def _answered(self, queries: Sequence[AskedQuery]) -> list[RecommendAnswer]:
        """Answers to requests of one group, with one call of the model and one search."""
        start = perf_counter()
        first = queries[0].request
        release: Any = self.release
        asked = release.users.build_queries([one.query for one in queries])
        barred = release.barred(
            asked, [one.exclude for one in queries], [one.exclude_seen for one in queries]
        )
        built = perf_counter()
        k = max(one.request.k for one in queries)
        options: dict[str, Any] = {"allow": first.allow, "index": first.index or self.index}
        staged = None
        if isinstance(release, BasePipeline):
            options["n_candidates"] = first.n_candidates
            staged = release.staged(asked, k, barred, rules=_rules(first), **options)
            hits = staged.hits
        else:
            hits = release.search(asked, k, barred, **options)
        found = perf_counter()
        lists = self._lists(hits)
        answers = [
            self._answer(one, asked, i, items, staged)
            for i, (one, items) in enumerate(zip(queries, lists, strict=True))
        ]
        stages = {} if staged is None else {s: t / 1000 for s, t in staged.milliseconds.items()}
        self._observer.stages(
            self.name,
            {
                "query": built - start,
                "retrieval": found - built,
                **stages,
                "answer": perf_counter() - found,
            },
            [one.request for one in queries],
        )
        return answers

    def _lists(self, hits: Hits) -> list[Listed]:
        """Rows, ids and scores of each query, as lists: of a whole batch at once, for NumPy's cost a call."""
        # Row -1, which pads the ends of short lists, picks the last id; it is cut off with its row.
        columns = (hits.rows, self.release.item_ids[hits.rows], hits.scores)
        lengths = (hits.rows >= 0).sum(axis=1).tolist()
        lists = zip(*(column.tolist() for column in columns), strict=True)
        return [
            (rows[:length], ids[:length], scores[:length])
            for length, (rows, ids, scores) in zip(lengths, lists, strict=True)
        ]

    def _answer(
        self, one: AskedQuery, asked: QueryBatch, i: int, listed: Listed, staged: Staged | None
    ) -> RecommendAnswer:
        request = one.request
        k = request.k
        rows, ids, scores = listed
        items = self._items(rows[:k], ids[:k], scores[:k], request.columns)
        answer = RecommendAnswer(
            release=self.name,
            version=self.release.version,
            user_id=asked.user_ids[i],
            known=bool(asked.known[i]),
            items=items,
        )
        if not answer.known and self._fallback:
            self._stand_in(answer, one)
        if request.explain and items and answer.fallback is None:
            explained = self.release.explanations(one.query, [item.item_id for item in items])
            for item, explanation in zip(items, explained, strict=True):
                item.because = self._because(explanation)
        if one.unknown:
            answer.not_in_catalogue = one.unknown
        if asked.defaulted[i]:
            answer.defaulted = list(asked.defaulted[i])
        if request.stages and isinstance(self.release, BasePipeline) and staged is not None:
            answer.stages = self.release.details(staged, i)
        return answer

    def _stand_in(self, answer: RecommendAnswer, one: AskedQuery) -> None:
        """Give an unknown user popular items, where the model has none or is not wanted."""
        if answer.items and not (self._popular_for_unknown and one.is_bare):
            return
        items = self._popular_items(one)
        if items:
            answer.items, answer.fallback = items, "unknown_user"
            self._observer.fallback(self.name, "unknown_user")

    def _popular_items(self, one: AskedQuery) -> list[Item]:
        request = one.request
        rows, counts = self._popular.best(request.k, self._queries.barred(one), self._allowed(request))
        return self._items_of(rows, counts.astype(float), request.columns)

    def _allowed(self, request: RecommendRequest) -> list[int] | None:
        """Rows to which both the request and the rules restrict a list; None for no restriction."""
        allowed: Sequence[str] | None = request.allow
        if isinstance(self.release, BasePipeline):
            allowed = (_rules(request) or self.release.rules).allowed(allowed)
        return None if allowed is None else self.release.catalogue.rows(allowed).tolist()

    def _items_of(
        self, rows: np.ndarray, scores: np.ndarray | Sequence[float], columns: Sequence[str]
    ) -> list[Item]:
        ids = self.release.item_ids[rows].tolist()
        return self._items(rows.tolist(), ids, np.asarray(scores).tolist(), columns)

    def _items(
        self,
        rows: Sequence[int],
        ids: Sequence[str],
        scores: Sequence[float],
        columns: Sequence[str],
    ) -> list[Item]:
        items = [*map(Item, ids, scores)]
        if columns:
            self.release.check_columns(columns)
            values = {column: self._column(column) for column in columns}
            for item, row in zip(items, rows, strict=True):
                item.columns = {column: known[row] for column, known in values.items()}
        return items

    def _column(self, column: str) -> list[Any]:
        """A column of the item table as a list: rows of a frame cost a hundred microseconds each."""
        if column not in self._columns:
            self._columns[column] = self.release.catalogue.shown[column].to_list()
        return self._columns[column]

    def _because(self, explanation: Explanation) -> list[Because]:
        names = self._queries.names
        return [
            Because(reason.named(names), reason.contribution, reason.item_id, reason.feature)
            for reason in explanation.strongest(REASONS)
        ]


def _rules(request: RecommendRequest) -> Rules | None:
    if request.rules is None:
        return None
    try:
        return Rules.from_dict(request.rules)
    except TfrecallError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"`rules` cannot be used: {error}. They are an object of `diversity`, `caps`, `boosts` and "
            "`allow`."
        ) from error


def _each(
    answer: Callable[[Sequence[One]], Sequence[Made]], requests: Sequence[One]
) -> list[Made | Exception]:
    """Answers of all together, or of halves where a request of the batch is at fault.

    A single wrong request among n is found with some 2 log2(n) calls.
    """
    try:
        return [*answer(requests)]
    # Not ours alone: TensorFlow has errors of its own for values that a model does not take.
    except Exception as error:
        if len(requests) == 1:
            return [error]
    half = len(requests) // 2
    return [*_each(answer, requests[:half]), *_each(answer, requests[half:])]
