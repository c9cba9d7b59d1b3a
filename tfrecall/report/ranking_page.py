"""Report of a ranking run: errors, calibration, slices, training, example lists."""

from collections.abc import Sequence
from typing import Any

import tomli_w
from markupsafe import Markup

from tfrecall.core.run_names import as_named
from tfrecall.evaluation.rivals import best_of_columns
from tfrecall.report import charts
from tfrecall.report.bars import Bars, bar_chart
from tfrecall.report.render import finding_text, number, render
from tfrecall.report.svg import Series, line_chart, percent, short

# Metrics to minimise.
ERRORS = ("rmse", "mae", "log_loss")


def ranking_page(
    metrics: dict[str, Any], manifest: dict[str, Any], lists: Sequence[dict[str, Any]] = ()
) -> str:
    """Render the report as HTML; texts of the data are escaped, nothing is loaded from elsewhere.

    Args:
        metrics: content of `metrics.json`.
        manifest: manifest of the version.
        lists: examples of `example_lists`; none without them.
    """
    metrics = as_named(metrics)
    config = manifest.get("config", {})
    calibrated = metrics.get("calibration", {})
    models = {metrics["model"]: metrics["test"], **metrics["baselines"]}
    return render(
        "ranking.html",
        title=f"{metrics['recipe']}, version {metrics['version']}",
        metrics=metrics,
        label=manifest.get("label", {}).get("column", "label"),
        diagnostics=[finding_text(finding) for finding in metrics.get("diagnostics", [])],
        tiles=tiles(metrics),
        models=models,
        best=best_of_columns(models, metrics["test"]),
        calibration=calibrated,
        curve=calibration_curve(metrics) if calibrated else "",
        histogram=_histogram(metrics) if calibrated else "",
        slices=[table for table in (slice_table(metrics, kind) for kind in _PARTS) if table["rows"]],
        training=charts.training(metrics["training"], config.get("training", {}), of_errors=True),
        lists=lists,
        facts={k: v for k, v in metrics["data"].items() if not isinstance(v, dict | list)},
        made_with=manifest.get("made_with", {}),
        created_at=manifest.get("created_at", ""),
        toml=tomli_w.dumps(config) if config else "",
    )


_PARTS = {"popularity": "training rows of the item", "history": "training rows of the user"}


def tiles(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Metrics of the model, each with the best baseline: `metric`, `value`, `name`, `best`."""
    shown = []
    for metric, value in metrics["test"].items():
        others = {name: figures[metric] for name, figures in metrics["baselines"].items()}
        choose = min if metric in ERRORS else max
        name = choose(others, key=lambda n: others[n], default=None)
        best = others[name] if name is not None else None
        shown.append({"metric": metric, "value": value, "name": name, "best": best})
    return shown


def calibration_curve(metrics: dict[str, Any]) -> Markup:
    """Mean label against mean prediction, bin by bin, of the model and of baselines that differ."""
    calibration = metrics["calibration"]
    curves = {metrics["model"]: calibration["test"], **calibration["baselines"]}
    points = {
        name: [(one["prediction"], one["label"]) for one in curve["bins"]]
        for name, curve in curves.items()
    }
    ends = [value for line in points.values() for point in line for value in point]
    series = [
        Series(name, line, dashed=i > 0)
        for i, (name, line) in enumerate(points.items())
        # A constant baseline has a single bin, which draws no line.
        if i == 0 or len(line) > 1
    ]
    series.append(Series("right on average", [(x, x) for x in (min(ends), max(ends))], dashed=True))
    clicks = metrics["task"] == "click"
    return line_chart(
        "Share that was clicked, by probability" if clicks else "Mean label, by prediction",
        series,
        x_label="mean prediction of the bin",
        text=percent if clicks else short,
    )


def slice_table(metrics: dict[str, Any], kind: str) -> dict[str, Any]:
    """First metric by slice of the test rows; each of `rows` has a figure for every model."""
    metric = next(iter(metrics["test"]))
    rows = [
        {
            "name": _words(name.removeprefix(f"{kind}_")),
            "rows": part["rows"],
            "value": part["test"][metric],
            "others": [figures[metric] for figures in part["baselines"].values()],
        }
        for name, part in metrics["slices"].items()
        if name.startswith(f"{kind}_") and part["test"][metric] is not None
    ]
    longest = max((row["value"] for row in rows), default=0) or 1.0
    return {"what": _PARTS[kind], "metric": metric, "rows": rows, "longest": longest}


def _histogram(metrics: dict[str, Any]) -> Markup:
    histogram = metrics["calibration"]["histogram"]
    series = [
        Bars(name.replace("_", " "), values) for name, values in histogram.items() if name != "at"
    ]
    clicks = metrics["task"] == "click"
    return bar_chart(
        "Test rows by probability" if clicks else "Test rows by label, and by the label predicted",
        [f"{value:.4g}" for value in histogram["at"]],
        series,
        x_label="probability, tenths" if clicks else "label; predictions count at the nearest",
    )


def _words(part: str) -> str:
    """Format the bounds of a slice.

    >>> [_words(part) for part in ("0", "10_49", "200_plus")]
    ['0', '10 to 49', '200 and more']
    """
    low, _, high = part.partition("_")
    if not high:
        return number(int(low))
    return f"{low} and more" if high == "plus" else f"{low} to {high}"
