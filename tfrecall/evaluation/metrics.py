"""Metrics of ranked retrieval, from ranks and from exposure counts.

A *rank* counts the candidates placed before a target: 0 is the first place. Per test row there is
one target; per user there is one list, whose targets are all the distinct items of that user's test
rows. Functions of ranks return one value a row or a user, so that slices and confidence intervals
use the same numbers; the reported metric is their mean. Catalogue metrics need no targets: they are
computed from *exposure*, the number of lists that hold each item.
"""

from dataclasses import dataclass

import numpy as np

from tfrecall.core.ragged import positions

# Beyond every k, so a target that no list can hold is a miss even where k exceeds the catalogue.
MISS = np.iinfo(np.int64).max


def hit_rate(ranks: np.ndarray, k: int) -> np.ndarray:
    """1 where the target is among the first `k`, else 0: float64 `[n_rows]`.

    >>> hit_rate(np.array([0, 4, 5]), k=5).tolist()
    [1.0, 1.0, 0.0]
    """
    return (ranks < k).astype(np.float64)


def ndcg(ranks: np.ndarray, k: int) -> np.ndarray:
    """`1 / log2(rank + 2)` where the target is among the first `k`, else 0: float64 `[n_rows]`.

    With one target the ideal gain is 1, so this is normalised as it stands.

    >>> ndcg(np.array([0, 2, 9]), k=5).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.where(ranks < k, _gain(ranks), 0.0)


def mrr(ranks: np.ndarray) -> np.ndarray:
    """`1 / (rank + 1)` without a cut, 0 for `MISS`: float64 `[n_rows]`.

    >>> mrr(np.array([0, 3, MISS])).tolist()
    [1.0, 0.25, 0.0]
    """
    return np.where(ranks == MISS, 0.0, 1.0 / (ranks.astype(np.float64) + 1.0))


@dataclass(frozen=True)
class UserTargets:
    """Ranks of each user's targets in the user's one list.

    Attributes:
        users: int `[n_targets]`, 0 to n_users - 1; every user has at least one target.
        ranks: int64 `[n_targets]`, distinct within a user except for `MISS`.
    """

    users: np.ndarray
    ranks: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Targets of each user, the missed ones included: int64 `[n_users]`."""
        return np.bincount(self.users)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums one value a target over each user: float64 `[n_users]`."""
        return np.bincount(self.users, weights=values)


def user_recall(targets: UserTargets, k: int) -> np.ndarray:
    """Hits among the first `k` over *all* the user's targets: float64 `[n_users]`.

    A user with more than `k` targets cannot reach 1; some libraries divide by min(targets, k)
    instead and print larger values.

    >>> targets = UserTargets(users=np.array([0, 0, 1]), ranks=np.array([1, 7, 0]))
    >>> user_recall(targets, k=5).tolist()
    [0.5, 1.0]
    """
    return targets.sums(targets.ranks < k) / targets.counts


def user_precision(targets: UserTargets, k: int) -> np.ndarray:
    """Hits among the first `k` over `k`, however short the list is: float64 `[n_users]`.

    >>> targets = UserTargets(users=np.array([0, 0, 1]), ranks=np.array([1, 7, 0]))
    >>> user_precision(targets, k=5).tolist()
    [0.2, 0.2]
    """
    return targets.sums(targets.ranks < k) / k


def user_ndcg(targets: UserTargets, k: int) -> np.ndarray:
    """Gain of the hits over the gain of an ideal list of min(targets, k): float64 `[n_users]`.

    Relevance is binary.

    Reference:
        Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002.
    """
    # Entry j of the sums is the gain of j + 1 hits in the first places; each user has a target.
    ideal = np.cumsum(_gain(np.arange(k)))[np.minimum(targets.counts, k) - 1]
    return targets.sums(ndcg(targets.ranks, k)) / ideal


def user_map(targets: UserTargets, k: int) -> np.ndarray:
    """Average precision at `k`, divided by min(targets, k): float64 `[n_users]`.

    The precision is taken at each hit among the first `k`. With that divisor a list that opens
    with hits only gets 1.

    >>> targets = UserTargets(users=np.array([0, 0]), ranks=np.array([3, 0]))
    >>> user_map(targets, k=5).tolist()  # (1/1 + 2/4) / 2
    [0.75]
    """
    order = np.lexsort((targets.ranks, targets.users))
    ordered = UserTargets(targets.users[order], targets.ranks[order])
    counts = ordered.counts
    # In a list without end every target is a hit, a user's n-th best one the n-th: ranks 0 and 3 give
    # 1 hit in 1 place and 2 hits in 4. The cut at k comes last.
    hits_so_far = positions(counts) + 1
    precision = hits_so_far / (ordered.ranks.astype(np.float64) + 1.0)
    return ordered.sums(np.where(ordered.ranks < k, precision, 0.0)) / np.minimum(counts, k)


def auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The chance that a positive scores above a negative; equal scores count half. NaN without pairs.

    Args:
        positives: float `[n]`, scores of any scale.
        negatives: float `[m]`.

    >>> auc(np.array([3.0, 1.0]), np.array([1.0, 0.0]))  # 3 > 1, 3 > 0, 1 = 1, 1 > 0
    0.875
    """
    # Sorted once, so that each positive takes two searches instead of a comparison with each negative:
    # those strictly below count 1, equal ones 1 / 2, which is half the sum of both counts.
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    pairs = len(positives) * len(negatives)
    return float((below + not_above).sum() / 2 / pairs) if pairs else float("nan")


def gauc(
    positives: np.ndarray, users: np.ndarray, negatives: np.ndarray, users_of_negatives: np.ndarray
) -> float:
    """The AUC of each user, averaged by the user's positives; users without both kinds do not count.

    Differences between users, which do not matter in a list, do not raise it. NaN without pairs.

    Args:
        positives: float `[n]`, scores.
        users: int `[n]`, the user of each positive.
        negatives: float `[m]`, scores.
        users_of_negatives: int `[m]`, the user of each negative.

    >>> gauc(np.array([3.0, 1.0]), np.array([0, 1]), np.array([4.0, 0.0]), np.array([0, 1]))
    0.5

    Reference:
        Zhu et al., "Optimized Cost per Click in Taobao Display Advertising", KDD 2017, section 4.3.
    """
    scores, owners = np.concatenate([positives, negatives]), np.append(users, users_of_negatives)
    is_negative = np.arange(len(scores)) >= len(positives)
    # Sorted once by user and score. Rows of one user and score are a tie; those before it, less those
    # before its user, are the user's rows below.
    order = np.lexsort((scores, owners))
    owner, score, negative = owners[order], scores[order], is_negative[order]
    new_user = owner[1:] != owner[:-1]
    user = np.cumsum(np.append(False, new_user))[: len(owner)]
    tie = np.cumsum(np.append(False, new_user | (score[1:] != score[:-1])))[: len(owner)]
    ties = np.bincount(tie, weights=negative)
    wins = (np.cumsum(ties) - ties / 2)[tie]
    per_user = np.bincount(user, weights=negative)
    below = np.append(0, np.cumsum(per_user))[user]
    counts = ~negative & (per_user[user] > 0)
    shares = (wins[counts] - below[counts]) / per_user[user][counts]
    return float(shares.mean()) if len(shares) else float("nan")


def rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The root of the mean squared error; NaN without rows.

    >>> rmse(np.array([3.0, 5.0]), np.array([4.0, 5.0]))  # sqrt((1 + 0) / 2)
    0.7071067811865476
    """
    return float(np.sqrt(np.square(_errors(predictions, labels)).mean())) if len(labels) else np.nan


def mae(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The mean absolute error; NaN without rows.

    >>> mae(np.array([3.0, 5.0]), np.array([4.0, 5.0]))
    0.5
    """
    return float(np.abs(_errors(predictions, labels)).mean()) if len(labels) else np.nan


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross entropy of logits with labels of 0 and 1, in nats; NaN without rows.

    >>> log_loss(np.array([0.0, 0.0]), np.array([1.0, 0.0]))  # log 2
    0.6931471805599453
    """
    return float(row_log_losses(logits, labels).mean()) if len(labels) else np.nan


def row_log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross entropy of each logit with its label of 0 or 1, in nats: float64 `[n_rows]`."""
    logits = logits.astype(np.float64)
    # -y log s(x) - (1 - y) log(1 - s(x)) is log(1 + exp(x)) - y x, which no large logit overflows.
    return np.logaddexp(0, logits) - labels * logits


def graded_ndcg(scores: np.ndarray, gains: np.ndarray, lists: np.ndarray, k: int) -> np.ndarray:
    """The NDCG at `k` of each list that has an order: float64 `[n]`.

    Those with a single row, or without any gain, are left out. Rows of equal score stand with the lowest
    gain first, so that ties count against the model.

    Args:
        scores: float `[n_rows]`, higher is better.
        gains: float `[n_rows]`, 0 or more.
        lists: int `[n_rows]`, the list of each row.
        k: length that counts.

    >>> graded_ndcg(np.array([1.0, 2.0]), np.array([1.0, 0.0]), np.array([7, 7]), k=10).round(3).tolist()
    [0.631]

    Reference:
        Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002.
    """
    _, lists = np.unique(lists, return_inverse=True)
    gained, ideal = (_discounted(by, gains, lists, k) for by in (scores, gains))
    # One row is in order whatever its score, and a list without gain has no better and worse order.
    counts = (np.bincount(lists) > 1) & (ideal > 0)
    return gained[counts] / ideal[counts]


def _discounted(scores: np.ndarray, gains: np.ndarray, lists: np.ndarray, k: int) -> np.ndarray:
    """Discounted gain of the first `k` of each list, in order of the scores."""
    # The last key counts first: by list, then best score, then lowest gain.
    order = np.lexsort((gains, -scores, lists))
    ranks = positions(np.bincount(lists))
    return np.bincount(lists[order], weights=np.where(ranks < k, _gain(ranks) * gains[order], 0.0))


def _errors(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return predictions.astype(np.float64) - labels


def coverage(exposure: np.ndarray) -> float:
    """The share of the catalogue that is in at least one list.

    Args:
        exposure: int `[n_items]`, number of lists that hold each item.
    """
    return float(np.mean(exposure > 0))


def novelty(exposure: np.ndarray, users_of_item: np.ndarray, n_users: int) -> float:
    """Mean self-information of a recommended slot, in bits.

    The self-information of an item is `-log2(users who have it / all users)`. An item without users
    counts as if it had one, so the largest value is log2(n_users). 0 if nothing is recommended.

    Args:
        exposure: int `[n_items]`, number of lists that hold each item.
        users_of_item: int `[n_items]`, distinct users.
        n_users: all users, at least as many as any item has.

    Reference:
        Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems",
        PNAS 2010.
    """
    share = np.maximum(users_of_item, 1) / max(n_users, 1)
    return _mean_over_slots(exposure, -np.log2(share))


def popularity_share(exposure: np.ndarray, popular: np.ndarray) -> float:
    """The share of recommended slots that go to popular items; 0 if nothing is recommended.

    Args:
        exposure: int `[n_items]`, number of lists that hold each item.
        popular: bool `[n_items]`.
    """
    return _mean_over_slots(exposure, popular.astype(np.float64))


def most_popular(counts: np.ndarray, share: float) -> np.ndarray:
    """Marks the most popular `share` of all items, rounded up; ties go to the lower row.

    Items without a single interaction are never marked, so fewer may be.

    Args:
        counts: int `[n_items]`, interactions of each item.
        share: part of the number of items, 0 to 1.

    Returns:
        Bool `[n_items]`.
    """
    # 0.07 * 100 is 7.000000000000001, and would be rounded up to 8.
    n_marked = int(np.ceil(np.round(share * len(counts), 9)))
    marked = np.zeros(len(counts), dtype=bool)
    marked[np.argsort(-counts, kind="stable")[:n_marked]] = True
    return marked & (counts > 0)


def _gain(ranks: np.ndarray) -> np.ndarray:
    return 1.0 / np.log2(ranks.astype(np.float64) + 2.0)


def _mean_over_slots(exposure: np.ndarray, values: np.ndarray) -> float:
    slots = exposure.sum()
    return float(exposure @ values / slots) if slots else 0.0


def is_lower_better(metric: str) -> bool:
    """Whether a metric is a loss or an error, by its name here or in Keras, so that lower is better.

    >>> is_lower_better("rmse"), is_lower_better("auc")
    (True, False)
    """
    return metric.endswith(("loss", "rmse", "mae", "error"))
