"""Outcome of a run for people: metrics, and the user of the first test row as an example."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from rich.table import Table

from tfrecall.cli.answers import item_rows, label_columns, title_and_labels
from tfrecall.cli.program import command
from tfrecall.cli.tables import (
    item_table,
    metric_notes,
    metric_tables,
    ranking_table,
    tournament_tables,
)
from tfrecall.evaluation.ranking import RankingEvaluation
from tfrecall.runs.run import Outcome

ROWS = 10


@dataclass(frozen=True)
class Example:
    """History of one user and recommendations.

    Attributes:
        user_id: the user.
        history: items with columns.
        order: sort order of the history: `best liked`, or `latest` without ratings.
        recommended: items with scores and columns.
    """

    user_id: str
    history: list[dict[str, Any]]
    order: str
    recommended: list[dict[str, Any]]


def outcome_tables(outcome: Outcome) -> list[Table | str]:
    """Metrics, an example, the report, and the command to query the release."""
    if isinstance(outcome.evaluation, RankingEvaluation):
        return _ranking_tables(outcome, outcome.evaluation)
    root, example = outcome.release.root, example_of(outcome)
    return [
        *tournament_tables(outcome.metrics),
        *metric_tables(outcome.metrics),
        item_table(f"What user {example.user_id} had, {example.order} first", example.history),
        item_table(f"Recommended to user {example.user_id}", example.recommended),
        _release_text(outcome, "recommend", root, "--user", example.user_id, "-k", 10),
    ]


def _ranking_tables(outcome: Outcome, evaluation: RankingEvaluation) -> list[Table | str]:
    root = outcome.release.root
    user_id, rows = predictions_of(outcome, evaluation)
    items = ",".join(row["item_id"] for row in rows[:3])
    return [
        ranking_table(outcome.metrics),
        *metric_notes(outcome.metrics),
        item_table(f"Test rows of user {user_id}, the highest score first", rows),
        _release_text(outcome, "rank", root, "--user", user_id, "--items", items),
    ]


def _release_text(outcome: Outcome, *question: object) -> str:
    root = outcome.release.root
    return (
        f"Release {outcome.release.version} in {root}.\nReport: {root / 'report.html'}\n"
        f"Ask it: {command(*question)}"
    )


def example_of(outcome: Outcome) -> Example:
    """Recommendations for the user of the first test row."""
    user_id = outcome.splits.test.log["user_id"][0]
    release, known = outcome.release, outcome.splits.known
    columns = label_columns(release)
    log = known.log.filter(pl.col("user_id") == user_id)
    order = [name for name in ("rating", "timestamp") if name in log.columns]
    liked = log.sort(order, descending=True, maintain_order=True)[:ROWS]
    history = liked.join(known.items, on="item_id", how="left", maintain_order="left")
    shown = ["item_id", *columns, *(["rating"] if "rating" in log.columns else [])]
    k = min(ROWS, known.items.height)
    (answer,) = release.recommend([user_id], k, columns=columns)
    first = "best liked" if "rating" in log.columns else "latest"
    return Example(user_id, history.select(shown).to_dicts(), first, item_rows(answer))


def predictions_of(outcome: Outcome, evaluation: RankingEvaluation) -> tuple[str, list[dict[str, Any]]]:
    """The user of the first test row, and predictions and labels of the user's test rows."""
    release, test = outcome.release, outcome.splits.test
    user_id, label = test.log["user_id"][0], release.manifest["label"]["column"]
    # Predictions are in the order of the test rows.
    scores = pl.Series("score", evaluation.predictions[evaluation.model])
    columns = [column for column in title_and_labels(release) if column not in test.log.columns]
    rows = test.log.with_columns(scores).filter(pl.col("user_id") == user_id)
    rows = rows.sort("score", descending=True, maintain_order=True)[:ROWS]
    shown = rows.join(test.items, on="item_id", how="left", maintain_order="left")
    return user_id, shown.select("item_id", "score", label, *columns).to_dicts()
