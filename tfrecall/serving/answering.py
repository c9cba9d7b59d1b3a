"""Answers of one loaded release to batches of mixed requests.

Requests of a batch differ in `k`, exclusions and columns; those with the same index, allowed items and rules
share one call of the model and one search.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tfrecall.core.results import Explanation
from tfrecall.core.titles import item_of_title, titles
from tfrecall.errors import DataError, TfrecallError, UnsupportedError
from tfrecall.index.search import Hits
from tfrecall.release.base import RecommendingRelease, Release
from tfrecall.release.pipeline import BasePipeline, Staged
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.rules import Rules
from tfrecall.release.users import QueryBatch
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
# List that a query gives for a release without histories of its own.
_HISTORY = "history"

Request = TypeVar("Request")


class _Query(NamedTuple):
    """A request with its query as the release takes it."""

    request: RecommendRequest
    query: dict[str, Any]
    unknown: list[str]


class Answerer:
    """Answers of one loaded release version.

    Args:
        name: name of the release in answers.
        release: a release of any kind.
        index: exact or annoy for requests that name none; None for the release's default.
    """

    def __init__(self, name: str, release: Release, index: str | None = None) -> None:
        self.name = name
        self.release = release
        self.index = index
        self._columns: dict[str, list[Any]] = {}

    def recommend(self, requests: Sequence[RecommendRequest]) -> list[RecommendAnswer | Exception]:
        """Answers to requests in order; an error in the place of an answer belongs to that request alone."""
        answers: list[RecommendAnswer | Exception] = [DataError("unanswered")] * len(requests)
        groups: dict[Any, list[tuple[int, _Query]]] = {}
        for place, request in enumerate(requests):
            try:
                groups.setdefault(self._together(request), []).append((place, self._query(request)))
            except TfrecallError as error:
                answers[place] = error
        for group in groups.values():
            places, queries = zip(*group, strict=True)
            for place, answer in zip(places, _one_by_one(self._answered, queries), strict=True):
                answers[place] = answer
        return answers

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
        item_id = self._item(request.title) if request.item_id is None else request.item_id
        found = self.release.similar_items(
            item_id, request.k, score=request.score, index=request.index or self.index
        )
        rows = self.release.catalogue.rows(found.item_ids)
        items = self._items(rows, found.scores, request.columns)
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
        query = _given(request.user_id, request.features)
        scores = ranker.predict([query], request.items)
        order = np.argsort(-scores, kind="stable")
        rows = self.release.catalogue.rows(request.items)[order]
        items = self._items(rows, scores[order].tolist(), request.columns)
        user = query.get("user_id")
        return ItemsAnswer(
            release=self.name,
            version=self.release.version,
            items=items,
            user_id=None if user is None else str(user),
        )

    def warm(self) -> None:
        """Answer once, so that the first request does not pay for loading the model."""
        users = self.release.users.ids[:1]
        if isinstance(self.release, RankerRelease):
            self.release.predict(
                [{"user_id": user} for user in users], self.release.item_ids[:1].tolist()
            )
            return
        for answer in self.recommend([RecommendRequest(user_id=user, k=1) for user in users]):
            if isinstance(answer, Exception):
                raise answer

    def _together(self, request: RecommendRequest) -> tuple[Any, ...]:
        """Requests with equal keys go in one search."""
        index = request.index or self.index
        # Trees are searched with an effort that depends on k; exact lists are prefixes of longer ones.
        k = None if index in (None, "exact") else request.k
        allow = None if request.allow is None else tuple(request.allow)
        rules = None if request.rules is None else json.dumps(request.rules, sort_keys=True)
        return index, k, allow, rules

    def _query(self, request: RecommendRequest) -> _Query:
        release = self.release
        if not isinstance(release, (RecommendingRelease, BasePipeline)):
            release.recommend  # noqa: B018 - raises the error that says what to ask instead
        if isinstance(release, RecommendingRelease) and (request.rules or request.stages):
            raise UnsupportedError(
                f'`rules` and `stages` are of pipelines, and "{self.name}" is no pipeline. Leave them out.'
            )
        release.check_columns(request.columns)
        query = _given(request.user_id, request.features)
        if request.history is None:
            return _Query(request, query, [])
        lists = release.users.item_lists
        if not lists:
            raise UnsupportedError(
                f'The model of "{self.name}" reads no history. Give `user_id` or `features`.'
            )
        if twice := [name for name in lists if name in query]:
            raise DataError(f"The history is given twice: as `history` and as `{twice[0]}`.")
        past = [self._item(text, strict=False) for text in request.history]
        vocabulary = release.catalogue.vocabulary
        unknown = [item for item in past if vocabulary.row(item) < 0]
        return _Query(request, {**query, **dict.fromkeys(lists, past)}, unknown)

    def _answered(self, queries: Sequence[_Query]) -> list[RecommendAnswer]:
        """Answers to requests of one group, with one call of the model and one search."""
        first = queries[0].request
        release: Any = self.release
        asked = release.users.build_queries([one.query for one in queries])
        requests = [one.request for one in queries]
        barred = release.barred(
            asked, [one.exclude for one in requests], [one.exclude_seen for one in requests]
        )
        k = max(one.k for one in requests)
        options: dict[str, Any] = {"allow": first.allow, "index": first.index or self.index}
        staged = None
        if isinstance(release, BasePipeline):
            rules = None if first.rules is None else Rules.from_dict(first.rules)
            staged = release.staged(asked, k, barred, rules=rules, **options)
            hits = staged.hits
        else:
            hits = release.search(asked, k, barred, **options)
        return [self._answer(one, asked, i, hits, staged) for i, one in enumerate(queries)]

    def _answer(
        self, one: _Query, asked: QueryBatch, i: int, hits: Hits, staged: Staged | None
    ) -> RecommendAnswer:
        request = one.request
        rows, scores = hits.rows[i, : request.k], hits.scores[i, : request.k]
        there = rows >= 0
        items = self._items(rows[there], scores[there].tolist(), request.columns)
        if request.explain and items:
            explained = self.release.explanations(one.query, [item.item_id for item in items])
            for item, explanation in zip(items, explained, strict=True):
                item.because = self._because(explanation)
        answer = RecommendAnswer(
            release=self.name,
            version=self.release.version,
            user_id=asked.user_ids[i],
            known=bool(asked.known[i]),
            items=items,
        )
        if one.unknown:
            answer.not_in_catalogue = one.unknown
        if asked.defaulted[i]:
            answer.defaulted = list(asked.defaulted[i])
        if request.stages and isinstance(self.release, BasePipeline) and staged is not None:
            answer.stages = self.release.details(staged, i)
        return answer

    def _items(self, rows: np.ndarray, scores: Sequence[float], columns: Sequence[str]) -> list[Item]:
        ids = self.release.item_ids[rows].tolist()
        items = [Item(item_id, score) for item_id, score in zip(ids, scores, strict=True)]
        if columns:
            self.release.check_columns(columns)
            values = {column: self._column(column) for column in columns}
            for item, row in zip(items, rows.tolist(), strict=True):
                item.columns = {column: known[row] for column, known in values.items()}
        return items

    def _column(self, column: str) -> list[Any]:
        """A column of the item table as a list: rows of a frame cost a hundred microseconds each."""
        if column not in self._columns:
            self._columns[column] = self.release.items[column].to_list()
        return self._columns[column]

    def _because(self, explanation: Explanation) -> list[Because]:
        return [
            Because(reason.named(self._names), reason.contribution, reason.item_id, reason.feature)
            for reason in explanation.strongest(REASONS)
        ]

    @cached_property
    def _names(self) -> dict[str, str]:
        return self.release.item_names()

    @cached_property
    def _by_title(self) -> dict[str, str]:
        """Item of each whole title; titles that several items have are left to `item_of_title`."""
        found: dict[str, list[str]] = {}
        for item_id, name in self._names.items():
            found.setdefault(name, []).append(item_id)
        return {name: ids[0] for name, ids in found.items() if len(ids) == 1}

    def _item(self, text: str | None, *, strict: bool = True) -> str:
        """The id of an item that is given by id or title.

        Args:
            text: an id of the catalogue, or a title or a part of it.
            strict: whether to refuse a text that no title fits; otherwise it is an unknown id.
        """
        text = str(text)
        if self.release.catalogue.vocabulary.row(text) >= 0:
            return text
        if text in self._by_title:
            return self._by_title[text]
        if not strict:
            return text
        names = titles(self.release.items, self.release.title_column)
        return item_of_title(text, names, self.release.item_ids.tolist())


def _given(user_id: str | int | None, features: dict[str, Any] | None) -> dict[str, Any]:
    query = dict(features or {})
    if user_id is not None and query.setdefault("user_id", user_id) != user_id:
        raise DataError(f"Two users are given: {user_id!r}, and {query['user_id']!r} in `features`.")
    return query


def _one_by_one(
    answer: Callable[[Sequence[_Query]], list[RecommendAnswer]], queries: Sequence[_Query]
) -> list[RecommendAnswer | Exception]:
    """Answers of all together, or of each alone where a request of the batch is at fault."""
    try:
        return [*answer(queries)]
    except TfrecallError as error:
        if len(queries) == 1:
            return [error]
        return [_one_by_one(answer, [one])[0] for one in queries]
