"""The base of models that answer from what a user had."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import polars as pl
import scipy.sparse as sp

from tfrecall.core.results import Explanation, Recommendation, SimilarItems
from tfrecall.core.vocabulary import item_row
from tfrecall.data.histories import as_of
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError
from tfrecall.index.history import Answers, HistoryWeights, QueryHistories
from tfrecall.index.scorers import Scorer

Model = TypeVar("Model", bound="HistoryModel")


class HistoryModel:
    """A model made of weights for what a user had, and of a scorer that turns them into scores.

    A subclass says in `_learn` how the scorer comes from a log, and in `_weights` how much each event
    counts. Scoring, lists and explanations are those of `tfrecall.index`, which a release uses, too.

    Attributes:
        name: what tables call the model; two of one kind beside each other need names of their own.
        timed: whether a query with a `timestamp` is answered from what the user had up to that time;
            otherwise from all of it.
        item_ids: the catalogue it was fitted to.
    """

    name = "history_model"
    timed = False

    def __init__(self) -> None:
        self.item_ids: np.ndarray = np.empty(0, dtype=object)
        self._train: Interactions | None = None
        self._answers: Answers | None = None

    def fit(self: Model, train: Interactions) -> Model:
        """Learns from `train`, whose item table is the catalogue; returns itself."""
        self.check(train)
        train = _of_known(train)
        answers = Answers(train.item_vocabulary.ids, self._weights(), self._learn(train))
        self.item_ids, self._train, self._answers = answers.item_ids, train, answers
        return self

    def check(self, train: Interactions) -> None:
        """Refuses what `fit` could not finish, before it takes time.

        Raises:
            ConfigError: if what it needs is not installed.
            DataError: if the memory is not there.
        """

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments it was made with, by name."""
        return {}

    @property
    def answers(self) -> Answers:
        """What answers, once the model is fitted.

        Raises:
            ConfigError: if it is not.
        """
        return self._fitted()[0]

    @property
    def train(self) -> Interactions:
        """What the model was fitted to.

        Raises:
            ConfigError: if it was not.
        """
        return self._fitted()[1]

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """See `Retriever.scores`."""
        timed = self.timed and "timestamp" in queries.columns
        times = queries["timestamp"].to_numpy() if timed else None
        return self.answers.scores(self._had(queries["user_id"], times))

    def recommend(
        self,
        users: Sequence[str],
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
    ) -> list[Recommendation]:
        """The best `k` items for each user, as of the end of the training data.

        Items of score 0 are left out, so a list may be short, and that of an unknown user empty.

        Args:
            users: ids.
            k: from 1 to the size of the catalogue.
            exclude: ids that nobody shall get; those outside the catalogue are ignored.
            exclude_seen: whether users do not get what they had.
            allow: the only ids that anybody may get; None for all.

        Raises:
            ConfigError: if `k` is impossible, or the model is not fitted.
            DataError: if users or items are not named by lists of strings.
        """
        asked = _ids("users", users)
        had = self._had(pl.Series(asked, dtype=pl.String))
        barred = self._rows("exclude", exclude)
        seen = [had.list(query) for query in range(len(had))]
        excluded = [np.concatenate([barred, rows]) if exclude_seen else barred for rows in seen]
        allowed = None if allow is None else self._rows("allow", allow)
        hits = self.answers.search(had, k, excluded, allowed)
        known = had.ends > had.starts
        return [
            Recommendation(user, bool(known[query]), *self._listed(rows, scores))
            for query, (user, rows, scores) in enumerate(zip(asked, *hits, strict=True))
        ]

    def similar_items(self, item_id: str, k: int = 10) -> SimilarItems:
        """The items that have most to do with one, without itself and those that have nothing.

        Raises:
            ConfigError: if `k` is impossible, or the model is not fitted.
            DataError: if the item is not in the catalogue.
        """
        answers = self.answers
        hits = answers.similar(self._row(item_id), k)
        return SimilarItems(item_id, *self._listed(hits.rows[0], hits.scores[0]))

    def explain(self, user: str, item_id: str) -> Explanation:
        """What each item the user had adds to the score of an item, as of the end of the training data.

        Raises:
            ConfigError: if the model is not fitted.
            DataError: if the item is not in the catalogue.
        """
        had = self._had(pl.Series(_ids("user", [user]), dtype=pl.String))
        return self.answers.explain(had, user, self._row(item_id))

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

    def _had(self, user_ids: pl.Series, times: np.ndarray | None = None) -> QueryHistories:
        train = self.train
        starts, ends = as_of(train, user_ids, times)
        users = train.user_vocabulary.rows(user_ids)
        return QueryHistories(users, starts, ends, train.histories.items, train.event_times)

    def _row(self, item_id: str) -> int:
        (one,) = _ids("item_id", [item_id])
        return item_row(self.train.item_vocabulary, one)

    def _rows(self, argument: str, item_ids: Sequence[str]) -> np.ndarray:
        return self.train.item_vocabulary.rows(_ids(argument, item_ids)).astype(np.int64)

    def _listed(
        self, rows: np.ndarray, scores: np.ndarray
    ) -> tuple[list[str], list[float], list[dict[str, Any]]]:
        there = rows >= 0
        return self.item_ids[rows[there]].tolist(), scores[there].tolist(), []


def binary_matrix(train: Interactions) -> sp.csr_array:
    """Who had what: float32 `[n_users, n_items]` of zeros and ones."""
    shape = (train.users.height, train.items.height)
    ones = np.ones(len(train), dtype=np.float32)
    matrix = sp.csr_array((ones, (train.user_rows, train.item_rows)), shape=shape)
    matrix.data[:] = 1.0  # the constructor adds up what occurs twice
    return matrix


def checked_top_n(top_n: int | None, of_what: str) -> int | None:
    """Refuses a number of neighbours below 1."""
    if top_n is not None and top_n < 1:
        raise ConfigError(
            f"`top_n` is the number of {of_what}. Received: {top_n}. Give 1 or more, or None to keep all."
        )
    return top_n


def checked_days(name: str, days: float | None) -> float | None:
    """Refuses a time that is no positive number of days."""
    if days is not None and not 0 < days < np.inf:
        raise ConfigError(
            f"`{name}` is a number of days above 0. Received: {days}. Give None to let time not count."
        )
    return days


def _of_known(train: Interactions) -> Interactions:
    """Without the rows whose user or item is in no table."""
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
