"""Users of a report: history, recommendations, and the items chosen afterwards."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.results import Explanation, common_reasons
from tfrecall.core.retriever import Retriever
from tfrecall.core.seen import Seen
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation import Evaluation, UserLists, user_lists
from tfrecall.report.images import ItemImages

# Quantiles of history length of the example users. Nothing else decides, so that no example is picked
# because it looks good.
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
WORST = 3
HISTORY, LIST, REASONS, MISSED = 8, 10, 2, 5

# Function from one query and catalogue rows to an explanation of each.
Explain = Callable[[pl.DataFrame, np.ndarray], list[Explanation]]


@dataclass(frozen=True)
class UserCards:
    """Makes the cards of users: what they had, what the model recommends, what they chose.

    Attributes:
        retriever: the model, queried at each user's earliest test row; its catalogue is in the order of
            the item table.
        known: rows of the histories.
        test: rows of the chosen items.
        names: titles of the items, in the order of the item table.
        leading: rule of the lists, `seen_removed` or `seen_kept`.
        explain: function that explains items; None without explanations.
        images: pictures of the items; None without any.
    """

    retriever: Retriever
    known: Interactions
    test: Interactions
    names: pl.Series
    leading: str
    explain: Explain | None = None
    images: ItemImages | None = None

    def lengths(self) -> pl.DataFrame:
        """Users of the test by first appearance, with the `length` of their history."""
        return (
            self.test.log.select(pl.col("user_id").unique(maintain_order=True))
            .join(
                self.known.log.group_by("user_id").len("length"),
                on="user_id",
                how="left",
                maintain_order="left",
            )
            .with_columns(pl.col("length").fill_null(0))
        )

    def lists(self, users: list[str]) -> UserLists:
        """Lists of some users of the test."""
        known, test = self._few(users)
        keep = self.leading == Seen.KEPT
        return user_lists(self.retriever, test, seen=known, k=LIST, keep_seen=keep)

    def of(self, picked: pl.DataFrame) -> list[dict[str, Any]]:
        """Cards of some rows of `lengths`.

        Returns:
            For each `user_id`, `length` of the history, `had` (items, latest first, titles with ratings
            where there are any), `chosen` (how many items), `missed` (some of these that are not shown),
            `because` (the reasons that all items share) and `shown`: items, whether each was `chosen`, and
            `because`, its strongest reasons if they differ. An item has a `title` and an `image`, None
            without a picture.
        """
        users = picked["user_id"].to_list()
        if not users:
            return []
        known, lists = self._few(users)[0], self.lists(users)
        row_of = Vocabulary(lists.user_ids).row
        return [
            {
                "user_id": user,
                "length": length,
                "had": self._history(known, user),
                "chosen": len(lists.targets[row_of(user)]),
                **self._shown(lists, row_of(user)),
            }
            for user, length in picked.select("user_id", "length").iter_rows()
        ]

    def _few(self, users: list[str]) -> tuple[Interactions, Interactions]:
        some = pl.col("user_id").is_in(users)
        known, test = (part.with_log(part.log.filter(some)) for part in (self.known, self.test))
        return known, test

    @cached_property
    def _named(self) -> dict[str, str]:
        """The title of each item by its id, made once for all cards."""
        return dict(zip(self.retriever.item_ids.tolist(), self.names.to_list(), strict=True))

    def _item(self, row: int) -> dict[str, Any]:
        return {"title": self.names[row], "image": self.images.take(row) if self.images else None}

    def _history(self, known: Interactions, user: str) -> list[dict[str, Any]]:
        own = known.log.filter(pl.col("user_id") == user)
        log = own.sort("timestamp", descending=True, maintain_order=True)[:HISTORY]
        items = [self._item(row) for row in known.item_vocabulary.rows(log["item_id"]).tolist()]
        if "rating" in log.columns:
            for item, rating in zip(items, log["rating"], strict=True):
                item["title"] += "" if rating is None else f" ({rating:g})"
        return items

    def _shown(self, lists: UserLists, user: int) -> dict[str, Any]:
        """The list of one user, the reasons that all of it shares, and chosen items that it lacks."""
        chosen = {row for row in lists.targets[user].tolist() if row >= 0}
        rows = lists.rows[user][lists.rows[user] >= 0]
        because: list[list[str]] = [[] for _ in rows]
        if self.explain is not None:
            because = [
                [reason.named(self._named) for reason in one.strongest(REASONS)]
                for one in self.explain(lists.queries[user], rows)
            ]
        shared = common_reasons(because)
        if shared is not None:
            because = [[] for _ in rows]
        shown = [
            {**self._item(row), "chosen": row in chosen, "because": why}
            for row, why in zip(rows.tolist(), because, strict=True)
        ]
        missed = sorted(chosen - set(rows.tolist()))[:MISSED]
        return {"because": shared or [], "shown": shown, "missed": [self._item(row) for row in missed]}


def example_users(cards: UserCards) -> list[dict[str, Any]]:
    """Cards of test users at fixed quantiles of history length."""
    return cards.of(at_quantiles(cards.lengths()))


def at_quantiles(lengths: pl.DataFrame) -> pl.DataFrame:
    """The rows at fixed quantiles of their `length`; of fewer than five rows each once."""
    ordered = lengths.sort("length", maintain_order=True)
    places = [int(q * (ordered.height - 1)) for q in QUANTILES if ordered.height]
    return ordered[list(dict.fromkeys(places))]


def worst_users(cards: UserCards, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Cards of the test users whose items rank lowest, by the mean of 1 / rank; of equal ones the most items.

    Args:
        cards: makes the cards.
        evaluation: result of `evaluate` on the test rows; without its rankings there are no cards.
    """
    ranking = evaluation.rankings.get(evaluation.model)
    if ranking is None:
        return []
    targets = ranking.by(Seen(cards.leading)).targets
    means = targets.sums(1.0 / (targets.ranks + 1.0)) / targets.counts
    order = np.lexsort((-targets.counts, means))[:WORST]
    return cards.of(cards.lengths()[order.tolist()])
