"""Standings of models that were ranked on the same rows: mean ratio to the best that counts, and its noise."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfrecall.evaluation.metrics import hit_rate, ndcg


@dataclass(frozen=True)
class Standing:
    """A model among others.

    Attributes:
        figures: metric -> mean over the rows.
        score: mean over the metrics of the ratio to the best figure of a model that counts; 1 if it has the
            best of all.
        lead: its score less that of the model that counts and has the best score.
        noise: standard error of `lead`, over users: rows of one user depend on each other.
    """

    figures: dict[str, float]
    score: float
    lead: float
    noise: float

    @property
    def leads(self) -> bool:
        """Whether the model is above counting by more than a standard error."""
        return self.lead > self.noise


def standings(
    ranks: Mapping[str, np.ndarray], counting: Collection[str], users: np.ndarray, ks: Sequence[int]
) -> dict[str, Standing]:
    """Compares models by hit_rate and NDCG of a short list and hit_rate of a long one.

    The short list is that of ten items or the nearest longer one, the long one that of a hundred or the nearest
    shorter one. A metric in which no model that counts has a hit is left out; with none left, or with no model
    that counts, ratios are those to the best of all models.

    Args:
        ranks: model -> int64 `[n_rows]`, the rank of each row's item from 0 (`RuleRanks.rows`).
        counting: names of the models that count; of equal ones the first leads.
        users: int `[n_rows]`, the user of each row, from 0.
        ks: lengths of the lists.

    >>> ranks = {"popularity": np.array([0, 40, 7]), "network": np.array([0, 3, 7])}
    >>> found = standings(ranks, ["popularity"], np.arange(3), ks=(10, 50))["network"]
    >>> round(found.figures["hit_rate@10"], 3), round(found.score, 3), found.leads
    (1.0, 1.276, True)
    """
    values = {name: _values(rows, ks) for name, rows in ranks.items()}
    figures = {name: {m: float(v.mean()) for m, v in one.items()} for name, one in values.items()}
    best = _best(figures, [name for name in ranks if name in counting] or list(ranks))
    gains = {name: _gains(one, best) for name, one in values.items()}
    scores = {name: float(one.mean()) for name, one in gains.items()}
    first = max([n for n in ranks if n in counting] or list(ranks), key=lambda name: scores[name])
    return {
        name: Standing(
            figures[name],
            scores[name],
            scores[name] - scores[first],
            _standard_error(gains[name] - gains[first], users),
        )
        for name in ranks
    }


def _values(rows: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    short = min((k for k in ks if k >= 10), default=max(ks))
    long = max((k for k in ks if k <= 100), default=min(ks))
    return {
        f"hit_rate@{short}": hit_rate(rows, short),
        f"hit_rate@{long}": hit_rate(rows, long),
        f"ndcg@{short}": ndcg(rows, short),
    }


def _best(figures: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """The best figure of each metric among some models, or among all where these have no hit at all."""
    metrics = list(next(iter(figures.values())))
    best = {m: max(figures[name][m] for name in names) for m in metrics}
    if not any(best.values()):
        best = {m: max(one[m] for one in figures.values()) for m in metrics}
    return {m: value for m, value in best.items() if value > 0}


def _gains(values: Mapping[str, np.ndarray], best: Mapping[str, float]) -> np.ndarray:
    """What each row adds to the mean ratio: float64 `[n_rows]`; zeros where nobody has a hit."""
    parts = [values[m] / value for m, value in best.items()]
    return np.mean(parts, axis=0) if parts else np.zeros(len(next(iter(values.values()))))


def _standard_error(differences: np.ndarray, users: np.ndarray) -> float:
    """Standard error of a mean over rows that come in clusters, one a user."""
    residuals = np.bincount(users, weights=differences - differences.mean())
    return float(np.sqrt(np.sum(residuals**2)) / len(differences))
