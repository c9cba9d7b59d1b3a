"""Repeat consumption: fits how users come back to items, and combines it with the towers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.optimize import minimize
from scipy.special import logsumexp

from tfrecall.core.retriever import VectorRetriever
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError
from tfrecall.index.repeats import RepeatCandidates, Repeats

# Rows of the fit: four numbers need no more, which only take time.
MOST_ROWS = 2000
# Latest events of a history that count at most: a year of groceries. A query costs that many weights.
MOST_EVENTS = 1000
# Scores at a time, 8 bytes each: bounds memory with large catalogues.
BLOCK_SCORES = 2**24
# Start of the search: weights that fade slowly with the place of an event, no inner product.
_START = {"recency": 0.5, "decay": 0.01, "bias": 0.0, "blend": 0.0}


@dataclass(frozen=True, eq=False)
class RepeatingRetriever:
    """Scores items new to a user by the towers, items of the history by `Repeats`.

    Attributes:
        towers: scores of all items.
        repeats: scores of own items.
        log: the histories of users; queries are answered at its end.
    """

    towers: VectorRetriever
    repeats: Repeats
    log: Interactions

    @property
    def name(self) -> str:
        return self.towers.name

    @property
    def item_ids(self) -> np.ndarray:
        return self.towers.item_ids

    @property
    def vectors(self) -> np.ndarray:
        """Vectors of the candidates: float32 `[n, embedding_dim]`."""
        return self.towers.vectors

    @property
    def embed(self) -> Callable[[pl.DataFrame], np.ndarray]:
        """Function from queries to their vectors."""
        return self.towers.embed

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the whole catalogue: float32 `[n_queries, n_items]`."""
        scores = self.towers.scores(queries)
        return self.repeats.apply(scores, histories(self.log, queries["user_id"]))


def histories(log: Interactions, user_ids: pl.Series) -> list[np.ndarray]:
    """Item rows of each user's history, oldest first; empty for a user that is not in the log."""
    users, none = log.user_vocabulary.rows(user_ids), np.empty(0, np.int32)
    return [log.histories[user] if user >= 0 else none for user in users]


def first_times(log: Interactions) -> Interactions:
    """Keeps each user's first event with each item: the training rows of towers combined with `Repeats`.

    Repeats are explained by the history; towers that have to explain them too have no room left for new
    items.
    """
    # `row` breaks ties of time by the order of the log, and restores that order afterwards.
    by_time = log.log.with_row_index("row").sort("timestamp", "row")
    kept = by_time.unique(["user_id", "item_id"], keep="first").sort("row").drop("row")
    return log.with_log(kept, f"{len(log) - len(kept):,} repeated events are left to the repeats")


def new_to_users(rows: Interactions, seen: Interactions) -> Interactions:
    """Keeps the rows whose item is not in their user's history."""
    pairs = seen.log.select("user_id", "item_id").unique()
    return rows.with_log(rows.log.join(pairs, on=["user_id", "item_id"], how="anti"))


def fit_repeats(
    towers: VectorRetriever,
    rows: Interactions,
    seen: Interactions,
    temperature: float = 1.0,
    seed: int = 42,
) -> Repeats:
    """Fits the weights of repeats to held-out events, by maximum likelihood.

    Args:
        towers: fitted without `rows`.
        rows: held-out events, the validation rows; a sample of at most `MOST_ROWS` is used.
        seen: the log before them, with the histories of their users.
        temperature: temperature of the task of the towers.
        seed: seed of the sample.

    Raises:
        DataError: if no user of the rows has a history, or none of their items is known.
    """
    drawn = rows.with_log(rows.log.sample(min(len(rows), MOST_ROWS), seed=seed))
    # Whole histories: beyond some latest events lie most of the items that users of long ones come back to.
    length = min(MOST_EVENTS, max(Repeats.length, int(seen.histories.lengths.max(initial=0))))
    own = Repeats(length=length).own(histories(seen, drawn.log["user_id"]))
    if not len(own.rows):
        raise DataError(
            "No user of the validation rows has a history to come back to, so `model.repeats` has "
            "nothing to learn from. Set it to false, or take a split that keeps users' earlier events."
        )
    choice = _Choice.build(towers, drawn, own, temperature)
    start = {**_START, "bias": choice.typical_bias()}
    # Nelder-Mead: four numbers, and a loss that is infinite out of bounds has no gradient there.
    optimum = minimize(
        choice.loss, list(start.values()), method="Nelder-Mead", options={"maxiter": 400, "xatol": 1e-3}
    )
    recency, decay, bias, blend = map(float, optimum.x)
    return Repeats(recency, decay, bias, blend, temperature, length)


@dataclass(frozen=True)
class _Choice:
    """Likelihood of the targets as a function of the four weights.

    Attributes:
        own: the distinct items of the histories.
        products: logits of the towers for these items.
        others: for each query the log of the summed exponentials of all other items.
        targets: for each query the place in `own` of its target, -1 if it is new.
        new: for each query the logit of the towers for its target.
    """

    own: RepeatCandidates
    products: np.ndarray
    others: np.ndarray
    targets: np.ndarray
    new: np.ndarray

    @classmethod
    def build(
        cls, towers: VectorRetriever, rows: Interactions, own: RepeatCandidates, temperature: float
    ) -> "_Choice":
        targets, queries = rows.item_rows, rows.queries
        place = np.full(len(targets), -1)
        # Places in `own` whose item is the target of their own query.
        hit = np.flatnonzero(own.rows == targets[own.queries])
        place[own.queries[hit]] = hit
        products, others, new = np.empty(len(own.rows)), np.empty(len(place)), np.empty(len(place))
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
        return cls(own, products, others, place, new)

    def typical_bias(self) -> float:
        """The bias that makes the repeat candidates together as likely as all other items."""
        return float(np.median(self.others[np.isfinite(self.others)]))

    def loss(self, numbers: np.ndarray) -> float:
        """Mean negative log likelihood."""
        recency, decay, bias, blend = map(float, numbers)
        own = self.own
        farthest = int(own.after.max(initial=0))
        if (
            abs(recency) > 20 or abs(decay) > 20 or -decay * farthest > 500
        ):  # where exp() leaves float64
            return np.inf
        # `own` is cut to the events that count: the length given here plays no part.
        scores = Repeats(recency, decay, bias, blend).logits(own, self.products)
        # log(exp(others) + sum of exp(own scores)), less the largest in front so that nothing
        # overflows.
        top = np.maximum(self.others, _segment_max(scores, own.queries, len(self.others)))
        summed = np.bincount(own.queries, np.exp(scores - top[own.queries]), minlength=len(self.others))
        total = top + np.log(np.exp(self.others - top) + summed)
        again = self.targets >= 0
        chosen = np.where(again, scores[np.maximum(self.targets, 0)], self.new)
        return float(np.mean(total - chosen))


def _segment_max(values: np.ndarray, segments: np.ndarray, count: int) -> np.ndarray:
    largest = np.full(count, -np.inf)
    np.maximum.at(largest, segments, values)
    return largest
