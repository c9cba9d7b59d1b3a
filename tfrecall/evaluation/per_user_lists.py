"""Lists of the test users, item by item."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrecall.core.ragged import Histories
from tfrecall.core.retriever import AnswersByRule, Retriever
from tfrecall.core.seen import Seen
from tfrecall.core.top_k import top_k
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation.ranks import MAX_SCORES, checked_scores
from tfrecall.evaluation.truth import Truth

_BLOCK_USERS = 2048


@dataclass(frozen=True)
class UserLists:
    """Lists of users at the time of their earliest test row.

    Attributes:
        user_ids: object array of `str` `[n_users]`, by first appearance in the test log.
        item_ids: the catalogue of `rows`.
        rows: int32 `[n_users, k]`, best first, -1 where no item is left.
        seen: the distinct catalogue rows that each user has seen.
        targets: the distinct catalogue rows of each user's test rows, -1 outside the catalogue.
        queries: the queries of the lists, one row a user.
    """

    user_ids: np.ndarray
    item_ids: np.ndarray
    rows: np.ndarray
    seen: Histories
    targets: Histories
    queries: pl.DataFrame

    @property
    def exposure(self) -> np.ndarray:
        """Number of lists that hold each item: int64 `[n_items]`."""
        return np.bincount(self.rows[self.rows >= 0], minlength=len(self.item_ids))


def user_lists(
    retriever: Retriever,
    test: Interactions,
    *,
    seen: Interactions,
    history: Interactions | None = None,
    k: int = 10,
    keep_seen: bool = False,
) -> UserLists:
    """Computes the lists whose exposure `evaluate` reports: one a user, ties by catalogue order.

    Args:
        retriever: scores the query of each user's earliest test row.
        test: at least one row.
        seen: seen items of users.
        history: the log with all events, of which those before the row count as seen; None for `seen`.
        k: length of a list.
        keep_seen: whether lists may hold seen items.
    """
    if isinstance(retriever, AnswersByRule):
        retriever = retriever.under(Seen.of(exclude_seen=not keep_seen))
    truth = Truth.build(test, seen, retriever.item_ids, history)
    # In order of users: `truth` is sorted by user, and users are numbered by first appearance.
    leads = np.flatnonzero(truth.leads)
    queries = truth.queries[leads.tolist()]
    step = max(1, min(_BLOCK_USERS, MAX_SCORES // len(retriever.item_ids)))
    rows = np.empty((len(leads), k), dtype=np.int32)
    for start in range(0, len(leads), step):
        part = slice(start, start + step)
        excluded = None if keep_seen else truth.seen_at(leads[part])
        rows[part] = top_k(checked_scores(retriever, queries[part]), k, excluded)
    names = test.log["user_id"].unique(maintain_order=True).to_numpy().astype(object)
    return UserLists(names, retriever.item_ids, rows, truth.seen, truth.targets, queries)


__all__ = ["UserLists", "user_lists"]
