"""Recommendations for one user beside what that user had, for people to look at."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from tfrecall.release.release import Recommendation, Release, SimilarItems
from tfrecall.titles import title_column

if TYPE_CHECKING:  # the building wing, which answers do not need
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
