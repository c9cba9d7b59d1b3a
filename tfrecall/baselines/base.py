"""Base class of baselines that score from the history of a user."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

import numpy as np
import polars as pl
import scipy.sparse as sp

from tfrecall.core.results import Explanation, Recommendation, Recommendations, SimilarItems
from tfrecall.core.vocabulary import item_row
from tfrecall.data.histories import slices_of
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError
from tfrecall.index.history import Answers, HistoryWeights, QueryHistories
from tfrecall.index.scorers import Scorer

Model = TypeVar("Model", bound="HistoryModel")


class HistoryModel:
    """A model made of weights for the events of a history, and of a scorer that turns them into scores.

    A subclass fits the scorer in `_learn`, and gives the weights of events in `_weights`. Scores, lists and
    explanations are those of `tfrecall.index`, which a release uses, too.

    Attributes:
        name: name of the model in tables; two models of one class in one table need different names.
        timed: whether a query with a `timestamp` is answered from the user's events up to that time;
            otherwise from all of them.
        item_ids: the catalogue it was fitted to.
    """

    name = "history_model"
    timed = False

    def __init__(self) -> None:
        self.item_ids: np.ndarray = np.empty(0, dtype=object)
        self._train: Interactions | None = None
        self._log: Interactions | None = None
        self._answers: Answers | None = None

    def fit(self: Model, train: Interactions) -> Model:
        """Fits the model to `train`, whose item table is the catalogue; returns itself."""
        self.check(train)
        train = _of_known(train)
        answers = Answers(train.item_vocabulary.ids, self._weights(), self._learn(train))
        self.item_ids, self._train, self._answers = answers.item_ids, train, answers
        self._log = None
        return self

    def reading(self: Model, log: Interactions) -> Model:
        """Returns a copy that takes histories from another log; what it learned stays."""
        self._fitted()
        other = copy.copy(self)
        other._log = log
        return other

    def check(self, train: Interactions) -> None:
        """Checks that `fit` can finish, before it takes time.

        Raises:
            ConfigError: if a library is not installed.
            DataError: if the memory does not suffice.
        """

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, by name."""
        return {}

    @property
    def answers(self) -> Answers:
        """Scores, lists and explanations of the fitted model.

        Raises:
            ConfigError: if the model is not fitted.
        """
        return self._fitted()[0]

    @property
    def train(self) -> Interactions:
        """The log that the model was fitted to.

        Raises:
            ConfigError: if the model is not fitted.
        """
        return self._fitted()[1]

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores all items for each query: float32 `[n_queries, n_items]`, higher is better.

        Args:
            queries: `user_id`, and `timestamp` for a model with `timed`; with `events_before` so many first
                events of the user are the history. An unknown user has none.

        Raises:
            ConfigError: if the model is not fitted.
        """
        return self.answers.scores(self._histories(queries))

    @overload
    def recommend(
        self,
        users: Sequence[str],
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
        as_frame: Literal[False] = False,
    ) -> Recommendations: ...

    @overload
    def recommend(
        self,
        users: Sequence[str],
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
        as_frame: Literal[True],
    ) -> pl.DataFrame: ...

    def recommend(
        self,
        users: Sequence[str],
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
        as_frame: bool = False,
    ) -> Recommendations | pl.DataFrame:
        """Recommends the best `k` items to each user, from the history at the end of the training data.

        Items of score 0 are left out, so a list may be short, and that of an unknown user empty.

        Args:
            users: ids.
            k: from 1 to the size of the catalogue.
            exclude: ids to leave out of all lists; those outside the catalogue are ignored.
            exclude_seen: whether items of the user's history are left out.
            allow: the only ids that may be recommended; None for all.
            as_frame: whether to return a Polars frame, one row for each item: `query` (its position from
                0), `user_id`, `rank` from 1, `item_id` and `score`.

        Raises:
            ConfigError: if `k` is impossible, or the model is not fitted.
            DataError: if users or items are not lists of strings.
        """
        user_ids = _ids("users", users)
        histories = self._histories(pl.DataFrame({"user_id": user_ids}, {"user_id": pl.String}))
        barred = self._rows("exclude", exclude)
        seen = [histories.list(query) for query in range(len(histories))]
        excluded = [np.concatenate([barred, rows]) if exclude_seen else barred for rows in seen]
        allowed = None if allow is None else self._rows("allow", allow)
        hits = self.answers.search(histories, k, excluded, allowed)
        known = histories.ends > histories.starts
        answers = Recommendations(
            Recommendation(user, bool(known[query]), *self._listed(rows, scores))
            for query, (user, rows, scores) in enumerate(zip(user_ids, *hits, strict=True))
        )
        return answers.frame() if as_frame else answers

    def similar_items(self, item_id: str, k: int = 10) -> SimilarItems:
        """Finds the items most similar to one, without itself and those of similarity 0.

        Raises:
            ConfigError: if `k` is impossible, or the model is not fitted.
            DataError: if the item is not in the catalogue.
        """
        answers = self.answers
        hits = answers.similar(self._row(item_id), k)
        return SimilarItems(item_id, *self._listed(hits.rows[0], hits.scores[0]))

    def explain(self, user: str, item_id: str) -> Explanation:
        """Splits the score of an item into contributions of the user's items, at the end of the training data.

        Raises:
            ConfigError: if the model is not fitted.
            DataError: if the item is not in the catalogue.
        """
        queries = pl.DataFrame({"user_id": _ids("user", [user])}, {"user_id": pl.String})
        histories = self._histories(queries)
        return self.answers.explain(histories, user, self._row(item_id))

    def _learn(self, train: Interactions) -> Scorer:
        raise NotImplementedError

    def _weights(self) -> HistoryWeights:
        return HistoryWeights()

    def _fitted(self) -> tuple[Answers, Interactions]:
        if self._answers is None or self._train is None:
            raise ConfigError(
                f"This {type(self).__name__} has not been fitted, so it has no scores. "
                "Call `fit(train)` first."
            )
        return self._answers, self._train

    def _histories(self, queries: pl.DataFrame) -> QueryHistories:
        train = self.train
        log = train if self._log is None else self._log
        starts, ends = slices_of(log, queries, timed=self.timed)
        users = train.user_vocabulary.rows(queries["user_id"])
        items = log.histories.items
        if log is not train:
            items = train.item_vocabulary.rows(log.items["item_id"])[items]
        return QueryHistories(users, starts, ends, items, log.event_times)

    def _row(self, item_id: str) -> int:
        (one,) = _ids("item_id", [item_id])
        return item_row(self.train.item_vocabulary, one)

    def _rows(self, argument: str, item_ids: Sequence[str]) -> np.ndarray:
        return self.train.item_vocabulary.rows(_ids(argument, item_ids)).astype(np.int64)

    def _listed(
        self, rows: np.ndarray, scores: np.ndarray
    ) -> tuple[list[str], list[float], list[dict[str, Any]]]:
        filled = rows >= 0  # a short list ends in row -1
        return self.item_ids[rows[filled]].tolist(), scores[filled].tolist(), []


def binary_matrix(train: Interactions) -> sp.csr_array:
    """The items of each user: float32 `[n_users, n_items]` of zeros and ones."""
    shape = (train.users.height, train.items.height)
    ones = np.ones(len(train), dtype=np.float32)
    matrix = sp.csr_array((ones, (train.user_rows, train.item_rows)), shape=shape)
    matrix.data[:] = 1.0  # the constructor adds up repeated events
    return matrix


def checked_top_n(top_n: int | None, of_what: str) -> int | None:
    """Checks a number of neighbours: 1 or more, or None for all."""
    if top_n is not None and top_n < 1:
        raise ConfigError(
            f"`top_n` is the number of {of_what}. Received: {top_n}. Give 1 or more, or None to keep all."
        )
    return top_n


def checked_days(name: str, days: float | None) -> float | None:
    """Checks a number of days: above 0, or None."""
    if days is not None and not 0 < days < np.inf:
        raise ConfigError(
            f"`{name}` is a number of days above 0. Received: {days}. Give None to let time not count."
        )
    return days


def _of_known(train: Interactions) -> Interactions:
    """Drops rows whose user or item is in no table."""
    known = (train.user_rows >= 0) & (train.item_rows >= 0)
    return train if known.all() else train.with_log(train.log.filter(pl.Series(known)))


def _ids(argument: str, ids: Sequence[str]) -> list[str]:
    listed = [ids] if isinstance(ids, str) else list(ids)
    if isinstance(ids, str) or not all(isinstance(one, str) for one in listed):
        raise DataError(
            f"`{argument}` takes a list of ids, which are strings. Received: {ids!r:.200}. Give a list "
            "of strings, as they stand in the tables."
        )
    return listed
