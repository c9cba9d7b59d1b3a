"""Figures of distributions: how long histories are, how popular items."""

from typing import Any

import numpy as np

QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "max": 1.0}


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean and quantiles; a quantile is a value that occurs.

    >>> spread(np.array([1, 1, 1, 5]))["p75"], spread(np.array([1, 1, 1, 5]))["mean"]
    (1.0, 2.0)
    """
    found = {"mean": float(np.mean(values))}
    for name, share in QUANTILES.items():
        found[name] = float(np.quantile(values, share, method="inverted_cdf"))
    return found


def gini(counts: np.ndarray) -> float:
    """How unequally events are spread: 0 if all have as many, near 1 if one has all.

    >>> gini(np.array([3, 3, 3])), round(gini(np.array([0, 0, 0, 8])), 2)
    (0.0, 0.75)
    """
    ordered = np.sort(counts).astype(float)
    n = len(ordered)
    total = ordered.sum()
    if not total:
        return 0.0
    return float(2 * (np.arange(1, n + 1) * ordered).sum() / (n * total) - (n + 1) / n)


def top_share(counts: np.ndarray, share: float) -> float:
    """The part of all events that the most frequent `share` has; of few, the first at least.

    >>> top_share(np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 11]), 0.1)
    0.55
    """
    first = max(1, round(len(counts) * share))
    return float(np.sort(counts)[::-1][:first].sum() / max(1, counts.sum()))


def histogram(values: np.ndarray, edges: np.ndarray) -> list[int]:
    """How many values lie between edges; the last edge counts."""
    return np.histogram(values, edges)[0].tolist()


def concentration(counts: np.ndarray) -> dict[str, Any]:
    """Spread, inequality and the shares of the most frequent."""
    return {
        **spread(counts),
        "gini": gini(counts),
        "top_1_percent": top_share(counts, 0.01),
        "top_10_percent": top_share(counts, 0.1),
    }
