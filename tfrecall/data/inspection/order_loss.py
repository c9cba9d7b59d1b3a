"""Loss of a transition model when the histories of a log are shuffled: whether order matters."""

import numpy as np
import scipy.sparse as sp

from tfrecall.core.ragged import Ragged, offsets_of, ranges
from tfrecall.core.transitions import count_transitions

# Events of the first users that are looked at, and users that are asked for: some seconds on any log.
MOST_EVENTS, MOST_USERS = 300_000, 2000
# Events that a history needs before its last one: two are as they are after every second shuffle.
LEAST_HISTORY = 3
# Users among whom the model must be right: the loss of fewer is chance.
LEAST_HITS = 30
# Weights of the events of a query and of the pairs that are counted, as `ItemTransitions` has them.
_WEIGHTS = 1 / np.arange(1, 6)
_DAMPING = 0.25
K = 10


def order_loss(histories: Ragged, seed: int = 42) -> dict[str, float] | None:
    """NDCG@10 of item transitions for users' last events, with histories as they are and shuffled.

    The model counts which items follow which within five events, without the last event of each user, and
    is then asked for that one from the five latest events of the history, or of the history shuffled. What a
    user likes is in both; only the order, of the near past as well, is lost. Items of the history stay in
    the lists, and ties count against the item.

    Args:
        histories: items of each user from 0, the oldest first.
        seed: seed of the shuffles; the mean of three counts.

    Returns:
        `ordered` and `shuffled`, `loss`, the share that shuffling takes away, and `users` asked for; None with
        too few to tell.

    Reference:
        Klenitskiy et al., "Does It Look Sequential? An Analysis of Datasets for Evaluation of Sequential
        Recommendations", RecSys 2024, which asks neural models in the same way.

    >>> histories = Ragged.of_lists([[(k + i) % 9 for i in range(6)] for k in range(9)] * 20)
    >>> found = order_loss(histories)
    >>> found["ordered"], found["loss"] > 0.1
    (1.0, True)
    """
    ends = histories.offsets[1:] - histories.offsets[0]
    count = max(1, int(np.searchsorted(ends, MOST_EVENTS, side="right")))
    lists = histories.take(np.arange(min(count, len(histories))))
    asked = np.flatnonzero(lists.lengths > LEAST_HISTORY)[:MOST_USERS]
    if len(asked) < LEAST_HITS:
        return None
    targets = lists.values[lists.offsets[asked + 1] - 1]
    lengths = np.maximum(lists.lengths - 1, 0)
    before = Ragged(lists.values[ranges(lists.offsets[:-1], lengths)], offsets_of(lengths))
    model = _transitions(before, int(lists.values.max()) + 1)
    past, random = before.take(asked), np.random.default_rng(seed)
    gains = _gains(model, past, targets)
    if np.count_nonzero(gains) < LEAST_HITS:
        return None
    shuffled = [_gains(model, _shuffled(past, random), targets).mean() for _ in range(3)]
    ordered, lost = float(gains.mean()), float(np.mean(shuffled))
    return {"ordered": ordered, "shuffled": lost, "loss": 1 - lost / ordered, "users": len(asked)}


def _transitions(histories: Ragged, n_items: int) -> sp.csr_array:
    counted = count_transitions(histories, n_items, _WEIGHTS)
    counts = np.maximum(np.bincount(histories.values, minlength=n_items), 1)
    sources = np.repeat(np.arange(n_items), np.diff(counted.indptr))
    counted.data /= counts[sources] ** (1 - _DAMPING) * counts[counted.indices] ** _DAMPING
    return counted


def _gains(model: sp.csr_array, past: Ragged, targets: np.ndarray) -> np.ndarray:
    """NDCG@10 of each query: float64 `[n]`."""
    latest = past.last(len(_WEIGHTS))
    back = latest.lengths[latest.owners()] - latest.positions()
    cells = latest.owners(), latest.values
    shape = (len(latest), model.shape[0])
    scores = (sp.csr_array((_WEIGHTS[back - 1], cells), shape=shape) @ model).tocsr()
    queries = np.repeat(np.arange(len(targets)), np.diff(scores.indptr))
    own = np.bincount(queries, scores.data * (scores.indices == targets[queries]), len(targets))
    ranks = np.bincount(queries, scores.data >= own[queries], len(targets)) - 1
    # An item that never followed any of the latest ties with all others of score 0.
    return np.where((own > 0) & (ranks < K), 1 / np.log2(ranks + 2), 0.0)


def _shuffled(lists: Ragged, random: np.random.Generator) -> Ragged:
    order = np.lexsort((random.random(len(lists.values)), lists.owners()))
    return Ragged(lists.values[order], lists.offsets)
