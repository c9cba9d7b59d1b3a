"""One way to score, to rank and to explain, for everything that answers from what users had."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfrecall.answers.had import Had, HistoryWeights
from tfrecall.answers.lists import Explanation, Reason
from tfrecall.answers.scorer import Scorer
from tfrecall.errors import ConfigError
from tfrecall.index.search import Hits, checked_rows

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

    def scores(self, had: Had) -> np.ndarray:
        """Scores of all items: float32 `[n, n_items]`. Equal queries are computed once."""
        distinct, back = had.distinct()
        found = self.scorer.scores(self.weights.matrix(distinct, len(self.item_ids)), distinct.users)
        return found if len(found) == len(back) and (np.diff(back) == 1).all() else found[back]

    def search(
        self,
        had: Had,
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
        check_k(k, count)
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
        check_k(k, len(self.item_ids))
        scores = self.scorer.similar(item)[np.newaxis]
        scores[0, item] = 0.0
        return best(scores, k)

    def explain(self, had: Had, user_id: str | None, item: int) -> Explanation:
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
    ranked = np.where(scores == 0, -np.inf, scores)
    at = ranked.shape[1] - k
    # Whatever ties with the last one that fits has to be looked at.
    last = np.partition(ranked, at, axis=1)[:, at, np.newaxis]
    queries, columns = np.nonzero((ranked >= last) & ~np.isneginf(ranked))
    values = ranked[queries, columns]
    order = np.lexsort((columns, -values, queries))
    lengths = np.bincount(queries, minlength=len(scores))
    place = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept, place = order[place < k], place[place < k]
    hits = Hits(
        np.full((len(scores), k), -1, dtype=np.int32),
        np.full((len(scores), k), -np.inf, dtype=np.float32),
    )
    hits.rows[queries[kept], place] = columns[kept]
    hits.scores[queries[kept], place] = values[kept]
    return hits


def check_k(k: int, count: int) -> None:
    """Refuses a length of lists that no list can have."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= count:
        raise ConfigError(
            f"`k` must be an integer from 1 to {count}, the number of items in the catalogue. "
            f"Received k={k!r}."
        )
