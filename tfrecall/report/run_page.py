"""Report of a retrieval run: metrics, training, recommendations, configuration."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tomli_w

from tfrecall.core.retriever import Retriever
from tfrecall.core.run_names import as_named
from tfrecall.core.seen import Seen
from tfrecall.core.titles import title_column, titles
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation import Evaluation
from tfrecall.evaluation.report import note_on_had
from tfrecall.report import charts, tables
from tfrecall.report.directory import user_directory
from tfrecall.report.images import ItemImages
from tfrecall.report.item_map import item_map
from tfrecall.report.render import finding_text, render
from tfrecall.report.users import Explain, UserCards, example_users, worst_users


@runtime_checkable
class HasVectors(Retriever, Protocol):
    """A retriever with candidate vectors, which the report draws as a map."""

    @property
    def vectors(self) -> np.ndarray:
        """Candidate vectors, float `[n, embedding_dim]`."""
        ...


@dataclass(frozen=True)
class RunReportData:
    """Content of the report of a retrieval run.

    Attributes:
        metrics: content of `metrics.json`.
        manifest: manifest of the version.
        retriever: the trained model; its catalogue is in the order of the item table.
        known: training rows, validation rows included; the histories of the examples.
        test: test rows.
        evaluation: result of `evaluate` on the test rows.
        explain: function from a query and items to the strongest reasons; None if unsupported.
    """

    metrics: dict[str, Any]
    manifest: dict[str, Any]
    retriever: Retriever
    known: Interactions
    test: Interactions
    evaluation: Evaluation
    explain: Explain | None = None

    @property
    def leading(self) -> str:
        """Rule shown first, `seen_removed` or `seen_kept`."""
        return self.metrics.get("leading", Seen.REMOVED)


def run_page(data: RunReportData) -> str:
    """Render the report as HTML; texts of the data are escaped, nothing is loaded from elsewhere."""
    metrics, known = as_named(data.metrics), data.known
    column = title_column(known.items, data.manifest["schema"]["candidate"])
    names = titles(known.items, column)
    train_rows = np.bincount(known.item_rows[known.item_rows >= 0], minlength=known.items.height)
    leave = ["item_id", *([column] if column else [])]
    config = data.manifest.get("config", {})
    cards = UserCards(
        data.retriever, known, data.test, names, data.leading, data.explain, ItemImages(known.items)
    )
    map_chart, map_caption = (
        item_map(data.retriever.vectors, known.items, names, train_rows, leave)
        if isinstance(data.retriever, HasVectors)
        else (None, "")
    )
    return render(
        "run.html",
        title=f"{metrics['recipe']}, version {metrics['version']}",
        metrics=metrics,
        leading=data.leading,
        diagnostics=[finding_text(finding) for finding in metrics.get("diagnostics", [])],
        tiles=tables.tiles(metrics, data.leading),
        tables=tables.metric_tables(metrics, data.leading),
        last_tables=tables.last_tables(metrics, data.leading),
        had=note_on_had(metrics.get("targets_had", 0), metrics["data"]["test_rows"]),
        training=charts.training(metrics["training"], config.get("training", {})),
        recall=charts.recall_curves(
            {metrics["model"]: metrics["test"], **metrics["baselines"]},
            metrics["baselines"],
            data.leading,
        ),
        intervals=charts.leading_intervals(metrics, data.leading),
        slices=tables.slices(metrics, data.leading),
        popularity=tables.popularity(metrics, data.leading),
        exposure=charts.exposure(data.evaluation, metrics["model"], train_rows, data.leading),
        most_shown=tables.most_shown(data.evaluation, names, train_rows, data.leading),
        index=charts.index(data.manifest.get("tuning", {})),
        tuning=data.manifest.get("tuning", {}).get("rows", []),
        item_map=map_chart,
        map_caption=map_caption,
        users=example_users(cards),
        worst=worst_users(cards, data.evaluation),
        directory=user_directory(cards),
        facts={k: v for k, v in metrics["data"].items() if not isinstance(v, dict | list)},
        made_with=data.manifest.get("made_with", {}),
        created_at=data.manifest.get("created_at", ""),
        toml=tomli_w.dumps(config) if config else "",
    )
