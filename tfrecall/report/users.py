"""Example users of a report: history, recommendations, and the items chosen afterwards."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.results import Explanation, common_reasons
from tfrecall.core.retriever import Retriever
from tfrecall.core.seen import Seen
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation import UserLists, user_lists

# Quantiles of history length of the example users. Nothing else decides, so that no example is picked
# because it looks good.
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
HISTORY, LIST, REASONS = 8, 10, 2

# Function from one query and catalogue rows to an explanation of each.
Explain = Callable[[pl.DataFrame, np.ndarray], list[Explanation]]


def example_users(
    retriever: Retriever,
    known: Interactions,
    test: Interactions,
    names: pl.Series,
    leading: str,
    explain: Explain | None = None,
) -> list[dict[str, Any]]:
    """Choose test users at fixed quantiles of history length, and list what the model recommends.

    Args:
        retriever: the model, queried at each user's earliest test row; its catalogue is in the order of
            the item table.
        known: rows of the histories.
        test: rows of the chosen items.
        names: titles of the items, in the order of the item table.
        leading: rule of the lists, `seen_removed` or `seen_kept`.
        explain: function that explains items; None without explanations.

    Returns:
        For each `user_id`, `length` of the history, `had` (titles, latest first, with ratings where
        there are any), `chosen` (how many items), `because` (the reasons that all items share) and
        `shown`: `title`, whether it was `chosen`, and `because`, its strongest reasons if they differ.
    """
    lengths = test.log.select(pl.col("user_id").unique(maintain_order=True)).join(
        known.log.group_by("user_id").len("length"), on="user_id", how="left", maintain_order="left"
    )
    ordered = lengths.with_columns(pl.col("length").fill_null(0)).sort("length", maintain_order=True)
    # Fewer than five users give the same place twice; `fromkeys` below keeps each once.
    places = [int(q * (ordered.height - 1)) for q in QUANTILES]
    picked = ordered[list(dict.fromkeys(places))]
    users = picked["user_id"].to_list()
    few = [part.with_log(part.log.filter(pl.col("user_id").is_in(users))) for part in (known, test)]
    lists = user_lists(retriever, few[1], seen=few[0], k=LIST, keep_seen=leading == Seen.KEPT)
    row_of = Vocabulary(lists.user_ids).row
    return [
        {
            "user_id": user,
            "length": length,
            "had": _history(few[0], user, names),
            "chosen": len(lists.targets[row_of(user)]),
            **_shown(lists, row_of(user), names, explain),
        }
        for user, length in picked.iter_rows()
    ]


def _history(known: Interactions, user: str, names: pl.Series) -> list[str]:
    own = known.log.filter(pl.col("user_id") == user)
    log = own.sort("timestamp", descending=True, maintain_order=True)[:HISTORY]
    titles = [names[row] for row in known.item_vocabulary.rows(log["item_id"]).tolist()]
    if "rating" not in log.columns:
        return titles
    return [
        title if rating is None else f"{title} ({rating:g})"
        for title, rating in zip(titles, log["rating"], strict=True)
    ]


def _shown(lists: UserLists, user: int, names: pl.Series, explain: Explain | None) -> dict[str, Any]:
    """The list of one user, and the reasons that all of it shares."""
    chosen = set(lists.targets[user].tolist())
    rows = lists.rows[user][lists.rows[user] >= 0]
    because: list[list[str]] = [[] for _ in rows]
    if explain is not None:
        named = dict(zip(lists.item_ids.tolist(), names.to_list(), strict=True))
        explanations = explain(lists.queries[user], rows)
        because = [
            [reason.named(named) for reason in one.reasons[:REASONS] if reason.contribution > 0]
            for one in explanations
        ]
    shared = common_reasons(because)
    if shared is not None:
        because = [[] for _ in rows]
    shown = [
        {"title": names[row], "chosen": row in chosen, "because": why}
        for row, why in zip(rows.tolist(), because, strict=True)
    ]
    return {"because": shared or [], "shown": shown}
