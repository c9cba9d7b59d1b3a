"""What everything that answers gives back."""

from dataclasses import dataclass
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
class SimilarItems:
    """The answer to one item; as `Recommendation`."""

    item_id: str
    item_ids: list[str]
    scores: list[float]
    items: list[dict[str, Any]]


@dataclass(frozen=True)
class Reason:
    """What one item of a history adds to a score.

    Attributes:
        item_id: what the user had.
        weight: how much it counts among what the user had, whatever is asked about.
        contribution: its part of the score; below 0 where it speaks against the item.
    """

    item_id: str
    weight: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Why a user gets an item with this score.

    Attributes:
        user_id: who was asked for; None if the query named nobody.
        item_id: what was asked about.
        score: that of the lists. The contributions and `base` add up to it, but for rounding.
        base: the part that no single item of the history has: all of it where everyone gets the same.
        reasons: one for each item the user had, the largest contribution first, equal ones in the order
            of the catalogue; those that contribute nothing stand there with 0.
    """

    user_id: str | None
    item_id: str
    score: float
    base: float
    reasons: list[Reason]
