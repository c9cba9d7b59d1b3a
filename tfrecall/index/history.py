"""One way to score, to rank and to explain, for everything that answers from what users had."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from tfrecall.core.ragged import Ragged, ranges
from tfrecall.core.results import Explanation, Reason
from tfrecall.core.top_k import check_k, top_k
from tfrecall.index.scorers import Scorer
from tfrecall.index.search import Hits, checked_rows

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class QueryHistories:
    """What each of some queries is answered from: slices of flat arrays, oldest events first.

    Attributes:
        users: int `[n]`, the row of each query's user in the training data, -1 for somebody unknown.
        starts, ends: int64 `[n]`, the events of query `q` are `items[starts[q]:ends[q]]`.
        items: int, rows of the catalogue; -1 is an unknown item, which counts for nothing.
        times: number, seconds, of each entry of `items`; alike where they are not known.
    """

    users: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    items: np.ndarray
    times: np.ndarray

    @classmethod
    def of_lists(
        cls, users: np.ndarray, lists: Sequence[np.ndarray], times: Sequence[np.ndarray]
    ) -> "QueryHistories":
        """From one list of item rows a query, and the times of each."""
        items = Ragged.of_lists(lists)
        seconds = Ragged.of_lists(times, np.float64).values
        return cls(np.asarray(users), items.offsets[:-1], items.offsets[1:], items.values, seconds)

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, at: Any) -> "QueryHistories":
        """Some of the queries, by number or slice."""
        return replace(self, users=self.users[at], starts=self.starts[at], ends=self.ends[at])

    def list(self, query: int) -> np.ndarray:
        """The item rows of one query."""
        return self.items[self.starts[query] : self.ends[query]]

    def distinct(self) -> tuple["QueryHistories", np.ndarray]:
        """Each different query once, and for every query which of them it is."""
        keys = np.stack([self.users, self.starts, self.ends], axis=1)
        _, first, back = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        return self.rows(first), back.reshape(-1)


@dataclass(frozen=True)
class HistoryWeights:
    """How much each event counts of what a user had.

    An event `d` events back (1 is the latest) and `age` days older than the user's latest one weighs

        d ** -decay * 0.5 ** (age / half_life_days)

    The age counts from the user's own latest event, not from a moment of asking: that would multiply all
    weights of a user by one number, which changes no order and no share.

    Attributes:
        window: the latest events that count; None for all.
        decay: how fast weight fades with the place of an event.
        half_life_days: how fast it fades with time; None for not at all.
        repeated: whether an item counts for each of its events; otherwise for the latest one.
    """

    window: int | None = None
    decay: float = 0.0
    half_life_days: float | None = None
    repeated: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def matrix(self, had: QueryHistories, n_items: int) -> sp.csr_array:
        """The weights of items for queries: float32 `[n, n_items]`, columns ascending in a row."""
        starts = had.starts if self.window is None else np.maximum(had.starts, had.ends - self.window)
        lengths = had.ends - starts
        queries = np.repeat(np.arange(len(had)), lengths)
        places = ranges(starts, lengths)
        back = np.repeat(had.ends, lengths) - places
        items = np.asarray(had.items[places], dtype=np.int64)
        weights = back ** -float(self.decay)
        if self.half_life_days is not None and len(places):
            latest = np.repeat(had.times[np.maximum(had.ends - 1, 0)], lengths)
            weights *= np.exp2((had.times[places] - latest) / (self.half_life_days * SECONDS_A_DAY))
        counts = items >= 0
        if not self.repeated:
            counts &= _is_last(queries, items, n_items)
        cells = queries[counts], items[counts]
        shape = (len(had), n_items)
        return sp.csr_array((weights[counts].astype(np.float32), cells), shape=shape)


def _is_last(queries: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """Whether no later event of the query has the same item."""
    keys = queries * (n_items + 1) + items + 1  # -1 must not meet an item of the query before
    _, places = np.unique(keys[::-1], return_index=True)
    last = np.zeros(len(keys), dtype=bool)
    last[len(keys) - 1 - places] = True
    return last


# Scores held at a time while lists are made, of 4 bytes.
BLOCK = 2**24


@dataclass(frozen=True, eq=False)
class Answers:
    """Scores, lists and reasons.

    Attributes:
        item_ids: object array of `str` `[n_items]`, in the order of the scores' columns.
        weights: how much each event of a history counts.
        scorer: what turns that into scores.
    """

    item_ids: np.ndarray
    weights: HistoryWeights
    scorer: Scorer

    def scores(self, had: QueryHistories) -> np.ndarray:
        """Scores of all items: float32 `[n, n_items]`. Equal queries are computed once."""
        distinct, back = had.distinct()
        found = self.scorer.scores(self.weights.matrix(distinct, len(self.item_ids)), distinct.users)
        return found if len(found) == len(back) and (np.diff(back) == 1).all() else found[back]

    def search(
        self,
        had: QueryHistories,
        k: int,
        exclude: Sequence[np.ndarray] | None = None,
        allow: np.ndarray | None = None,
    ) -> Hits:
        """The best `k` items of each query, equal ones in the order of the catalogue.

        An item of score 0, about which nothing a user had says anything, is not in a list: a list
        may be short, and that of somebody unknown is empty where nothing else than the history counts.

        Args:
            had: the queries.
            k: from 1 to the size of the catalogue.
            exclude: for each query the rows that it must not get; -1 is ignored.
            allow: the only rows that any query may get; None for all.

        Raises:
            ConfigError: if `k` or a row is impossible.
        """
        count = len(self.item_ids)
        check_k(k, count, of_what="items in the catalogue")
        hidden = np.zeros(count, dtype=bool)
        if allow is not None:
            allowed = checked_rows(allow, count, "allow")
            hidden[:] = True
            hidden[allowed[allowed >= 0]] = False
        found = []
        for start in range(0, len(had), max(1, BLOCK // count)):
            block = slice(start, start + max(1, BLOCK // count))
            scores = self.scores(had.rows(block))
            scores[:, hidden] = 0.0
            for row, barred in enumerate([] if exclude is None else exclude[block]):
                rows = checked_rows(barred, count, "exclude")
                scores[row, rows[rows >= 0]] = 0.0
            found.append(best(scores, k))
        empty = Hits(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
        return Hits(*(np.concatenate(arrays) for arrays in zip(*[*found, empty], strict=True)))

    def similar(self, item: int, k: int) -> Hits:
        """The `k` items that have most to do with one, without itself and those of score 0."""
        check_k(k, len(self.item_ids), of_what="items in the catalogue")
        scores = self.scorer.similar(item)[np.newaxis]
        scores[0, item] = 0.0
        return best(scores, k)

    def explain(self, had: QueryHistories, user_id: str | None, item: int) -> Explanation:
        """What each item of one query's history adds to the score of an item."""
        weights = self.weights.matrix(had, len(self.item_ids))
        parts = self.scorer.parts(weights, int(had.users[0]), item)
        order = np.lexsort((weights.indices, -parts.contributions))
        reasons = [
            Reason(
                self.item_ids[weights.indices[at]],
                float(weights.data[at]),
                float(parts.contributions[at]),
            )
            for at in order
        ]
        score = float(self.scores(had)[0, item])
        return Explanation(user_id, self.item_ids[item], score, parts.base, reasons)


def best(scores: np.ndarray, k: int) -> Hits:
    """The `k` largest of each row of scores that are not 0, ties to the lower column."""
    scores = np.where(scores == 0, -np.inf, scores).astype(np.float32, copy=False)
    return Hits.of_scores(scores, top_k(scores, k))
