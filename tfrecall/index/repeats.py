"""Repeat consumption: scores of the items of a user's own history, mixed with those of the towers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from tfrecall.core.ragged import Ragged
from tfrecall.errors import ConfigError
from tfrecall.index.exact import ExactIndex
from tfrecall.index.search import Hits, Index


class RepeatCandidates(NamedTuple):
    """The distinct items of a batch of histories.

    Attributes:
        queries: int `[n]`, ascending, the history of each item.
        rows: int `[n]`, rows of the catalogue, ascending within a history.
        place: int `[n_events]`, the item of each event, as a position in `rows`.
        after: int `[n_events]`, number of later events in the same history.
    """

    queries: np.ndarray
    rows: np.ndarray
    place: np.ndarray
    after: np.ndarray

    @classmethod
    def of(cls, histories: Sequence[np.ndarray], length: int) -> "RepeatCandidates":
        """Collects the items of the latest `length` events of each history.

        Args:
            histories: lists of catalogue rows, oldest first; -1 is an unknown item.
            length: events that count.
        """
        latest = Ragged.of_lists([history[-length:] for history in histories])
        rows, queries = latest.values, latest.owners()
        # Unknown items are no candidates, but they take a place: later events stay as many.
        after = latest.lengths[queries] - 1 - latest.positions()
        known = rows >= 0
        # A pair of history and item as one number, history * width + item: one sort finds the distinct
        # pairs, already by history and row.
        width = int(rows.max(initial=0)) + 1
        pairs, place = np.unique(queries[known] * width + rows[known], return_inverse=True)
        return cls(*np.divmod(pairs, width), place, after[known])


@dataclass(frozen=True)
class Repeats:
    """Scores for items that the user has interacted with before, in place of the towers' scores.

    A vector of some dozen numbers cannot hold which of many thousand items a user has interacted with, so
    two towers alone lose to a list of the user's own items wherever consumption repeats. Here a user
    either wants a new item, which the towers score, or a repeated one: an item of the history is chosen by
    the frequency and recency of its events. Its score is

        temperature * (log(sum of w(p) over its events) + bias) + blend * (inner product)
        w(p) = (1 + p) ** -recency * exp(-decay * p)

    where p counts the events that came after, from 0 for the latest. Both kinds of score are logits of
    one choice, which is what `tfrecall.models.repeats.fit_repeats` fits the numbers to.

    Attributes:
        recency, decay: how fast the weight of an event fades; with 0 events are counted, with large values
            only the latest one matters.
        bias: how much likelier a repeated item is than a new one, added to its logit.
        blend: share of the inner product in the score of a repeated item.
        temperature: temperature of the task that trained the towers.
        length: number of latest events that count.

    Reference:
        The split into repeating and exploring is that of Ren et al., "RepeatNet: A Repeat Aware Neural
        Recommendation Machine for Session-based Recommendation", AAAI 2019, without its networks;
        weights by frequency and recency as in Anderson et al., "The Dynamics of Repeat
        Consumption", WWW 2014.

    >>> repeats = Repeats(recency=1.0, bias=2.0)
    >>> repeats.weights(3).round(2).tolist()
    [1.0, 0.5, 0.33]
    """

    recency: float = 0.0
    decay: float = 0.0
    bias: float = 0.0
    blend: float = 0.0
    temperature: float = 1.0
    length: int = 50

    def __post_init__(self) -> None:
        numbers = (self.recency, self.decay, self.bias, self.blend, self.temperature)
        if not np.isfinite(numbers).all() or self.temperature <= 0 or self.length < 1:
            raise ConfigError(
                "The numbers of `Repeats` must be finite, `temperature` above 0 and `length` 1 or more. "
                f"Received: {self}."
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def weights(self, count: int) -> np.ndarray:
        """Weights w(p) of the latest `count` events, the latest first: float64 `[count]`."""
        places = np.arange(count)
        # (1 + p) ** -recency is exp(-recency * log(1 + p)): one exponential serves both factors.
        return np.exp(-self.recency * np.log1p(places) - self.decay * places)

    def own(self, histories: Sequence[np.ndarray]) -> RepeatCandidates:
        """Collects the repeat candidates of histories: lists of catalogue rows, oldest first, -1 unknown."""
        return RepeatCandidates.of(histories, self.length)

    def logits(self, own: RepeatCandidates, products: np.ndarray) -> np.ndarray:
        """Logits of repeat candidates from the towers' logits of the same items: float64 `[n]`."""
        # No history may be as long as `length`: weights of the events that there are, and no more.
        fading = self.weights(int(own.after.max(initial=0)) + 1)
        weights = np.bincount(own.place, fading[own.after], len(own.rows))
        # The weight of an event far back may vanish in float64; its item still needs a finite logit.
        return (
            np.log(np.maximum(weights, np.finfo(np.float64).tiny)) + self.bias + self.blend * products
        )

    def scores(self, own: RepeatCandidates, products: np.ndarray) -> np.ndarray:
        """Scores of repeat candidates from their inner products: float32 `[n]`."""
        logits = self.logits(own, np.asarray(products, np.float64) / self.temperature)
        return (self.temperature * logits).astype(np.float32)

    def apply(self, scores: np.ndarray, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Replaces the scores of repeat candidates in float32 `[n_queries, n_items]`, in place."""
        own = self.own(histories)
        scores[own.queries, own.rows] = self.scores(own, scores[own.queries, own.rows])
        return scores

    def merge(
        self,
        hits: Hits,
        exact: ExactIndex,
        vectors: np.ndarray,
        histories: Sequence[np.ndarray],
        barred: Sequence[np.ndarray],
        allowed: np.ndarray | None,
    ) -> Hits:
        """Inserts repeat candidates into lists of other items.

        Args:
            hits: the best of the other items, searched with the repeat candidates excluded.
            exact: the catalogue.
            vectors: float32 `[n_queries, d]` or `[n_queries, interests, d]`, of the queries.
            histories: for each query the catalogue rows of its history, oldest first, -1 unknown.
            barred: for each query the rows to leave out.
            allowed: the only rows that any query may get; None for all.
        """
        own, k = self.own(histories), hits.rows.shape[1]
        rows, scores = hits.rows.copy(), hits.scores.copy()
        # `own.queries` ascends: the candidates of query i are own.rows[bounds[i]:bounds[i + 1]].
        bounds = np.searchsorted(own.queries, np.arange(len(rows) + 1))
        products = np.empty(len(own.rows))
        for i in map(int, np.flatnonzero(np.diff(bounds))):
            mine = slice(bounds[i], bounds[i + 1])
            ranked = exact.rank(vectors[i : i + 1], own.rows[np.newaxis, mine], mine.stop - mine.start)
            products[mine] = ranked.scores[0][np.argsort(ranked.rows[0])]  # rows of candidates ascend
        # Of all queries at once, hence the two loops: weights are summed over one flat array.
        again = self.scores(own, products)
        for i in map(int, np.flatnonzero(np.diff(bounds))):
            mine = slice(bounds[i], bounds[i + 1])
            keep = ~np.isin(own.rows[mine], barred[i])
            if allowed is not None:
                keep &= np.isin(own.rows[mine], allowed)
            all_rows = np.concatenate([rows[i], own.rows[mine][keep]])
            all_scores = np.concatenate([scores[i], again[mine][keep]])
            best = np.lexsort((all_rows, -all_scores))[:k]
            rows[i], scores[i] = all_rows[best], all_scores[best]
        return Hits(rows, scores)


def search_with_repeats(
    index: Index,
    exact: ExactIndex,
    vectors: np.ndarray,
    k: int,
    exclude: Sequence[np.ndarray],
    allow: np.ndarray | None,
    repeats: Repeats | None = None,
    histories: Sequence[np.ndarray] = (),
) -> Hits:
    """Searches an index, and scores the items of the histories by `repeats`.

    The index finds the best of the other items; repeat candidates are few and scored one by one, so none
    is lost where the index is approximate.

    Args:
        index: searched for other items.
        exact: the same catalogue, for the scores of repeat candidates.
        vectors: float32 `[n_queries, d]` or `[n_queries, interests, d]`.
        k: from 1 to the size of the catalogue.
        exclude: for each query the rows to leave out.
        allow: the only rows that any query may get; None for all.
        repeats: None for a plain search.
        histories: for each query the catalogue rows of its history, oldest first, -1 unknown.
    """
    if repeats is None:
        return index.search(vectors, k, exclude=exclude, allow=allow)
    others = [
        np.concatenate([rows, np.asarray(history)[-repeats.length :]]).astype(np.int64)
        for rows, history in zip(exclude, histories, strict=True)
    ]
    hits = index.search(vectors, k, exclude=others, allow=allow)
    return repeats.merge(hits, exact, vectors, histories, exclude, allow)
