"""Recommendations for one user beside what that user had, for people to look at."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from tfrecall.release.release import Recommendation, Release, SimilarItems
from tfrecall.titles import title_column

if TYPE_CHECKING:  # the building wing, which answers do not need
    from tfrecall.ranking_run import RankingOutcome
    from tfrecall.run import Outcome

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
