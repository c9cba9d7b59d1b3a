"""Example lists of a ranker: test rows of one user or one list, in the order of their predictions."""

from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.columns import USER
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation.ranking import RankingEvaluation, RatingJudge
from tfrecall.report.users import at_quantiles

ROWS = 10


def example_lists(
    test: Interactions, evaluation: RankingEvaluation, judge: RatingJudge, names: pl.Series
) -> list[dict[str, Any]]:
    """Choose lists at fixed quantiles of their length, of those with two rows and more.

    Args:
        test: the test rows.
        evaluation: result of `evaluate_ranking` on these rows.
        judge: names the label, and the group of a list task; other lists are those of users.
        names: titles of the items, in the order of the item table.

    Returns:
        For each list its `name`, `length`, and the first ten `rows` by prediction, equal ones in the order
        of the log: `title`, `prediction`, `label`, and whether the label is the `best` of the whole list.
    """
    group = judge.group if judge.kind == "list" else USER
    table = pl.DataFrame(
        {
            "name": test.log[group].cast(pl.String),
            "item": test.item_rows,
            "prediction": judge.expected(evaluation.predictions[evaluation.model]),
            "label": judge.labels(test),
        }
    )
    lengths = table.group_by("name", maintain_order=True).len("length").filter(pl.col("length") > 1)
    return [
        _list(table.filter(pl.col("name") == name), name, names)
        for name in at_quantiles(lengths)["name"].to_list()
    ]


def _list(rows: pl.DataFrame, name: str, names: pl.Series) -> dict[str, Any]:
    best = float(np.max(rows["label"].to_numpy()))
    shown = rows.sort("prediction", descending=True, maintain_order=True)[:ROWS]
    return {
        "name": name,
        "length": rows.height,
        "rows": [
            {
                "title": names[item] if item >= 0 else "an item outside the catalogue",
                "prediction": prediction,
                "label": label,
                "best": label == best,
            }
            for item, prediction, label in shown.select("item", "prediction", "label").iter_rows()
        ],
    }
