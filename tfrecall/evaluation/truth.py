"""Test rows, targets and seen items in the rows of one model's catalogue."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrecall.core.ragged import Histories
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.interactions import Interactions

# Columns known only after the event: a query without them cannot leak its target.
_OUTCOMES = ("item_id", "rating", "weight")


@dataclass(frozen=True)
class Truth:
    """The test rows sorted by user, with ids mapped to rows of a catalogue.

    Sorted, because a model can share work between neighbouring queries of one user. Users are numbered by
    first appearance among the test rows, independently of the model's and the logs' tables.

    Attributes:
        order: int64 `[n_rows]`, the row of the test log of each sorted row.
        queries: the sorted rows as queries, without item, rating and weight.
        users: int `[n_rows]`, ascending; within a user the order of the file stands.
        items: int `[n_rows]`, rows of the catalogue, -1 for a target that is not in it.
        leads: bool `[n_rows]`, marks the user's earliest row: the query of the user's one list.
        seen: the distinct catalogue rows that each user has seen.
        targets: the distinct catalogue rows of each user's test rows, -1 for an item outside.
        shielded: seen items and targets together, which cannot push a target down its user's list.
    """

    order: np.ndarray
    queries: pl.DataFrame
    users: np.ndarray
    items: np.ndarray
    leads: np.ndarray
    seen: Histories
    targets: Histories
    shielded: Histories

    @classmethod
    def build(cls, test: Interactions, seen: Interactions, item_ids: np.ndarray) -> "Truth":
        """Maps users and items by id; drops rows of `seen` whose user or item does not occur."""
        people = Vocabulary(test.log["user_id"].unique(maintain_order=True))
        catalogue = Vocabulary(item_ids)
        users = people.rows(test.log["user_id"])
        order = np.argsort(users, kind="stable")
        items = catalogue.rows(test.log["item_id"])
        by_time = Histories.build(users, items, test.log["timestamp"].to_numpy(), len(people))
        leads = np.zeros(len(users), dtype=bool)
        # Each user has a test row, so each slice begins with the user's earliest one.
        leads[by_time.order[by_time.offsets[:-1]]] = True
        seen_pairs = _pairs(seen, people, catalogue)
        seen_pairs = seen_pairs[:, (seen_pairs >= 0).all(axis=0)]
        target_pairs = _pairs(test, people, catalogue)
        # Targets outside the catalogue stay among the targets, where they are misses, but shield nothing.
        known_pairs = target_pairs[:, target_pairs[1] >= 0]
        return cls(
            order=order,
            queries=test.queries.drop(_OUTCOMES, strict=False)[order],
            users=users[order],
            items=items[order],
            leads=leads[order],
            seen=_grouped(seen_pairs, len(people)),
            targets=_grouped(target_pairs, len(people)),
            shielded=_grouped(_union(seen_pairs, known_pairs, len(catalogue)), len(people)),
        )

    def __len__(self) -> int:
        return len(self.order)


def had_before(test: Interactions, seen: Interactions) -> np.ndarray:
    """Whether the user of each test row had its item before: bool `[n_rows]`.

    By id, so also for items outside a model's catalogue.
    """
    pairs = seen.log.select("user_id", "item_id").unique().with_columns(had=pl.lit(True))
    joined = test.log.select("user_id", "item_id").join(
        pairs, on=["user_id", "item_id"], how="left", maintain_order="left"
    )
    return joined["had"].fill_null(False).to_numpy()


def _pairs(data: Interactions, people: Vocabulary, catalogue: Vocabulary) -> np.ndarray:
    """The distinct (user, item) ids of a log as rows, -1 where unknown: int32 `[2, n_pairs]`."""
    ids = data.log.select("user_id", "item_id").unique(maintain_order=True)
    return np.stack([people.rows(ids["user_id"]), catalogue.rows(ids["item_id"])])


def _union(first: np.ndarray, second: np.ndarray, n_items: int) -> np.ndarray:
    users, items = np.concatenate([first, second], axis=1).astype(np.int64)
    # A pair as one number; int64, because users times items exceed int32.
    distinct = pl.Series(users * n_items + items).unique().to_numpy()
    return np.stack(np.divmod(distinct, n_items))


def _grouped(pairs: np.ndarray, n_users: int) -> Histories:
    users, items = pairs
    # Sets, not sequences: with equal times only the grouping by user is used.
    return Histories.build(users, items, np.zeros(len(users)), n_users)
