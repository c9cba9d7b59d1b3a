"""Held-out choices between items that users had and all others: likelihood and lists of `Repeats`."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from tfrecall.core.retriever import VectorRetriever
from tfrecall.data.interactions import Interactions
from tfrecall.index.repeats import RepeatCandidates, Repeats

# Scores at a time, 8 bytes each: bounds memory with large catalogues.
BLOCK_SCORES = 2**24
# Lists that a mix is judged by.
SHORT, LONG = 10, 100


@dataclass(frozen=True)
class RepeatChoice:
    """Held-out targets as choices between own items and all others.

    Attributes:
        own: the distinct items of the histories.
        products: logits of the towers for these items.
        others: for each query the log of the summed exponentials of all other items.
        targets: for each query the place in `own` of its target, -1 if it is new.
        new: for each query the logit of the towers for its target.
        best: for each query the largest logits of other items, descending: `[n, LONG + 1]`, or of all of a
            smaller catalogue; -inf where there are fewer.
    """

    own: RepeatCandidates
    products: np.ndarray
    others: np.ndarray
    targets: np.ndarray
    new: np.ndarray
    best: np.ndarray

    @classmethod
    def build(
        cls, towers: VectorRetriever, rows: Interactions, own: RepeatCandidates, temperature: float
    ) -> "RepeatChoice":
        targets, queries = rows.item_rows, rows.queries
        place = np.full(len(targets), -1)
        # Places in `own` whose item is the target of their own query.
        hit = np.flatnonzero(own.rows == targets[own.queries])
        place[own.queries[hit]] = hit
        products, others, new = np.empty(len(own.rows)), np.empty(len(place)), np.empty(len(place))
        length = min(LONG + 1, len(towers.item_ids))
        best = np.empty((len(place), length))
        step = max(1, BLOCK_SCORES // len(towers.item_ids))
        for start in range(0, len(targets), step):
            block = slice(start, start + step)
            logits = np.array(towers.scores(queries[block]), np.float64) / temperature
            # `own.queries` ascends, so the items of a block of queries are one slice.
            mine = slice(*np.searchsorted(own.queries, (start, start + step)))
            at = own.queries[mine] - start, own.rows[mine]
            products[mine] = logits[at]
            new[block] = logits[np.arange(len(logits)), targets[block]]
            # Own items leave the sum of the others: `Repeats` scores them. The targets were read
            # before.
            logits[at] = -np.inf
            others[block] = logsumexp(logits, axis=1)
            best[block] = -np.sort(-np.partition(logits, -length, axis=1)[:, -length:], axis=1)
        return cls(own, products, others, place, new, best)

    def head(self, queries: int) -> "RepeatChoice":
        """The choices of the first queries alone, of all if there are fewer."""
        own, end = self.own, int(np.searchsorted(self.own.queries, queries))
        events = own.place < end
        few = RepeatCandidates(own.queries[:end], own.rows[:end], own.place[events], own.after[events])
        rest = (self.others, self.targets, self.new, self.best)
        others, targets, new, best = (of_queries[:queries] for of_queries in rest)
        return RepeatChoice(few, self.products[:end], others, targets, new, best)

    def typical_bias(self) -> float:
        """The bias that makes the repeat candidates together as likely as all other items."""
        return float(np.median(self.others[np.isfinite(self.others)]))

    def leading_bias(self, repeats: Repeats) -> float:
        """A bias that puts all own items before all others, whose logits may exceed those of the rows."""
        logits = replace(repeats, bias=0.0, blend=0.0).logits(self.own, self.products)
        finite = self.best[np.isfinite(self.best)]
        return float(finite.max(initial=0.0) + np.ptp(finite) - logits.min()) + 1.0

    def loss(self, repeats: Repeats) -> float:
        """Mean negative log likelihood; infinite for weights beyond float64."""
        own = self.own
        farthest = int(own.after.max(initial=0))
        recency, decay = repeats.recency, repeats.decay
        if abs(recency) > 20 or abs(decay) > 20 or -decay * farthest > 500:
            return np.inf
        # `own` is cut to the events that count: the length of `repeats` plays no part.
        scores = repeats.logits(own, self.products)
        # log(exp(others) + sum of exp(own scores)), less the largest in front so that nothing
        # overflows.
        top = np.maximum(self.others, _segment_max(scores, own.queries, len(self.others)))
        summed = np.bincount(own.queries, np.exp(scores - top[own.queries]), minlength=len(self.others))
        total = top + np.log(np.exp(self.others - top) + summed)
        return float(np.mean(total - self._chosen(scores)))

    def figures(self, repeats: Repeats) -> np.ndarray:
        """Hits at ten and at a hundred and NDCG at ten of each query's list: float64 `[3, n]`."""
        ranks = self.ranks(repeats)
        short = ranks < SHORT
        return np.stack([short, ranks < LONG, short / np.log2(ranks + 2.0)]).astype(np.float64)

    def ranks(self, repeats: Repeats) -> np.ndarray:
        """Place of each target in its list, from 0, ties against it; `LONG` or more beyond: int64 `[n]`."""
        scores = repeats.logits(self.own, self.products)
        # As lists have them, so that what ties there ties here.
        scores = (repeats.temperature * scores).astype(np.float32) / np.float64(repeats.temperature)
        chosen = self._chosen(scores)
        ahead = scores >= chosen[self.own.queries]
        before = np.bincount(self.own.queries[ahead], minlength=len(chosen))
        # The target counts itself, among own items or among the others; beyond the best of those it
        # stands in for one that is better.
        return before + (self.best >= chosen[:, np.newaxis]).sum(axis=1) - 1

    def _chosen(self, scores: np.ndarray) -> np.ndarray:
        """Logits of the targets, from those of own items."""
        return np.where(self.targets >= 0, scores[np.maximum(self.targets, 0)], self.new)


def _segment_max(values: np.ndarray, segments: np.ndarray, count: int) -> np.ndarray:
    largest = np.full(count, -np.inf)
    np.maximum.at(largest, segments, values)
    return largest
