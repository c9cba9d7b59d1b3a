"""The page of a run: how good, how it came about, what it recommends, what it was made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tomli_w

from tfrecall.core.progress import ProgressReporter
from tfrecall.core.retriever import Retriever
from tfrecall.data.interactions import Interactions
from tfrecall.data.titles import title_column, titles
from tfrecall.evaluation import Evaluation
from tfrecall.evaluation.released import Released
from tfrecall.report import figures, pictures
from tfrecall.report.item_map import item_map
from tfrecall.report.pages import or_why_not, rendered, told
from tfrecall.report.users import Explain, example_users

if TYPE_CHECKING:  # which hands its page over and is above
    from tfrecall.runs.retrieval import Outcome


class WithVectors(Retriever, Protocol):
    """A retriever whose items have vectors."""

    @property
    def vectors(self) -> np.ndarray:
        """Of the candidates: float `[n, embedding_dim]`."""
        ...


@dataclass(frozen=True)
class Subject:
    """All that a page is made of.

    Attributes:
        metrics: what `metrics.json` says.
        manifest: of the version.
        retriever: the model, its catalogue in the order of the item table.
        known, test: the rows it learned from and was judged by.
        evaluation: on the test rows.
        explain: why a query gets some items; None where nothing can say it.
    """

    metrics: dict[str, Any]
    manifest: dict[str, Any]
    retriever: WithVectors
    known: Interactions
    test: Interactions
    evaluation: Evaluation
    explain: Explain | None = None

    @property
    def leading(self) -> str:
        """The rule that leads: `seen_removed` unless the run says otherwise."""
        return self.metrics.get("leading", "seen_removed")


def page(outcome: "Outcome") -> str:
    """The report of a run as one HTML page; `run` writes the same beside `metrics.json`."""
    release = outcome.release
    released = Released(release.name, release)
    return run_page(
        Subject(
            outcome.metrics,
            release.manifest,
            released,
            outcome.prepared.known,
            outcome.prepared.test,
            outcome.evaluation,
            released.explanations,
        )
    )


def drawn(subject: Callable[[], Subject], progress: ProgressReporter) -> str:
    """The page of a run, or one that says why there is none; see `or_why_not`.

    Args:
        subject: gives what the page is made of.
        progress: receives a note if drawing fails.
    """
    return or_why_not(lambda: run_page(subject()), progress)


def run_page(subject: Subject) -> str:
    """Draws a page. Texts of data are escaped; nothing is loaded from elsewhere."""
    metrics, known = subject.metrics, subject.known
    column = title_column(known.items, subject.manifest["schema"]["candidate"])
    names = titles(known.items, column)
    train_rows = np.bincount(known.item_rows[known.item_rows >= 0], minlength=known.items.height)
    leave = ["item_id", *([column] if column else [])]
    config = subject.manifest.get("config", {})
    drawn_map, map_told = item_map(subject.retriever.vectors, known.items, names, train_rows, leave)
    return rendered(
        "run.html",
        title=f"{metrics['recipe']}, version {metrics['version']}",
        metrics=metrics,
        leading=subject.leading,
        diagnostics=[told(finding) for finding in metrics.get("diagnostics", [])],
        headline=figures.tiles(metrics, subject.leading),
        tables=figures.metric_tables(metrics, subject.leading),
        training=pictures.training(metrics["training"], config.get("training", {})),
        recall=pictures.recall_curves(
            {metrics["model"]: metrics["test"], **metrics["baselines"]},
            metrics["baselines"],
            subject.leading,
        ),
        slices=figures.slices(metrics, subject.leading),
        popularity=figures.popularity(metrics, subject.leading),
        exposure=pictures.exposure(subject.evaluation, metrics["model"], train_rows, subject.leading),
        most_shown=figures.most_shown(subject.evaluation, names, train_rows, subject.leading),
        index=pictures.index(subject.manifest.get("tuning", {})),
        tuning=subject.manifest.get("tuning", {}).get("rows", []),
        item_map=drawn_map,
        map_told=map_told,
        users=example_users(
            subject.retriever, known, subject.test, names, subject.leading, subject.explain
        ),
        facts={k: v for k, v in metrics["data"].items() if not isinstance(v, dict | list)},
        made_with=subject.manifest.get("made_with", {}),
        created_at=subject.manifest.get("created_at", ""),
        toml=tomli_w.dumps(config) if config else "",
    )
