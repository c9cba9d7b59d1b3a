"""Test rows, targets and seen items in the rows of one model's catalogue."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrecall.core.columns import EVENTS_BEFORE, ITEM, USER
from tfrecall.core.ragged import Histories, ranges
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.histories import events_before
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
        seen: the distinct catalogue rows that each user has seen; where histories grow in the order of their
            first events.
        seen_before: int64 `[n_rows]`, how many of the user's first seen rows come before each row, where
            histories grow; None where all do.
        targets: the distinct catalogue rows of each user's test rows, -1 for an item outside.
        shielded: items seen before the user's earliest row and targets together, which cannot push a target
            down its user's list.
    """

    order: np.ndarray
    queries: pl.DataFrame
    users: np.ndarray
    items: np.ndarray
    leads: np.ndarray
    seen: Histories
    targets: Histories
    shielded: Histories
    seen_before: np.ndarray | None = None

    @classmethod
    def build(
        cls,
        test: Interactions,
        seen: Interactions,
        item_ids: np.ndarray,
        history: Interactions | None = None,
    ) -> "Truth":
        """Maps users and items by id; drops rows of `seen` whose user or item does not occur.

        With `history`, the log with all events, what a user has seen is taken from the events before each row.
        """
        people = Vocabulary(test.log["user_id"].unique(maintain_order=True))
        catalogue = Vocabulary(item_ids)
        users = people.rows(test.log["user_id"])
        order = np.argsort(users, kind="stable")
        items = catalogue.rows(test.log["item_id"])
        by_time = Histories.build(users, items, test.log["timestamp"].to_numpy(), len(people))
        leads = np.zeros(len(users), dtype=bool)
        # Each user has a test row, so each slice begins with the user's earliest one.
        leads[by_time.order[by_time.offsets[:-1]]] = True
        queries = test.queries.drop(_OUTCOMES, strict=False)
        if history is None:
            seen_pairs, before = _pairs(seen, people, catalogue), None
            seen_pairs = seen_pairs[:, (seen_pairs >= 0).all(axis=0)]
            seen_lists, at_first = _grouped(seen_pairs, len(people)), seen_pairs
        else:
            places = events_before(test, history)
            queries = queries.with_columns(pl.Series(EVENTS_BEFORE, places))
            seen_lists, firsts = _first_events(history, people, catalogue)
            before = _counts_before(seen_lists, firsts, users, places)
            at_first = _prefixes(seen_lists, before[leads], users[leads])
            before = before[order]
        target_pairs = _pairs(test, people, catalogue)
        # Targets outside the catalogue stay among the targets, where they are misses, but shield nothing.
        known_pairs = target_pairs[:, target_pairs[1] >= 0]
        return cls(
            order=order,
            queries=queries[order],
            users=users[order],
            items=items[order],
            leads=leads[order],
            seen=seen_lists,
            targets=_grouped(target_pairs, len(people)),
            shielded=_grouped(_union(at_first, known_pairs, len(catalogue)), len(people)),
            seen_before=before,
        )

    def __len__(self) -> int:
        return len(self.order)

    def seen_at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Catalogue rows that the users of some sorted rows had seen by then, with the position of each row."""
        users = self.users[rows]
        if self.seen_before is None:
            return self.seen.flat(users)
        counts = self.seen_before[rows]
        items = self.seen.values[ranges(self.seen.offsets[users], counts)]
        return np.repeat(np.arange(len(rows)), counts), items


def had_before(
    test: Interactions, seen: Interactions, history: Interactions | None = None
) -> np.ndarray:
    """Whether the user of each test row had its item before: bool `[n_rows]`.

    By id, so also for items outside a model's catalogue; with `history` among all events before the row.
    """
    if history is not None:
        firsts = test.log.select(USER, ITEM).join(
            _first_places(history), on=[USER, ITEM], how="left", maintain_order="left"
        )
        return firsts["place"].to_numpy() < events_before(test, history)
    pairs = seen.log.select("user_id", "item_id").unique().with_columns(had=pl.lit(True))
    joined = test.log.select("user_id", "item_id").join(
        pairs, on=["user_id", "item_id"], how="left", maintain_order="left"
    )
    return joined["had"].fill_null(False).to_numpy()


def _pairs(data: Interactions, people: Vocabulary, catalogue: Vocabulary) -> np.ndarray:
    """The distinct (user, item) ids of a log as rows, -1 where unknown: int32 `[2, n_pairs]`."""
    ids = data.log.select("user_id", "item_id").unique(maintain_order=True)
    return np.stack([people.rows(ids["user_id"]), catalogue.rows(ids["item_id"])])


def _first_places(history: Interactions) -> pl.DataFrame:
    """Of each user and item the place of the first event among the user's events, from 0."""
    place = np.empty(len(history), np.int64)
    place[history.histories.order] = history.histories.positions()
    placed = history.log.select(USER, ITEM).with_columns(place=place)
    return placed.group_by(USER, ITEM, maintain_order=True).agg(pl.col("place").min())


def _first_events(
    history: Interactions, people: Vocabulary, catalogue: Vocabulary
) -> tuple[Histories, np.ndarray]:
    """The distinct catalogue rows of each user in the order of their first events, and the places of these."""
    firsts = _first_places(history)
    users, items = people.rows(firsts[USER]), catalogue.rows(firsts[ITEM])
    known = (users >= 0) & (items >= 0)
    places = firsts["place"].to_numpy()[known]
    lists = Histories.build(users[known], items[known], places, len(people))
    return lists, places[lists.order]


def _counts_before(
    lists: Histories, firsts: np.ndarray, users: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """How many values of each row's list have their first event before a place: int64 `[n_rows]`."""
    # User and place as one ascending number: all lists are searched at once.
    width = int(max(firsts.max(initial=0), places.max(initial=0))) + 1
    keys = lists.owners() * width + firsts
    return np.searchsorted(keys, users.astype(np.int64) * width + places) - lists.offsets[users]


def _prefixes(lists: Histories, counts: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Pairs of each user and the first values of the user's list: int64 `[2, n_pairs]`."""
    items = lists.values[ranges(lists.offsets[users], counts)]
    return np.stack([np.repeat(users, counts), items])


def _union(first: np.ndarray, second: np.ndarray, n_items: int) -> np.ndarray:
    users, items = np.concatenate([first, second], axis=1).astype(np.int64)
    # A pair as one number; int64, because users times items exceed int32.
    distinct = pl.Series(users * n_items + items).unique().to_numpy()
    return np.stack(np.divmod(distinct, n_items))


def _grouped(pairs: np.ndarray, n_users: int) -> Histories:
    users, items = pairs
    # Sets, not sequences: with equal times only the grouping by user is used.
    return Histories.build(users, items, np.zeros(len(users)), n_users)
