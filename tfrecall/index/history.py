"""Scores, lists and explanations from the histories of queries: weights of events, times a scorer."""

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
    """Histories of a batch of queries, as slices of flat arrays, oldest events first.

    Slices may overlap: queries of one user at different times share one history. That is why this is no
    `Ragged`, whose lists lie one after the other.

    Attributes:
        users: int `[n]`, row of each query's user in the training data, -1 for an unknown user.
        starts, ends: int64 `[n]`, the events of query `q` are `items[starts[q]:ends[q]]`.
        items: int, rows of the catalogue; -1 is an unknown item, which counts for nothing.
        times: number, seconds, of each entry of `items`; all equal where times are not known.

    >>> none = np.zeros(0)
    >>> histories = QueryHistories.of_lists(np.array([0, -1]), [np.array([2, 0]), none], [np.zeros(2), none])
    >>> len(histories), histories.list(0).tolist(), histories.list(1).tolist()
    (2, [2, 0], [])
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
        """Concatenates one list of item rows a query, and the times of each."""
        items = Ragged.of_lists(lists)
        seconds = Ragged.of_lists(times, np.float64).values
        return cls(np.asarray(users), items.offsets[:-1], items.offsets[1:], items.values, seconds)

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, at: Any) -> "QueryHistories":
        """Selects some of the queries, by number or slice; histories are shared, not copied."""
        return replace(self, users=self.users[at], starts=self.starts[at], ends=self.ends[at])

    def list(self, query: int) -> np.ndarray:
        """The item rows of one query."""
        return self.items[self.starts[query] : self.ends[query]]

    def distinct(self) -> tuple["QueryHistories", np.ndarray]:
        """Drops duplicate queries, and returns for every query its row among those left."""
        # The same user with the same slice has the same history: evaluation asks once per test row.
        keys = np.stack([self.users, self.starts, self.ends], axis=1)
        _, first, back = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        return self.rows(first), back.reshape(-1)


@dataclass(frozen=True)
class HistoryWeights:
    """Weights of the events of a history.

    An event `d` events back (1 is the latest) and `age` days older than the user's latest one weighs

        d ** -decay * 0.5 ** (age / half_life_days)

    The age counts from the user's own latest event, not from the time of the query: that would multiply all
    weights of a user by one number, which changes neither their order nor their shares.

    Attributes:
        window: number of latest events that count; None for all.
        decay: power by which the weight fades with the place of an event; 0 for not at all.
        half_life_days: days in which the weight halves; None for no fading with time.
        repeated: whether an item counts for each of its events; otherwise for the latest one.
        newest_first: whether of items of equal weight the one had last comes first: an item gains less than 1,
            the more the later its last event.

    >>> histories = QueryHistories.of_lists(np.array([0]), [np.array([2, 0, 2])], [np.zeros(3)])
    >>> HistoryWeights(decay=1.0).matrix(histories, n_items=3).toarray().tolist()
    [[0.5, 0.0, 1.0]]
    """

    window: int | None = None
    decay: float = 0.0
    half_life_days: float | None = None
    repeated: bool = False
    newest_first: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def matrix(self, histories: QueryHistories, n_items: int) -> sp.csr_array:
        """Weights of items for queries: float32 `[n, n_items]`, columns ascending in a row."""
        starts, ends = histories.starts, histories.ends
        if self.window is not None:
            # The newest events stand at the end of a slice.
            starts = np.maximum(starts, ends - self.window)
        lengths = ends - starts
        # All events of all queries side by side: the query of each, its place in `items`, and how many
        # events back it is, 1 for the latest.
        queries = np.repeat(np.arange(len(histories)), lengths)
        places = ranges(starts, lengths)
        back = np.repeat(ends, lengths) - places
        items = np.asarray(histories.items[places], dtype=np.int64)
        weights = back ** -float(self.decay)
        if self.half_life_days is not None and len(places):
            # An empty history may end at place 0, whose event before is another's; it is repeated 0 times.
            latest = np.repeat(histories.times[np.maximum(ends - 1, 0)], lengths)
            weights *= np.exp2(
                (histories.times[places] - latest) / (self.half_life_days * SECONDS_A_DAY)
            )
        counts = items >= 0
        last = None if self.repeated and not self.newest_first else _is_last(queries, items, n_items)
        if last is not None and self.newest_first:
            of_all = np.repeat(lengths, lengths) + 1
            weights = weights + last * (of_all - back) / of_all
        if last is not None and not self.repeated:
            counts &= last
        cells = queries[counts], items[counts]
        shape = (len(histories), n_items)
        # The constructor adds up the events of one cell, which is what `repeated` asks for.
        return sp.csr_array((weights[counts].astype(np.float32), cells), shape=shape)


def _is_last(queries: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """Marks events whose query has no later event with the same item: bool `[n_events]`."""
    # `np.unique` gives the first of equal keys, so events are read from the end.
    keys = queries * (n_items + 1) + items + 1  # -1 must not meet an item of the query before
    _, places = np.unique(keys[::-1], return_index=True)
    last = np.zeros(len(keys), dtype=bool)
    last[len(keys) - 1 - places] = True
    return last


# Scores in memory at once while lists are made: 64 MB of float32.
BLOCK = 2**24


@dataclass(frozen=True, eq=False)
class Answers:
    """Scores, lists and explanations of a model that scores from histories.

    Attributes:
        item_ids: object array of `str` `[n_items]`, in the order of the scores' columns.
        weights: how much each event of a history counts.
        scorer: turns weights into scores.

    >>> from tfrecall.index import Constant
    >>> answers = Answers(np.array(["a", "b"], object), HistoryWeights(), Constant(np.array([1.0, 3.0])))
    >>> nobody = QueryHistories.of_lists(np.array([-1]), [np.zeros(0)], [np.zeros(0)])
    >>> answers.search(nobody, k=2).rows.tolist()
    [[1, 0]]
    """

    item_ids: np.ndarray
    weights: HistoryWeights
    scorer: Scorer

    def scores(self, histories: QueryHistories) -> np.ndarray:
        """Scores of all items: float32 `[n, n_items]`. Equal queries are computed once."""
        distinct, back = histories.distinct()
        scores = self.scorer.scores(self.weights.matrix(distinct, len(self.item_ids)), distinct.users)
        # All different and in order: the scores are those asked for, and need no copy.
        return scores if len(scores) == len(back) and (np.diff(back) == 1).all() else scores[back]

    def search(
        self,
        histories: QueryHistories,
        k: int,
        exclude: Sequence[np.ndarray] | None = None,
        allow: np.ndarray | None = None,
    ) -> Hits:
        """Finds the best `k` items of each query, equal ones in the order of the catalogue.

        Items of score 0 are left out: no item of the history says anything about them. So a list may be
        short, and that of an unknown user is empty where only the history counts.

        Args:
            histories: the queries.
            k: from 1 to the size of the catalogue.
            exclude: for each query the rows to leave out; -1 is ignored.
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
        hits = []
        step = max(1, BLOCK // count)
        for start in range(0, len(histories), step):
            block = slice(start, start + step)
            scores = self.scores(histories.rows(block))
            # 0 and not -inf: `best` lists no item of score 0.
            scores[:, hidden] = 0.0
            for row, barred in enumerate([] if exclude is None else exclude[block]):
                rows = checked_rows(barred, count, "exclude")
                scores[row, rows[rows >= 0]] = 0.0
            hits.append(best(scores, k))
        empty = Hits(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
        return Hits(*(np.concatenate(arrays) for arrays in zip(*[*hits, empty], strict=True)))

    def similar(self, item: int, k: int) -> Hits:
        """Finds the `k` items most similar to one, without itself and those of score 0."""
        check_k(k, len(self.item_ids), of_what="items in the catalogue")
        scores = self.scorer.similar(item)[np.newaxis]
        scores[0, item] = 0.0
        return best(scores, k)

    def explain(self, histories: QueryHistories, user_id: str | None, item: int) -> Explanation:
        """Splits the score of an item, row `item`, into contributions of one query's history."""
        weights = self.weights.matrix(histories, len(self.item_ids))
        parts = self.scorer.parts(weights, int(histories.users[0]), item)
        # The largest contribution first, equal ones in the order of the catalogue.
        order = np.lexsort((weights.indices, -parts.contributions))
        reasons = [
            Reason(
                self.item_ids[weights.indices[at]],
                float(weights.data[at]),
                float(parts.contributions[at]),
            )
            for at in order
        ]
        score = float(self.scores(histories)[0, item])
        return Explanation(user_id, self.item_ids[item], score, parts.base, reasons)


def best(scores: np.ndarray, k: int) -> Hits:
    """The `k` largest of each row of scores that are not 0, ties to the lower column."""
    scores = np.where(scores == 0, -np.inf, scores).astype(np.float32, copy=False)
    return Hits.of_scores(scores, top_k(scores, k))
