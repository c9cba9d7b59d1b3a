"""Results of recommenders: recommendations, similar items, explanations; notebooks show them as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.core.dates import day_text, is_moment, value_text
from tfrecall.core.html import html_table
from tfrecall.core.text import feature_words

# Lists that a notebook shows.
_SHOWN = 5
_FRAME = {
    "query": pl.Int32(),
    USER: pl.String(),
    "rank": pl.Int32(),
    ITEM: pl.String(),
    "score": pl.Float32(),
}
_REASONS = {
    "reason": pl.String(),
    "contribution": pl.Float64(),
    ITEM: pl.String(),
    "feature": pl.String(),
}


@dataclass(frozen=True)
class Recommendation:
    """Recommended items for one query.

    Attributes:
        user_id: the user of the query; None if the query has none.
        known: whether the user was in the training log. For an unknown user the list comes from features
            and histories of the query and the user table, and from the embedding of unknown users.
        item_ids: best first; fewer than `k` if no more are left.
        scores: scores of the items, higher is better.
        items: for each item the requested columns of the item table.
        defaulted: features of an unknown user that neither the query nor the user table gave.
    """

    user_id: str | None
    known: bool
    item_ids: list[str]
    scores: list[float]
    items: list[dict[str, Any]]
    defaulted: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        user = "somebody new" if self.user_id is None else f"user {self.user_id}"
        title = f"Recommended to {user}{'' if self.known else ' (unknown)'}"
        return html_table(_item_rows(self.item_ids, self.scores, self.items), title)


@dataclass(frozen=True)
class StagedRecommendation(Recommendation):
    """Recommended items of a pipeline for one query, with the results of its stages.

    Attributes:
        user_id: the user of the query; None if the query has none.
        known: whether the user was in the training log.
        item_ids: best first; fewer than `k` if no more are left.
        scores: scores of the items by the ranker, with boosts; higher is better.
        items: for each item the requested columns of the item table.
        defaulted: features of an unknown user that neither the query nor the user table gave.
        candidates: item ids from the retrieval, its best first.
        retrieval_scores: scores of the candidates by the retrieval.
        ranker_scores: scores of the candidates by the ranker, without boosts.
        milliseconds: duration of each stage, for all queries of one call together.
    """

    candidates: list[str] = field(default_factory=list)
    retrieval_scores: list[float] = field(default_factory=list)
    ranker_scores: list[float] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)


class Recommendations(list[Recommendation]):
    """Recommendations of several queries: a list, in notebooks a table for each of the first queries."""

    def frame(self, items: pl.DataFrame | None = None) -> pl.DataFrame:
        """One row for each recommended item.

        Args:
            items: columns to add: `item_id`, and any others.

        Returns:
            `query`, Int32, the position of the query from 0; `user_id`, String, null for a query without a
            user; `rank`, Int32, from 1; `item_id`, String; `score`, Float32; then the columns of `items`.
            One that is called like these gets `_of_item` behind its name. Queries with empty lists have no
            rows.

        Example:

        >>> Recommendations([Recommendation("u", True, ["a", "b"], [2.0, 1.0], [])]).frame().rows()
        [(0, 'u', 1, 'a', 2.0), (0, 'u', 2, 'b', 1.0)]
        """
        rows = [
            (query, one.user_id, rank, item_id, score)
            for query, one in enumerate(self)
            for rank, (item_id, score) in enumerate(zip(one.item_ids, one.scores, strict=True), start=1)
        ]
        frame = pl.DataFrame(rows, schema=_FRAME, orient="row")
        if items is None:
            return frame
        taken = {name: f"{name}_of_item" for name in items.columns if name in _FRAME and name != ITEM}
        return frame.join(items.rename(taken), on=ITEM, how="left", maintain_order="left")

    def _repr_html_(self) -> str:
        more = len(self) - _SHOWN
        tables = [one._repr_html_() for one in self[:_SHOWN]]
        return "".join([*tables, f"<p>and {more:,} more lists</p>" if more > 0 else ""])


@dataclass(frozen=True)
class SimilarItems:
    """The items most similar to one.

    Attributes:
        item_id: the item of the query.
        item_ids: most similar first, without the item itself.
        scores: scores of the items, higher is better.
        items: for each item the requested columns of the item table.
    """

    item_id: str
    item_ids: list[str]
    scores: list[float]
    items: list[dict[str, Any]]

    def _repr_html_(self) -> str:
        rows = _item_rows(self.item_ids, self.scores, self.items)
        return html_table(rows, f"Similar to {self.item_id}")


@dataclass(frozen=True)
class Reason:
    """The contribution of one item of a history, or of one feature of a query, to a score.

    Attributes:
        item_id: item of the user's history; None for a feature.
        weight: weight of the item in the history, the same for every explained item; None for models
            without such weights, such as two towers.
        contribution: part of the score, or with `Explanation.additive` false how much the score falls
            without it; below 0 where it speaks against the item.
        feature: column of the query; None for an item.
        value: value of the feature: a text, a number or texts; None if it is not known, and for an item.
    """

    item_id: str | None
    weight: float | None
    contribution: float
    feature: str | None = None
    value: Any = None

    def named(self, names: Mapping[str, str]) -> str:
        """Describes the reason for people: an item by its title, a feature in words, a moment by its day.

        Args:
            names: title of each item; an item without one is named by its id.

        >>> Reason(None, None, 0.5, "raw_user_age", 34.0).named({})
        'age 34'
        >>> Reason(None, None, 0.5, "timestamp", 889612345.0).named({})
        'last active 11 Mar 1998'
        """
        if self.item_id is not None:
            return names.get(self.item_id, self.item_id)
        if self.feature == USER:  # the id says nothing: what is learnt of the user is the reason
            return "an unknown user" if self.value is None else "the user's own vector"
        if self.feature == TIMESTAMP and isinstance(self.value, float) and is_moment(self.value):
            # A query's moment is that of the user's last event, unless the request gives another one.
            return f"last active {day_text(self.value)}"
        value = "unknown" if self.value is None else value_text(self.value)
        return f"{feature_words(str(self.feature))} {value}"


def common_reasons(lists: Sequence[Sequence[str]]) -> list[str] | None:
    """The reasons that all items of a list share, word for word, to be said once; None if they differ.

    A single item shares nothing.

    >>> common_reasons([["age = 34"], ["age = 34"]]), common_reasons([["age = 34"], []])
    (['age = 34'], None)
    """
    if len(lists) < 2 or any(list(one) != list(lists[0]) for one in lists):
        return None
    return list(lists[0])


@dataclass(frozen=True)
class Explanation:
    """The contributions to the score of one item for one query.

    Attributes:
        user_id: the user of the query; None if the query has none.
        item_id: the explained item.
        score: the score that lists have.
        base: the part of the score that belongs to no item of the history: all of it where every user gets
            the same scores. For two towers, the score of a user with no features and no history.
        reasons: one for each item of the history, and for each feature of a two-tower model; the largest
            contribution first, equal ones in the order of the catalogue, then of the features. Contributions
            of 0 are included.
        additive: whether contributions and `base` add up to the score, but for rounding. Those of two
            towers need not: each is the loss without one item or feature, all else unchanged. Two redundant
            items may both have 0, and two that depend on each other may both have the whole.
    """

    user_id: str | None
    item_id: str
    score: float
    base: float
    reasons: list[Reason]
    additive: bool = True

    def strongest(self, count: int) -> list[Reason]:
        """The reasons that speak for the item, of the first `count`.

        >>> Explanation("u", "a", 0.5, 0.5, [Reason("b", None, 0.2), Reason("c", None, -0.2)]).strongest(2)
        [Reason(item_id='b', weight=None, contribution=0.2, feature=None, value=None)]
        """
        return [reason for reason in self.reasons[:count] if reason.contribution > 0]

    def frame(self, names: Mapping[str, str] | None = None) -> pl.DataFrame:
        """One row for each reason with a contribution, in the order of `reasons`.

        Args:
            names: title of each item; an item without one is named by its id.

        Returns:
            `reason`, String, in words; `contribution`, Float64; `item_id` and `feature`, String, one of
            them null.

        Example:

        >>> explanation = Explanation("u", "a", 1.0, 0.5, [Reason("b", None, 0.5)])
        >>> explanation.frame({"b": "Alien (1979)"}).rows()
        [('Alien (1979)', 0.5, 'b', None)]
        """
        rows = [
            (reason.named(names or {}), reason.contribution, reason.item_id, reason.feature)
            for reason in self.reasons
            if reason.contribution
        ]
        return pl.DataFrame(rows, schema=_REASONS, orient="row")

    def _repr_html_(self) -> str:
        rows = self.frame().select("reason", "contribution").to_dicts()
        user = "somebody new" if self.user_id is None else f"user {self.user_id}"
        return html_table(
            rows, f"{self.item_id} for {user}: score {self.score:.4g}, base {self.base:.4g}"
        )


def _item_rows(
    item_ids: list[str], scores: list[float], items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    return [
        {"rank": rank, "item_id": item_id, "score": score, **columns}
        for rank, (item_id, score, columns) in enumerate(
            zip(item_ids, scores, items or [{}] * len(item_ids), strict=True), start=1
        )
    ]
