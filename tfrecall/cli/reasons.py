"""Why somebody is recommended something, for people and for programs."""

from collections.abc import Sequence
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
        [release.explain(query, item_id) for item_id in answer.item_ids]
        for query, answer in zip(queries, answers, strict=True)
    ]


def in_words(release: "Release", explanation: "Explanation") -> str:
    """The items that speak most for this one, by title and contribution."""
    names = dict(
        zip(
            release.item_ids.tolist(),
            titles(release.items, title_column(release.items)).to_list(),
            strict=True,
        )
    )
    told = [
        f"{names[reason.item_id]} ({reason.contribution:.3f})"
        for reason in explanation.reasons[:SHOWN]
        if reason.contribution > 0
    ]
    return ", ".join(told) or "everyone is given this"


def as_facts(explanation: "Explanation") -> dict[str, Any]:
    """All that adds to the score or takes from it."""
    told = [vars(reason) for reason in explanation.reasons if reason.contribution]
    return {"item_id": explanation.item_id, "base": explanation.base, "because": told}
