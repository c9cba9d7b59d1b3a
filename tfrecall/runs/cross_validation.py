"""The figures of a recipe on several parts of its data, each of which is the test once."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.repeat_consumption import leading_rule
from tfrecall.evaluation.ranking import evaluate_ranking
from tfrecall.evaluation.summary import primary_metrics
from tfrecall.runs.evaluate import judge
from tfrecall.runs.preparation import Prepared, prepare_folds
from tfrecall.runs.ranking import check_labels, judge_of
from tfrecall.runs.train import train

# Figures of one fold: model -> metric -> value, the model first, then its baselines.
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class CrossValidation:
    """How a recipe does on each of its folds, beside its baselines.

    Attributes:
        recipe: its name.
        seed: of the folds.
        test_rows: of each fold.
        best_epochs: the epoch whose weights were judged, or how long the model was fitted anew, of each.
        seen: `seen_removed` or `seen_kept`, the rule that leads the figures of a retriever; None of a
            ranker.
        leading: the metrics that tables show.
        figures: model -> metric -> the value of each fold; the type of the recipe's model first, as in
            `metrics.json`, then its baselines.
    """

    recipe: str
    seed: int
    test_rows: list[int]
    best_epochs: list[int]
    seen: str | None
    leading: list[str]
    figures: dict[str, dict[str, list[float]]]

    def mean(self, model: str, metric: str) -> float:
        """The mean over folds."""
        return float(np.mean(self.figures[model][metric]))

    def spread(self, model: str, metric: str) -> float:
        """The standard deviation over folds, of a sample: the squares are divided by folds - 1.

        Training parts of two folds have most rows in common, so the spread tells how much a single split
        may be off, and not how sure the mean is.
        """
        return float(np.std(self.figures[model][metric], ddof=1))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python types, with `mean`, `spread` and `folds` of each figure."""
        return {
            "recipe": self.recipe,
            "folds": len(self.test_rows),
            "seed": self.seed,
            "test_rows": list(self.test_rows),
            "best_epochs": list(self.best_epochs),
            "seen": self.seen,
            "leading": list(self.leading),
            "figures": {
                model: {
                    metric: {
                        "mean": self.mean(model, metric),
                        "spread": self.spread(model, metric),
                        "folds": list(values),
                    }
                    for metric, values in metrics.items()
                }
                for model, metrics in self.figures.items()
            },
        }


def cross_validate(
    config: RunConfig, folds: int = 5, progress: ProgressReporter | None = None
) -> CrossValidation:
    """Trains and judges a recipe `folds` times, each time on another part of the rows.

    The parts are drawn by `split.seed`; `split.test_fraction` says nothing here. Model and baselines are
    fitted anew to the other rows of each fold, with the settings of the recipe: nothing is exported. Where
    settings were chosen on part of the same data, as those of shipped recipes were, rows that they were
    chosen on are test rows of some fold. With few settings and many rows that flatters the mean by little.

    Args:
        config: of a retriever or a ranker, with `split.method = "random"`.
        folds: how many.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.

    Raises:
        ConfigError: if the configuration does not split at random, or there cannot be so many folds.
        TfrecallError: as from a run.
    """
    progress = progress or LogProgress()
    with progress.step("Prepare the data"):
        parts = prepare_folds(config, folds, progress)
        if config.ranks:
            check_labels(judge_of(config), parts[0])  # whose parts are all rows
    seen = None if config.ranks else leading_rule(config.evaluation.seen, parts[0].known)
    found: list[Figures] = []
    epochs = []
    for i, prepared in enumerate(parts):
        with progress.step(f"Fold {i + 1} of {folds}"):
            figures, epoch = _judged(config, prepared, seen, progress)
            progress.note(_line(figures))
        found.append(figures)
        epochs.append(epoch)
    names = next(iter(found[0].values()))
    return CrossValidation(
        config.recipe,
        config.split.seed,
        [len(prepared.test) for prepared in parts],
        epochs,
        seen,
        list(names) if config.ranks else primary_metrics(names, of_users=False),
        {
            model: {metric: [fold[model][metric] for fold in found] for metric in metrics}
            for model, metrics in found[0].items()
        },
    )


def _judged(
    config: RunConfig, prepared: Prepared, seen: str | None, progress: ProgressReporter
) -> tuple[Figures, int]:
    """The figures of one fold, and the epoch that gave them."""
    if seen is None:
        ranker, fitted = train(config, prepared, progress)
        told = evaluate_ranking(ranker, prepared.test, judge_of(config), known=prepared.known)
        return {config.model.type: told.test, **told.baselines}, fitted.best_epoch
    model, fitted = train(config, prepared, progress)
    judged = judge(config, prepared, model, progress)
    others = {name: rules[seen] for name, rules in judged.baselines.items()}
    return {config.model.type: judged.test[seen], **others}, fitted.best_epoch


def _line(figures: Figures) -> str:
    """The first metric of each model, in words."""
    metric = next(iter(next(iter(figures.values()))))
    told = ", ".join(f"{model} {values[metric]:.4f}" for model, values in figures.items())
    return f"{metric}: {told}"
