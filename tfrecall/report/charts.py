"""Charts of a run: training curves, recall, exposure, index."""

from collections.abc import Collection
from typing import Any

import numpy as np
from markupsafe import Markup

from tfrecall.core.seen import Seen
from tfrecall.evaluation import Evaluation
from tfrecall.report.svg import Series, intervals, joined, line_chart, percent, short
from tfrecall.report.tables import exposures

# Points of a curve over all items; more would be invisible.
_STEPS = 60


def training(fitted: dict[str, Any], config: dict[str, Any], *, of_errors: bool = False) -> Markup:
    """Loss and the monitored validation metric by epoch, with the chosen epoch marked.

    Args:
        fitted: `training` of `metrics.json`.
        config: section `training` of the configuration.
        of_errors: whether the metric is an error, measured on training rows too and far from 0, where an
            axis from 0 would show a flat line.
    """
    history, best = fitted["history"], fitted["best_epoch"]
    loss = [Series("training", _epochs(history.get("loss", [])))]
    every = int(config.get("validate_every", 1))
    if "val_loss" in history:
        loss.append(Series("validation", _epochs(history["val_loss"], every)))
    monitor = str(config.get("monitor", ""))
    judged = history.get(f"val_{monitor}", [])
    last = max((int(x) for series in loss for x, _ in series.points), default=1)
    mark = (float(best), f"epoch {best}") if last > 1 and 1 <= best <= last else None
    # At most 8 ticks, at whole epochs; -(-a // b) rounds up.
    ticks = [float(t) for t in range(1, last + 1, max(1, -(-last // 8)))]
    options: dict[str, Any] = {"x_label": "epoch", "x_ticks": ticks, "mark": mark}
    charts = [line_chart("Loss", loss, **options)]
    if judged and monitor != "loss":
        name = monitor.rpartition("/")[2]
        series = [Series(name, _epochs(judged, every))]
        label, bottom = f"Validation: {name}", None if of_errors else 0.0
        if of_errors:
            series = [
                Series("training", _epochs(history.get(monitor, []))),
                Series("validation", _epochs(judged, every)),
            ]
            label = name
        charts.append(line_chart(label, series, bottom=bottom, **options))
    return joined(charts)


def recall_curves(
    models: dict[str, dict[str, dict[str, float]]], baselines: Collection[str], leading: str
) -> Markup:
    """Recall at each k, one panel a rule; baselines are dashed."""
    charts = []
    for rule in Seen.ordered(leading):
        series = [
            Series(name, _at_k(figures[rule]), dashed=name in baselines)
            for name, figures in models.items()
            if rule in figures
        ]
        ks = [k for k, _ in series[0].points]
        label = f"Recall@k, seen items {rule.removeprefix('seen_')}"
        charts.append(
            line_chart(label, series, x_label="k", log_x=True, x_ticks=ks, bottom=0.0, text=percent)
        )
    return joined(charts)


def leading_intervals(metrics: dict[str, Any], leading: str) -> Markup:
    """The leading metric of the model and each baseline with its 95 % interval over users.

    Args:
        metrics: content of `metrics.json`; `intervals` is model -> rule -> metric -> low and high end.
        leading: rule of the figures.
    """
    models = {metrics["model"]: metrics["test"], **metrics["baselines"]}
    found = metrics.get("intervals", {})
    rows: dict[str, list[tuple[str, float, float, float]]] = {}
    for name, rules in models.items():
        for metric, (low, high) in found.get(name, {}).get(leading, {}).items():
            rows.setdefault(metric, []).append((name, rules[leading][metric], low, high))
    charts = [
        intervals(f"{metric}, 95 % interval over users", of_metric, about_zero=False, text=percent)
        for metric, of_metric in rows.items()
    ]
    return joined(charts)


def exposure(evaluation: Evaluation, model: str, train_rows: np.ndarray, leading: str) -> Markup:
    """Cumulative share of recommendations and of training rows, most popular items first."""
    # Releases of other catalogues cannot be drawn over the same items.
    order = np.argsort(-train_rows, kind="stable")
    shown = {n: e for n, e in exposures(evaluation, leading).items() if len(e) == len(order)}
    series = [
        Series(model if i == 0 else name, _cumulated(counts[order]), dashed=i > 0)
        for i, (name, counts) in enumerate(shown.items())
    ]
    series.append(Series("training rows", _cumulated(train_rows[order])))
    return line_chart(
        "Recommended places that go to the most popular items",
        series,
        x_label="share of the catalogue, most popular first",
        x_ticks=[0.0, 0.25, 0.5, 0.75, 1.0],
        bottom=0.0,
        text=percent,
    )


def index(tuning: dict[str, Any]) -> Markup:
    """Recall and latency of the Annoy index for each measured `search_k`."""
    rows = tuning.get("rows", [])
    if not rows:
        return Markup("")
    efforts = [float(row["search_k"]) for row in rows]
    # Tuning raises the effort until the recall is reached, so the last row is the chosen one.
    chosen = (efforts[-1], "chosen") if len(rows) > 1 else None
    options: dict[str, Any] = {"x_label": "search_k", "log_x": True, "x_ticks": efforts, "mark": chosen}
    recall = [Series("Annoy", [(x, row["recall"]) for x, row in zip(efforts, rows, strict=True)])]
    times = [Series("Annoy", [(x, row["p50_us"]) for x, row in zip(efforts, rows, strict=True)])]
    exact = tuning["exact_p50_us"]
    times.append(Series("exact", [(x, exact) for x in (efforts[0], efforts[-1])], dashed=True))
    return joined(
        [
            line_chart(f"Recall@{tuning['k']} of exact search", recall, text=percent, **options),
            line_chart("Median microseconds a query", times, bottom=0.0, text=short, **options),
        ]
    )


def _epochs(values: list[float | None], every: int = 1) -> list[tuple[float, Any]]:
    """Values after each validated epoch, counted from 1."""
    return [(float(every * (i + 1)), value) for i, value in enumerate(values)]


def _at_k(figures: dict[str, float]) -> list[tuple[float, float]]:
    """Points of hit_rate@k, which equals recall: each row has one target."""
    points = [
        (float(name.partition("@")[2]), value)
        for name, value in figures.items()
        if name.startswith("hit_rate@")
    ]
    return sorted(points)


def _cumulated(counts: np.ndarray) -> list[tuple[float, float]]:
    total = counts.sum()
    if not total:
        return []
    # shares[i] belongs to the first i items, so the curve begins at (0, 0) and has n + 1 points; `unique`
    # as small catalogues have fewer than _STEPS of them.
    shares = np.concatenate([[0.0], np.cumsum(counts) / total])
    at = np.unique(np.linspace(0, len(counts), _STEPS + 1).round().astype(int))
    return [(round(i / len(counts), 4), round(float(shares[i]), 4)) for i in at.tolist()]
