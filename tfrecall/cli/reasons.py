"""Why somebody is recommended something, for people and for programs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfrecall.titles import title_column, titles

if TYPE_CHECKING:
    from tfrecall.answers.lists import Explanation, Recommendation
    from tfrecall.release.people import Query
    from tfrecall.release.release import Release

# More would not fit beside the item that they speak for.
SHOWN = 3


def explained(
    release: "Release", queries: Sequence["Query"], answers: Sequence["Recommendation"]
) -> list[list["Explanation"]]:
    """For each answer an explanation of each of its items."""
    return [
        release.explanations(query, answer.item_ids)
        for query, answer in zip(queries, answers, strict=True)
    ]


def names_of(release: "Release") -> dict[str, str]:
    """What to call each item of a release."""
    names = titles(release.items, title_column(release.items)).to_list()
    return dict(zip(release.item_ids.tolist(), names, strict=True))


def in_words(names: Mapping[str, str], explanation: "Explanation") -> str:
    """What speaks most for this item: items by name, features with what is said, each its figure."""
    told = [
        f"{reason.named(names)} ({reason.contribution:.3f})"
        for reason in explanation.reasons[:SHOWN]
        if reason.contribution > 0
    ]
    nothing = "everyone is given this" if explanation.additive else "nothing by itself"
    return ", ".join(told) or nothing


def as_facts(explanation: "Explanation") -> dict[str, Any]:
    """All that adds to the score or takes from it."""
    told = [
        {name: value for name, value in vars(reason).items() if value is not None}
        for reason in explanation.reasons
        if reason.contribution
    ]
    return {
        "item_id": explanation.item_id,
        "score": explanation.score,
        "base": explanation.base,
        "additive": explanation.additive,
        "because": told,
    }
