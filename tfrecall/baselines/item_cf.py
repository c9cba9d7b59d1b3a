"""Item-based collaborative filtering, with several measures of similarity."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp

from tfrecall.baselines.base import HistoryModel, binary_matrix, checked_days, checked_top_n
from tfrecall.baselines.ordered_pairs import ordered_pairs
from tfrecall.core.top_k import strongest
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, nearest
from tfrecall.index.history import HistoryWeights
from tfrecall.index.scorers import Neighbours, Scorer
from tfrecall.index.shared_users import SharedUsers

Similarity = Literal["cosine", "jaccard", "conditional"]
# Similarity from the users of both items, those of the first and those of the second.
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

# Pairs of items whose similarities are computed at once, some 50 bytes each: bounds memory when `top_n`
# throws most away.
_BLOCK_PAIRS = 2**23
# Most pairs of items that are kept, 8 bytes each, where fewer users than items could score without them.
_MOST_PAIRS = 2**27
# Up to here (256 MB) a well-filled similarity is kept dense: five times faster on MovieLens-1M.
_DENSE_ITEMS = 8192
# How much popularity counts against an item by default.
_DAMPING = {"cosine": 0.5, "jaccard": 0.0, "conditional": 0.0}


class ItemCF(HistoryModel):
    """Scores an item by its summed similarity to the items of the user's training rows.

    With `both(a, b)` for the number of users who have both items and `n(a)` for that of one, similarity of
    `b` to an item `a` of the history is

        cosine        both(a, b) / (n(a) ** (1 - damping) * n(b) ** damping)
        jaccard       both(a, b) / (n(a) + n(b) - both(a, b)) / n(b) ** damping
        conditional   both(a, b) / n(a) / n(b) ** damping

    By default the cosine of their columns in the binary user-item matrix. Exact, without sampling. An
    item is not similar to itself; the number of a user's events with an item does not count. Their times
    count with `pair_half_life_days` or `backward`; `both` is then a sum over users of

        backward if b came before a else 1, times 0.5 ** (|t(a) - t(b)| / pair_half_life_days)

    with the times of the user's first events with each; of events at the same time the first in the log
    came first.

    Users without training rows get zeros, not popularity: all items tie, and ties count against a model.
    Compare with `Popularity` in the same table.

    Args:
        top_n: keep of each item's neighbours only the `top_n` most similar, equal ones by row; None keeps
            all.
        similarity: `cosine`, `jaccard` or `conditional` (probability of `b` given `a`).
        damping: how much an item's own popularity counts against it, from 0 to 1; None for the plain
            measure, which is .5 for the cosine and 0 for the others.
        inverse_user_frequency: whether a user with `n` items counts as `1 / log(1 + n)` of a user, in
            `both` and in `n`: a user of everything says little about any two items. Because it counts in
            `n`, too, items with the same users have a cosine of 1; tutorials that weigh `both` only divide
            by plain counts and rank items of active users lower.
        pair_half_life_days: time between the two events of a pair that halves its weight; None for no fading.
        history_half_life_days: age, from the user's latest event, that halves the weight of an event in the
            user's scores; None for no fading.
        backward: weight of a pair in the direction from its later item to its earlier one; 1 ignores the
            order, 0 counts only pairs in order of time.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame(
    ...     {"user_id": [*"uuvvvw"], "item_id": [*"ababca"], "timestamp": [1, 2, 1, 2, 3, 1]}
    ... )
    >>> train = tr.data.Interactions.from_frame(log)
    >>> tr.ItemCF().fit(train).recommend(["w"], k=2)[0].item_ids
    ['b', 'c']

    Reference:
        Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001;
        Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004: conditional
        probability, damped. Inverse user frequency turns an idea of Breese, Heckerman and Kadie,
        "Empirical analysis of predictive algorithms for collaborative filtering", UAI 1998, around: they
        give less weight to items that many users have, `log(all / n)`. Their vector similarity is that of
        votes times this factor, so that it stands in the lengths of the vectors, too, as it does here; but
        it stands squared there, once for each of two votes, and once here.
    """

    name = "item_cf"

    def __init__(
        self,
        top_n: int | None = None,
        *,
        similarity: Similarity = "cosine",
        damping: float | None = None,
        inverse_user_frequency: bool = False,
        pair_half_life_days: float | None = None,
        history_half_life_days: float | None = None,
        backward: float = 1.0,
    ) -> None:
        super().__init__()
        _check(similarity, damping, backward)
        self.top_n = checked_top_n(top_n, "neighbours kept for each item")
        self.similarity = similarity
        self.damping = _DAMPING[similarity] if damping is None else damping
        self.inverse_user_frequency = inverse_user_frequency
        self.pair_half_life_days = checked_days("pair_half_life_days", pair_half_life_days)
        self.history_half_life_days = checked_days("history_half_life_days", history_half_life_days)
        self.backward = backward

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "top_n": self.top_n,
            "similarity": self.similarity,
            "damping": self.damping,
            "inverse_user_frequency": self.inverse_user_frequency,
            "pair_half_life_days": self.pair_half_life_days,
            "history_half_life_days": self.history_half_life_days,
            "backward": self.backward,
        }

    def _weights(self) -> HistoryWeights:
        return HistoryWeights(half_life_days=self.history_half_life_days)

    def _learn(self, train: Interactions) -> Scorer:
        histories = binary_matrix(train)
        users = user_weights(histories) if self.inverse_user_frequency else None
        if self.backward == 1 and self.pair_half_life_days is None:
            if self._factors and _needs_too_much(histories):
                return self._without_pairs(histories, users)
            similarity = _similarity(histories, users, self._measure, self.top_n)
        else:
            both = ordered_pairs(train, users, self.pair_half_life_days)
            # Row a, column b: users who had b after a, and by `backward` those who had b before a.
            both = both + self.backward * both.T
            similarity = _measured(both, _counts(histories, users), self._measure, self.top_n)
        return Neighbours(compact(similarity))

    @property
    def _factors(self) -> bool:
        """Whether all neighbours count, by a similarity that is a product of `both` and of a term an item."""
        return self.top_n is None and self.similarity != "jaccard"

    def _without_pairs(self, histories: sp.csr_array, users: np.ndarray | None) -> SharedUsers:
        counts = _counts(histories, users)
        of_a = 1 - self.damping if self.similarity == "cosine" else 1.0
        importance = np.ones(histories.shape[0]) if users is None else users
        return SharedUsers(histories, importance, counts**-of_a, counts**-self.damping)

    def _measure(self, both: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
        if self.similarity == "cosine":
            # The default apart: square roots are faster than powers, and round alike on every machine.
            if self.damping == 0.5:
                return both * (1.0 / np.sqrt(of_a)) * (1.0 / np.sqrt(of_b))
            return both / (of_a ** (1 - self.damping) * of_b**self.damping)
        of_both = of_a + of_b - both if self.similarity == "jaccard" else of_a
        return both / of_both / of_b**self.damping


def user_weights(histories: sp.csr_array) -> np.ndarray:
    """Inverse user frequency: `1 / log(1 + n)` for a user with `n` items, 0 for one without."""
    lengths = np.diff(histories.indptr)
    return np.where(lengths > 0, 1.0 / np.log1p(np.maximum(lengths, 1)), 0.0)


def compact(similarity: sp.csr_array) -> sp.csr_array | np.ndarray:
    """Makes a similarity dense if it is well filled and small enough."""
    n_items = similarity.shape[0]
    # A sparse entry takes 8 bytes and a dense one 4: from a tenth on, dense takes five times the memory
    # at most.
    well_filled = similarity.nnz > 0.1 * n_items**2
    return similarity.toarray() if well_filled and n_items <= _DENSE_ITEMS else similarity


def _counts(histories: sp.csr_array, users: np.ndarray | None) -> np.ndarray:
    """Sums the weights of the users of each item: float64 `[n_items]`, 1 for an item without users."""
    weighted = histories if users is None else _weighted(histories, users)
    counts = np.asarray(weighted.sum(axis=0), dtype=np.float64)
    # An item without users shares none: its row and column stay empty, whatever they are divided by.
    return np.where(counts > 0, counts, 1.0)


def _weighted(histories: sp.csr_array, users: np.ndarray) -> sp.csr_array:
    data = np.repeat(users, np.diff(histories.indptr))
    return sp.csr_array((data, histories.indices, histories.indptr), shape=histories.shape)


def _similarity(
    histories: sp.csr_array, users: np.ndarray | None, measure: Measure, top_n: int | None
) -> sp.csr_array:
    """Similarities of items from the histories of users, regardless of order."""
    counts = _counts(histories, users)
    others = histories if users is None else _weighted(histories, users)
    columns = histories.tocsc()
    blocks = []
    for start, end in _blocks(_reached(histories)):
        block = (columns[:, start:end].T @ others).tocoo()
        blocks.append(_scaled(block, start, counts, measure, top_n))
    return sp.vstack(blocks, format="csr")


def _reached(histories: sp.csr_array) -> np.ndarray:
    """Number of pairs of each item with the items of its users, an upper bound of its neighbours."""
    lengths = np.diff(histories.indptr).astype(np.int64)
    pairs = np.bincount(histories.indices, np.repeat(lengths, lengths), histories.shape[1])
    return np.minimum(pairs, histories.shape[1]).astype(np.int64)


def _blocks(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Consecutive items, one or more in a block, with at most `_BLOCK_PAIRS` pairs together."""
    ends, blocks, start = np.cumsum(sizes), [], 0
    while start < len(sizes):
        done = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, done + _BLOCK_PAIRS, side="right")))
        blocks.append((start, end))
        start = end
    return blocks


def _needs_too_much(histories: sp.csr_array) -> bool:
    """Whether users are fewer than items, and pairs of items too many to keep."""
    n_users, n_items = histories.shape
    return n_users < n_items and int(_reached(histories).sum()) > _MOST_PAIRS


def _measured(
    both: sp.csr_array, counts: np.ndarray, measure: Measure, top_n: int | None
) -> sp.csr_array:
    """Similarities from a matrix of shared users."""
    blocks = [
        _scaled(both[start:end].tocoo(), start, counts, measure, top_n)
        for start, end in _blocks(np.diff(both.indptr))
    ]
    return sp.vstack(blocks, format="csr")


def _scaled(
    block: sp.coo_array, start: int, counts: np.ndarray, measure: Measure, top_n: int | None
) -> sp.csr_array:
    """Similarities of the items from `start` on, from the users that they share with others."""
    rows, columns = block.coords
    values = measure(block.data, counts[rows + start], counts[columns]).astype(np.float32)
    # `rows` count within the block, `columns` over the catalogue: `start` brings both together.
    keep = np.flatnonzero((rows + start != columns) & (values > 0))
    if top_n is not None:
        keep = keep[strongest(rows[keep], columns[keep], values[keep], top_n)]
    return sp.csr_array((values[keep], (rows[keep], columns[keep])), shape=block.shape)


def _check(similarity: str, damping: float | None, backward: float) -> None:
    valid = get_args(Similarity)
    if similarity not in valid:
        raise ConfigError(
            f"`similarity` is one of {', '.join(valid)}. Received: {similarity!r}."
            f"{nearest(str(similarity), valid)}"
        )
    if damping is not None and not 0 <= damping <= 1:
        raise ConfigError(
            "`damping` is how much an item's popularity counts against it, from 0 to 1. "
            f"Received: {damping}. Give None for the plain measure."
        )
    if not 0 <= backward <= 1:
        raise ConfigError(
            "`backward` is the weight of a pair against its order in time, from 0 to 1. "
            f"Received: {backward}. Give 1 to ignore the order."
        )
