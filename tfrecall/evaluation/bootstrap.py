"""Confidence intervals by bootstrap over users: of figures, and of differences between two models.

Test rows of one user depend on each other, so they are drawn together: a resample draws as many users as
there are, with replacement, and takes all rows of each. Both models are evaluated on the same resamples,
so difficulty common to both cancels out. The interval of a single figure uses the same resamples.

Reference:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 (clusters) and 13
    (percentile intervals).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecall.errors import ConfigError
from tfrecall.evaluation import metrics
from tfrecall.evaluation.ranks import RuleRanks

RESAMPLES = 2000
# Draws for the intervals of figures, some seconds: with 100,000 users or more there are fewer resamples.
_MOST_DRAWS, _FEWEST_RESAMPLES = 2 * 10**8, 200
# Numbers in the weights of the resamples that are multiplied at once: 64 MB of float64.
_BLOCK = 2**23
# Draws of one call, which stay in the processor's cache.
_DRAWS_AT_ONCE = 2**14


@dataclass(frozen=True)
class PerUser:
    """Contributions of each user to each metric: a metric is a sum over users divided by a count over users.

    Attributes:
        names: the metrics.
        sums: float64 `[n_metrics, n_users]`.
        counts: float64 `[n_metrics, n_users]`: test rows of the user, or 1 where a metric is a mean
            over users.
    """

    names: tuple[str, ...]
    sums: np.ndarray
    counts: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """The metrics themselves: float64 `[n_metrics]`."""
        return self.sums.sum(axis=1) / self.counts.sum(axis=1)


@dataclass(frozen=True)
class Interval:
    """A difference of means and its confidence interval.

    Attributes:
        difference: second model less first, on the test rows as they are.
        low, high: percentile interval over the resamples.
    """

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies above or below 0, so that chance is an unlikely cause."""
        return self.low > 0 or self.high < 0


def per_user(ranks: RuleRanks, users: np.ndarray, ks: Sequence[int]) -> PerUser:
    """Sums the metrics of rows, and of lists, over each user.

    Args:
        ranks: ranks of one model under one rule.
        users: int `[n_rows]`, the user of each test row, numbered by first appearance as `rank` does.
        ks: lengths of lists.
    """
    rows = {f"hit_rate@{k}": metrics.hit_rate(ranks.rows, k) for k in ks}
    rows |= {f"ndcg@{k}": metrics.ndcg(ranks.rows, k) for k in ks}
    rows["mrr"] = metrics.mrr(ranks.rows)
    lists = {f"user_recall@{k}": metrics.user_recall(ranks.targets, k) for k in ks}
    lists |= {f"user_ndcg@{k}": metrics.user_ndcg(ranks.targets, k) for k in ks}
    n_rows = np.bincount(users).astype(np.float64)
    sums = [np.bincount(users, weights=values) for values in rows.values()]
    counts = [n_rows] * len(rows) + [np.ones_like(n_rows)] * len(lists)
    return PerUser((*rows, *lists), np.stack([*sums, *lists.values()]), np.stack(counts))


def figure_intervals(
    ranks: Sequence[RuleRanks], users: np.ndarray, metric: str, **options: Any
) -> list[list[float]]:
    """Computes the interval of one figure for each of some models.

    Args:
        ranks: ranks of each model on the same test rows.
        users: int `[n_rows]`, the user of each test row, from 0.
        metric: a mean over rows: `hit_rate@k`, `ndcg@k` or `mrr`.
        **options: of `mean_intervals`.

    Returns:
        Low and high end of each model's interval.
    """
    return mean_intervals([_row_values(one, metric) for one in ranks], users, **options)


def mean_intervals(
    values: Sequence[np.ndarray],
    users: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[list[float]]:
    """Computes percentile intervals of means over rows, all from the same resamples of users.

    Args:
        values: float `[n_rows]` of each model.
        users: int `[n_rows]`, the user of each row, from 0.
        resamples: number of resamples, fewer where users are very many.
        confidence: confidence level of the intervals, in (0, 1).
        seed: seed of the draws.

    Returns:
        Low and high end of each interval.
    """
    sums = np.stack([np.bincount(users, weights=one) for one in values])
    counts = np.broadcast_to(np.bincount(users).astype(np.float64), sums.shape)
    draws = min(resamples, max(_FEWEST_RESAMPLES, _MOST_DRAWS // sums.shape[1]))
    drawn = _resampled(sums, counts, draws, seed)
    ends = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return ends.T.tolist()


def ratio_intervals(
    above: Sequence[np.ndarray], below: Sequence[np.ndarray], users: np.ndarray, **options: Any
) -> list[list[float]]:
    """Computes 95 % percentile intervals of ratios of two means over the same rows.

    Args:
        above, below: float `[n_rows]` of each ratio.
        users: int `[n_rows]`, the user of each row, from 0.
        **options: `resamples` and `seed`.

    Returns:
        Low and high end of each interval; resamples whose divisor is 0 do not count.
    """
    if not above:
        return []
    sums = np.stack([np.bincount(users, weights=one) for one in (*above, *below)])
    counts = np.broadcast_to(np.bincount(users).astype(np.float64), sums.shape)
    draws = options.get("resamples", RESAMPLES)
    drawn = _resampled(sums, counts, draws, options.get("seed", 0))
    numerators, divisors = np.split(drawn, 2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(divisors > 0, numerators / divisors, np.nan)
    return np.nanquantile(ratios, [0.025, 0.975], axis=0).T.tolist()


def _row_values(ranks: RuleRanks, metric: str) -> np.ndarray:
    name, _, k = metric.partition("@")
    if name == "mrr":
        return metrics.mrr(ranks.rows)
    return {"hit_rate": metrics.hit_rate, "ndcg": metrics.ndcg}[name](ranks.rows, int(k))


def paired_bootstrap(
    first: PerUser,
    second: PerUser,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Computes the difference of each metric, second model less first, with its interval.

    The same seed draws the same resamples for every metric and every pair with equally many users.
    Each interval holds for its own metric: of twenty intervals, one excludes 0 by chance.

    Args:
        first: the reference.
        second: the compared model, with the same metrics and users in the same order.
        resamples: number of resamples.
        confidence: confidence level of the intervals, in (0, 1).
        seed: seed of the draws.

    Raises:
        ConfigError: if the two do not belong together, or a number makes no sense.
    """
    if first.names != second.names or not np.array_equal(first.counts, second.counts):
        raise ConfigError(
            "Only models evaluated on the same test rows by the same metrics can be compared. Received "
            f"{first.sums.shape[1]:,} users and {len(first.names)} metrics, and "
            f"{second.sums.shape[1]:,} users and {len(second.names)} metrics."
        )
    if resamples < 1 or not 0 < confidence < 1:
        raise ConfigError(
            "`resamples` must be 1 or more and `confidence` between 0 and 1. Received: "
            f"resamples={resamples}, confidence={confidence}."
        )
    # The counts are equal, so a difference of means is the mean of differences, and one product serves.
    gains, counts = second.sums - first.sums, first.counts
    drawn = _resampled(gains, counts, resamples, seed)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(drawn, tails, axis=0)
    differences = gains.sum(axis=1) / counts.sum(axis=1)
    return {
        name: Interval(float(differences[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(first.names)
    }


def _resampled(gains: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Mean gains of each resample: float64 `[resamples, n_metrics]`.

    A user's number of draws is the user's weight in the resample, so no row is copied.
    """
    n_users = gains.shape[1]
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK // n_users)
    drawn = []
    for start in range(0, resamples, step):
        weights = _weights(generator, min(step, resamples - start), n_users)
        drawn.append((weights @ gains.T) / (weights @ counts.T))
    return np.concatenate(drawn)


def _weights(generator: np.random.Generator, resamples: int, n_users: int) -> np.ndarray:
    """Number of draws of each user in each resample: float64 `[resamples, n_users]`.

    Drawn one resample after the other: the size of a block changes memory and time, not figures.
    """
    weights = np.empty((resamples, n_users))
    # Of few users many resamples at once: a call of NumPy takes longer than their draws.
    step = max(1, _DRAWS_AT_ONCE // n_users)
    for start in range(0, resamples, step):
        block = weights[start : start + step]
        users = generator.integers(0, n_users, block.shape)
        users += n_users * np.arange(len(block))[:, np.newaxis]
        block[:] = np.bincount(users.ravel(), minlength=block.size).reshape(block.shape)
    return weights


__all__ = [
    "RESAMPLES",
    "Interval",
    "PerUser",
    "figure_intervals",
    "mean_intervals",
    "paired_bootstrap",
    "per_user",
    "ratio_intervals",
]
