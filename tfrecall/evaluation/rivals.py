"""Baselines that beat a model on the figure that leads its table."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

from tfrecall.core.seen import Seen
from tfrecall.evaluation.metrics import is_lower_better


@dataclass(frozen=True)
class Beaten:
    """A model that baselines of its own table beat.

    Attributes:
        metric: the figure that leads the table, such as `hit_rate@10`.
        rule: `seen_removed` or `seen_kept`; None for a ranker, which has no rule.
        model: the model's value.
        baselines: name -> value of each better baseline, the best first.
    """

    metric: str
    rule: str | None
    model: float
    baselines: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, as `metrics.json` and the manifest have it."""
        return asdict(self)

    def __str__(self) -> str:
        """One sentence, for notes and tables.

        >>> print(Beaten("hit_rate@10", "seen_kept", 0.0823, {"own_most_frequent": 0.105}))
        own_most_frequent (.1050) beats the model (.0823) on the test rows: hit_rate@10, seen items kept.
        """
        better = [f"{name} ({_figure(value)})" for name, value in self.baselines.items()]
        rule = f", seen items {Seen(self.rule).word}" if self.rule else ""
        return (
            f"{_listed(better)} {'beats' if len(better) == 1 else 'beat'} the model "
            f"({_figure(self.model)}) on the test rows: {self.metric}{rule}."
        )


def beaten_by(
    figures: Mapping[str, Mapping[str, float]], metric: str, rule: str | None = None
) -> Beaten | None:
    """Compares a model with its baselines on one figure; None if no baseline is better.

    Equal figures, and NaN, beat nothing. Chance is not considered: a baseline is cheaper to serve than a
    model that is only as good.

    Args:
        figures: model -> metric -> value, the model itself first.
        metric: the figure to compare; baselines without it are left out.
        rule: rule of the figures, for the words.

    >>> beaten_by({"ranker": {"rmse": 0.9}, "biases": {"rmse": 0.8}}, "rmse").baselines
    {'biases': 0.8}
    """
    model, *others = figures
    sign = -1 if is_lower_better(metric) else 1
    own = figures[model][metric]
    better = {
        name: figures[name][metric]
        for name in others
        if metric in figures[name] and sign * figures[name][metric] > sign * own
    }
    if not better:
        return None
    ordered = dict(sorted(better.items(), key=lambda pair: -sign * pair[1]))
    return Beaten(metric, rule, own, ordered)


def best_of_columns(
    figures: Mapping[str, Mapping[str, float]], metrics: Iterable[str]
) -> dict[str, list[str]]:
    """Finds the models with the best value of each metric: metric -> all that share it.

    Values count as equal if they agree in six digits after the point; NaN is never the best.

    Args:
        figures: model -> metric -> value.
        metrics: names of the metrics; a model without one is left out there.

    >>> best_of_columns({"a": {"mrr": 0.2, "rmse": 0.9}, "b": {"mrr": 0.2, "rmse": 0.8}}, ["mrr", "rmse"])
    {'mrr': ['a', 'b'], 'rmse': ['b']}
    """
    best = {}
    for metric in metrics:
        values = {m: round(row[metric], 6) for m, row in figures.items() if row.get(metric) is not None}
        choose = min if is_lower_better(metric) else max
        top = choose((v for v in values.values() if not isnan(v)), default=None)
        best[metric] = [model for model, value in values.items() if value == top]
    return best


def _figure(value: float) -> str:
    """A share without its leading zero, as tables of the field print it."""
    return f"{value:.4f}".removeprefix("0")


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
