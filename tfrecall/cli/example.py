"""Recommendations for one user beside what that user had, for people to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from tfrecall.data.titles import title_column, titles
from tfrecall.release.retriever import Recommendation, Release, SimilarItems

if TYPE_CHECKING:  # the building wing, which answers do not need
    from tfrecall.runs.ranking import RankingOutcome
    from tfrecall.runs.retrieval import Outcome

ROWS = 10


@dataclass(frozen=True)
class Example:
    """One user: what was had and what is recommended.

    Attributes:
        order: what comes first of what was had: `best liked`, or `latest` where there are no ratings.
    """

    user_id: str
    had: list[dict[str, Any]]
    order: str
    recommended: list[dict[str, Any]]


def example_of(outcome: "Outcome") -> Example:
    """Shows the user of the first test row."""
    user_id = outcome.prepared.test.log["user_id"][0]
    release, known = outcome.release, outcome.prepared.known
    columns = label_columns(release)
    log = known.log.filter(pl.col("user_id") == user_id)
    order = [name for name in ("rating", "timestamp") if name in log.columns]
    liked = log.sort(order, descending=True, maintain_order=True)[:ROWS]
    had = liked.join(known.items, on="item_id", how="left", maintain_order="left")
    wanted = ["item_id", *columns, *(["rating"] if "rating" in log.columns else [])]
    k = min(ROWS, known.items.height)
    (answer,) = release.recommend([user_id], k, columns=columns)
    first = "best liked" if "rating" in log.columns else "latest"
    return Example(user_id, had.select(wanted).to_dicts(), first, rows_of(answer))


def predicted_of(outcome: "RankingOutcome") -> tuple[str, list[dict[str, Any]]]:
    """The user of the first test row, and what was predicted and is true of the user's test rows."""
    release, test = outcome.release, outcome.prepared.test
    user_id, label = test.log["user_id"][0], release.manifest["label"]["column"]
    scores = pl.Series("score", outcome.evaluation.predictions[outcome.evaluation.model])
    columns = [column for column in title_and_labels(release) if column not in test.log.columns]
    rows = test.log.with_columns(scores).filter(pl.col("user_id") == user_id)
    rows = rows.sort("score", descending=True, maintain_order=True)[:ROWS]
    shown = rows.join(test.items, on="item_id", how="left", maintain_order="left")
    return user_id, shown.select("item_id", "score", label, *columns).to_dicts()


def title_and_labels(release: Release) -> list[str]:
    """The title of items, if there is one, and the columns that `label_columns` names."""
    title = title_column(release.items, release.manifest["schema"]["candidate"])
    return list(dict.fromkeys([*([title] if title else []), *label_columns(release)]))


def label_columns(release: Release) -> list[str]:
    """The columns of the item table that tell a person most: a title, then lists of words."""
    features = release.manifest["schema"]["candidate"]
    names = [
        f["column"] for kind in ("text", "multi_categorical") for f in features if f["type"] == kind
    ]
    title = title_column(release.items, features)
    return list(dict.fromkeys(names)) or ([title] if title else [])


def rows_of(answer: Recommendation | SimilarItems) -> list[dict[str, Any]]:
    """One dictionary an item: id, score and the columns that were asked for."""
    items = answer.items or [{} for _ in answer.item_ids]
    return [
        {"item_id": item_id, "score": score, **columns}
        for item_id, score, columns in zip(answer.item_ids, answer.scores, items, strict=True)
    ]


if TYPE_CHECKING:
    from tfrecall.core.results import Explanation, Recommendation
    from tfrecall.release.retriever import Release
    from tfrecall.release.users import Query

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
