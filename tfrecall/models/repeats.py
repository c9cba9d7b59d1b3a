"""Repeat consumption: fits how users come back to items, and combines it with the towers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import minimize

from tfrecall.core.retriever import VectorRetriever
from tfrecall.data.histories import slices_of
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError
from tfrecall.index.repeats import Repeats
from tfrecall.models.repeat_choice import RepeatChoice

# Rows of the fit: four numbers need no more, which only take time.
MOST_ROWS = 2000
# Rows that mixes are judged by: a hit rate then has a standard error of half a hundredth at most.
MOST_JUDGED = 10_000
# Latest events of a history that count at most: a year of groceries. A query costs that many weights.
MOST_EVENTS = 1000
# Start of the search: weights that fade slowly with the place of an event, no inner product.
_START = {"recency": 0.5, "decay": 0.01, "bias": 0.0, "blend": 0.0}
# Decay of counts: of items had as often the one had last comes first, as in `OwnItems`. Scores are float32,
# which of logits near 20 keeps differences of 2e-6.
_TIES = 1e-5
# Shares of the likeliest recency and decay that are tried; 0 counts.
_FADING = (1.0, 0.5, 0.25, 0.0)
# Biases tried, less the fitted one, in logits.
_SHIFTS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


@dataclass(frozen=True, eq=False)
class RepeatingRetriever:
    """Scores items new to a user by the towers, items of the history by `Repeats`.

    Attributes:
        towers: scores of all items.
        repeats: scores of own items.
        log: the histories of users; queries are answered at its end, or after `events_before` events.
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
        starts, ends = slices_of(self.log, queries, timed=False)
        items = self.log.histories.items
        past = [items[start:end] for start, end in zip(starts, ends, strict=True)]
        return self.repeats.apply(scores, past)


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
    """Fits the weights of repeats to held-out events, by maximum likelihood, then by their lists.

    Lists of the same rows (hit rates of ten and of a hundred, NDCG of ten) decide how own items and the
    towers' are mixed. Own items come first unless a mix is better by more than a standard error; and no mix is
    taken whose lists are worse, in any of the three figures, than those of a user's most frequent items, so
    that towers that say little cost nothing against counting.

    Args:
        towers: fitted without `rows`.
        rows: held-out events, the validation rows; samples of at most `MOST_ROWS` for the fit and
            `MOST_JUDGED` for the mix are used.
        seen: the log before them, with the histories of their users.
        temperature: temperature of the task of the towers.
        seed: seed of the samples.

    Raises:
        DataError: if no user of the rows has a history, or none of their items is known.
    """
    drawn = rows.with_log(rows.log.sample(min(len(rows), MOST_JUDGED), seed=seed))
    # Whole histories: beyond some latest events lie most of the items that users of long ones come back to.
    length = min(MOST_EVENTS, max(Repeats.length, int(seen.histories.lengths.max(initial=0))))
    own = Repeats(length=length).own(histories(seen, drawn.log["user_id"]))
    if not len(own.rows):
        raise DataError(
            "No user of the validation rows has a history to come back to, so `model.repeats` has "
            "nothing to learn from. Set it to false, or take a split that keeps users' earlier events."
        )
    choice = RepeatChoice.build(towers, drawn, own, temperature)
    some = choice.head(MOST_ROWS)
    start = {**_START, "bias": some.typical_bias()}
    fitted = _likeliest(some, Repeats(**start, temperature=temperature, length=length))
    weights = [fitted]
    for share in _FADING[1:]:
        recency, decay = share * fitted.recency, share * fitted.decay or _TIES
        slower = replace(fitted, recency=recency, decay=decay)
        weights.append(_likeliest(some, slower, ("bias", "blend")))
    return _best(choice, weights)


def _likeliest(choice: RepeatChoice, start: Repeats, names: Sequence[str] = tuple(_START)) -> Repeats:
    """Maximum likelihood over the named numbers, from `start` on."""

    def of(numbers: np.ndarray) -> Repeats:
        changes: dict[str, Any] = dict(zip(names, map(float, numbers), strict=True))
        return replace(start, **changes)

    # Nelder-Mead: four numbers, and a loss that is infinite out of bounds has no gradient there.
    optimum = minimize(
        lambda numbers: choice.loss(of(numbers)),
        [getattr(start, name) for name in names],
        method="Nelder-Mead",
        options={"maxiter": 400, "xatol": 1e-3},
    )
    return of(optimum.x)


def _best(choice: RepeatChoice, weights: Sequence[Repeats]) -> Repeats:
    """The mix of towers and own items with the best lists; own items first if none is surely better.

    Likelihood asks how probable a target is, not where it stands in a list. Of mixes that list alike, that with
    own items first depends least on what the towers say after they have learned from more rows.

    Args:
        choice: the rows.
        weights: likeliest numbers for several ways in which events fade, the likeliest first, counts last.
    """
    firsts = [_own_first(choice, one) for one in weights]
    figures = [choice.figures(one) for one in firsts]
    least = figures[-1].mean(axis=1)
    enough = [bool((one.mean(axis=1) >= least).all()) for one in figures]
    # Counts are as good as themselves.
    best, gains = firsts[enough.index(True)], figures[enough.index(True)].mean(axis=0)
    most = 0.0
    for mix in _mixes(weights):
        judged = choice.figures(mix)
        differences = judged.mean(axis=0) - gains
        # Of many mixes one is better by chance: a standard error has to be left.
        surely = float(differences.mean() - differences.std() / np.sqrt(len(differences)))
        if surely > most and (judged.mean(axis=1) >= least).all():
            best, most = mix, surely
    return best


def _own_first(choice: RepeatChoice, weights: Repeats) -> Repeats:
    """All own items by their weights, then those of the towers."""
    first = replace(weights, bias=choice.leading_bias(weights), blend=0.0)
    # Where the likeliest bias lists the same, it stays: a probability says more than a large number.
    return weights if np.array_equal(choice.figures(first), choice.figures(weights)) else first


def _mixes(weights: Sequence[Repeats]) -> Iterator[Repeats]:
    """Mixes of other biases than the likeliest, and without the inner product; the likeliest among them."""
    for one in weights:
        for blend in dict.fromkeys((one.blend, 0.0)):
            for shift in _SHIFTS:
                yield replace(one, blend=blend, bias=one.bias + shift)
