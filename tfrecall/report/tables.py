"""Tables of a run: selection and order of metrics."""

from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.seen import Seen
from tfrecall.evaluation import Evaluation
from tfrecall.evaluation.rivals import best_of_columns
from tfrecall.evaluation.summary import primary_metrics

EXPOSURE = ("coverage", "gini", "popularity_share", "novelty")
SHOWN_ITEMS = 10


def tiles(metrics: dict[str, Any], leading: str) -> list[dict[str, Any]]:
    """Primary metrics of the model, each with the best baseline: `metric`, `value`, `name`, `best`."""
    figures = metrics["test"][leading]
    shown = []
    for metric in primary_metrics(figures)[:4] or list(figures)[:4]:
        others = {n: r[leading][metric] for n, r in metrics["baselines"].items() if leading in r}
        name = max(others, key=lambda n: others[n], default=None)
        tile = {"metric": metric, "value": figures[metric], "name": name}
        shown.append({**tile, "best": others[name] if name is not None else None})
    return shown


def metric_tables(metrics: dict[str, Any], leading: str) -> list[dict[str, Any]]:
    """All metrics of all models, one table a rule; `primary_metrics` are shown unfolded."""
    models = {metrics["model"]: metrics["test"], **metrics["baselines"]}
    intervals = metrics.get("intervals", {})
    return [
        rule_table(rule, models, list(metrics["test"][rule]), intervals)
        for rule in Seen.ordered(leading)
    ]


def last_tables(metrics: dict[str, Any], leading: str) -> list[dict[str, Any]]:
    """Tables of each user's last test row alone; none without successive evaluation."""
    last = metrics.get("last_events")
    return metric_tables({**metrics, **last}, leading) if last else []


def rule_table(
    rule: str,
    models: dict[str, dict[str, dict[str, float]]],
    metrics: list[str],
    intervals: dict[str, dict[str, dict[str, list[float]]]] | None = None,
) -> dict[str, Any]:
    """Figures of one rule, of the models that have any: `values`, `intervals` of those that have one.

    `best` names the models with the best value of each primary metric.
    """
    shown = {name: figures[rule] for name, figures in models.items() if rule in figures}
    return {
        "rule": rule,
        "models": list(shown),
        "primary_metrics": primary_metrics(metrics),
        "values": {metric: [row.get(metric) for row in shown.values()] for metric in metrics},
        "intervals": {name: (intervals or {}).get(name, {}).get(rule, {}) for name in shown},
        "best": best_of_columns(shown, primary_metrics(metrics)),
    }


def list_length(figures: dict[str, float], metric: str = "hit_rate", wanted: int = 10) -> int:
    """Measured list length nearest to `wanted`; the shorter one in a tie."""
    ks = [int(name.partition("@")[2]) for name in figures if name.startswith(f"{metric}@")]
    return min(ks, key=lambda k: (abs(k - wanted), k))


def slices(metrics: dict[str, Any], leading: str) -> dict[str, Any]:
    """Hit rate of each slice with rows, and of all rows."""
    metric = f"hit_rate@{list_length(metrics['test'][leading])}"
    rows = [
        {"name": name.replace("_", " "), "rows": part["rows"], "value": part[leading][metric]}
        for name, part in metrics["slices"].items()
        if part["rows"] and metric in part[leading]
    ]
    overall = metrics["test"][leading][metric]
    # The bars are scaled by it: 1 if all are 0, not to divide by 0.
    longest = max([overall, *(row["value"] for row in rows)]) or 1.0
    return {"metric": metric, "rows": rows, "overall": overall, "longest": longest}


def popularity(metrics: dict[str, Any], leading: str) -> dict[str, Any]:
    """Exposure metrics of each model: how evenly its lists cover the catalogue."""
    k = list_length(metrics["test"][leading], "coverage")
    models = {metrics["model"]: metrics["test"], **metrics["baselines"]}
    rows = [
        {"model": name, **{m: figures[leading].get(f"{m}@{k}") for m in EXPOSURE}}
        for name, figures in models.items()
        if leading in figures
    ]
    return {"k": k, "columns": EXPOSURE, "rows": rows}


def most_shown(
    evaluation: Evaluation, names: pl.Series, train_rows: np.ndarray, leading: str
) -> list[dict[str, Any]]:
    """Items in most users' lists, with their share of the lists and their training rows."""
    exposure = exposures(evaluation, leading).get(evaluation.model)
    if exposure is None or len(exposure) != len(names):
        return []
    order = np.argsort(-exposure, kind="stable")[:SHOWN_ITEMS]
    return [
        {
            "title": names[i],
            "lists": int(exposure[i]),
            "share": float(exposure[i] / evaluation.users),
            "train_rows": int(train_rows[i]),
        }
        for i in order.tolist()
        if exposure[i]
    ]


def exposures(evaluation: Evaluation, leading: str) -> dict[str, np.ndarray]:
    """Number of lists that show each item, by model; lists of 10 or the nearest measured length."""
    names = [evaluation.model, *(n for n in evaluation.rankings if n != evaluation.model)]
    counts = {}
    for name in names:
        # A baseline without figures of this rule has no lists of it either.
        if name in evaluation.rankings and leading in evaluation.baselines.get(name, (leading,)):
            ranking = evaluation.rankings[name]
            exposure = ranking.by(Seen(leading)).exposure
            counts[name] = exposure[min(exposure, key=lambda k: (abs(k - 10), k))]
    return counts
