"""Results of recommenders: recommendations, similar items, explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfrecall.core.columns import TIMESTAMP, USER
from tfrecall.core.dates import date_text


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
        """Describes the reason for people: an item by its title, a moment by its date.

        Args:
            names: title of each item; an item without one is named by its id.

        >>> Reason(None, None, 0.5, "age", 34.0).named({})
        'age = 34'
        >>> Reason(None, None, 0.5, "timestamp", 879024327.0).named({})
        'timestamp = 1997-11-08 21:18'
        """
        if self.item_id is not None:
            return names.get(self.item_id, self.item_id)
        if self.feature == USER:  # the id says nothing: what is learnt of the user is the reason
            return "an unknown user" if self.value is None else "the user's own vector"
        return f"{self.feature} = {self._said()}"

    def _said(self) -> str:
        if self.value is None:
            return "unknown"
        if isinstance(self.value, list):
            return "|".join(map(str, self.value))
        if not isinstance(self.value, float):
            return str(self.value)
        # Whole numbers without a point.
        return date_text(self.value) if self.feature == TIMESTAMP else f"{self.value:.10g}"


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
