"""What everything that answers gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recommendation:
    """The answer to one query.

    Attributes:
        user_id: who was asked for; None if the query named nobody.
        known: whether the user was in the training log. An unknown one is answered from the features and
            histories given, those in the user table, and what the model learned of unknown users.
        item_ids: best first; fewer than `k` if no more are left.
        scores: of the items, higher is better.
        items: for each item the columns asked for.
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
    """The answer of a pipeline to one query, with what came before it.

    Attributes:
        candidates: what the retrieval found, its best first.
        retrieval_scores: of the candidates.
        ranker_scores: of the candidates, without boosts.
        milliseconds: what each stage took, for all queries that were asked at once.
    """

    candidates: list[str] = field(default_factory=list)
    retrieval_scores: list[float] = field(default_factory=list)
    ranker_scores: list[float] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SimilarItems:
    """The answer to one item; as `Recommendation`."""

    item_id: str
    item_ids: list[str]
    scores: list[float]
    items: list[dict[str, Any]]


@dataclass(frozen=True)
class Reason:
    """What one item of a history adds to a score, or one feature of a query.

    Attributes:
        item_id: what the user had; None for a feature.
        weight: how much the item counts among what the user had, whatever is asked about; None where
            nothing like that is known, as of towers.
        contribution: its part of the score, or where `Explanation.additive` is not so how much the
            score falls if it is taken away; below 0 where it speaks against the item.
        feature: column of the query; None for an item.
        value: what the query says of the feature: a text, a number or texts; None where that is not
            known, and for an item.
    """

    item_id: str | None
    weight: float | None
    contribution: float
    feature: str | None = None
    value: Any = None

    def named(self, names: Mapping[str, str]) -> str:
        """In words, the item by the name it has.

        >>> Reason(None, None, 0.5, "age", 34.0).named({})
        'age = 34'
        """
        if self.item_id is not None:
            return names[self.item_id]
        value = "unknown" if self.value is None else self.value
        if isinstance(value, float):
            value = f"{value:.10g}"  # whole numbers as such, seconds since 1970 too
        elif isinstance(value, list):
            value = "|".join(value)
        return f"{self.feature} = {value}"


@dataclass(frozen=True)
class Explanation:
    """Why a user gets an item with this score.

    Attributes:
        user_id: who was asked for; None if the query named nobody.
        item_id: what was asked about.
        score: that of the lists.
        base: the part that no single item of the history has: all of it where everyone gets the same.
            Of towers the score of the item for somebody of whom nothing at all is known.
        reasons: one for each item the user had, and for each feature of towers; the largest contribution
            first, equal ones in the order of the catalogue, then of the features. Those that contribute
            nothing stand there with 0.
        additive: whether contributions and `base` add up to the score, but for rounding. Those of towers
            need not: each is what is lost without one thing, all else as it is. Two items that say the
            same may both have 0, and two that need each other may both have all of it.
    """

    user_id: str | None
    item_id: str
    score: float
    base: float
    reasons: list[Reason]
    additive: bool = True
