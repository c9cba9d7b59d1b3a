"""Cross-validation of a recipe: each part of the rows is the test once."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.evaluation.rivals import Beaten, beaten_by
from tfrecall.runs.kinds import Figures, RunKind, kind_of
from tfrecall.runs.preparation import DataSplits, prepare_folds
from tfrecall.runs.train import train


@dataclass(frozen=True)
class CrossValidation:
    """Metrics of a recipe and its baselines on each fold.

    Attributes:
        recipe: name of the recipe.
        seed: seed of the folds.
        test_rows: number of test rows of each fold.
        best_epochs: epoch whose weights were evaluated, or the length of the second fit, of each fold.
        seen: rule of the metrics of a retriever, `seen_removed` or `seen_kept`; None for a ranker.
        leading: metrics that tables show.
        figures: model -> metric -> value of each fold; the type of the recipe's model first, as in
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
        """Mean of a metric over folds."""
        return float(np.mean(self.figures[model][metric]))

    def spread(self, model: str, metric: str) -> float:
        """Standard deviation of a metric over folds, of a sample: divided by folds - 1.

        Training rows of two folds overlap mostly, so the spread tells how much the result of a single
        split varies, not how certain the mean is.
        """
        return float(np.std(self.figures[model][metric], ddof=1))

    @property
    def beaten(self) -> Beaten | None:
        """Baselines whose mean of the leading figure is better than the model's; None if there are none."""
        metric = self.leading[0]
        means = {model: {metric: self.mean(model, metric)} for model in self.figures}
        return beaten_by(means, metric, self.seen)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, with `mean`, `spread` and `folds` of each metric."""
        beaten = self.beaten
        return {
            "recipe": self.recipe,
            "folds": len(self.test_rows),
            "seed": self.seed,
            "test_rows": list(self.test_rows),
            "best_epochs": list(self.best_epochs),
            "seen": self.seen,
            "leading": list(self.leading),
            "beaten_by": None if beaten is None else beaten.to_dict(),
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
    """Train and evaluate a recipe `folds` times, each time on another part of the rows.

    The folds are drawn with `split.seed`; `split.test_fraction` has no effect. Model and baselines are
    fitted anew on the other rows of each fold; nothing is exported. Settings of the shipped recipes were
    chosen on rows of the same data, which are test rows of some fold; with few settings and many rows
    that flatters the mean only a little.

    Args:
        config: a retriever or a ranker with `split.method = "random"`.
        folds: number of folds, 2 or more.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.

    Raises:
        ConfigError: if the configuration does not split at random, or there cannot be so many folds.
        TfrecallError: if data, labels or settings are unusable, as in `tfrecall run`.

    Example:

    >>> import tfrecall as tr
    >>> config = tr.load_config("ranking_basic_ml100k")
    >>> config.split.method
    'random'
    >>> result = tr.cross_validate(config, folds=5)  # doctest: +SKIP
    >>> result.mean("ranker", "rmse"), result.spread("ranker", "rmse")  # doctest: +SKIP
    """
    progress = progress or LogProgress()
    kind = kind_of(config)
    with progress.step("Prepare the data"):
        parts = prepare_folds(config, folds, progress)
        kind.check(parts[0])  # the parts of any fold together are all rows
    leading = kind.leading_rule(parts[0].known)
    figures: list[Figures] = []
    epochs = []
    for i, splits in enumerate(parts):
        with progress.step(f"Fold {i + 1} of {folds}"):
            fold, epoch = _evaluate_fold(kind, splits, leading, progress)
            progress.note(_line(fold))
        figures.append(fold)
        epochs.append(epoch)
    return CrossValidation(
        config.recipe,
        config.split.seed,
        [len(splits.test) for splits in parts],
        epochs,
        leading,
        kind.primary_metrics(list(next(iter(figures[0].values())))),
        {
            # From figures by fold to folds by figure; all folds have the same models and metrics.
            model: {metric: [fold[model][metric] for fold in figures] for metric in metrics}
            for model, metrics in figures[0].items()
        },
    )


def _evaluate_fold(
    kind: RunKind[Any, Any], splits: DataSplits, leading: str | None, progress: ProgressReporter
) -> tuple[Figures, int]:
    """Figures of one fold, and the epoch whose weights gave them."""
    model, fitted = train(kind.config, splits, progress)
    evaluation = kind.evaluate(model, splits, progress)
    return kind.figures(evaluation, leading), fitted.best_epoch


def _line(figures: Figures) -> str:
    """The first metric of each model, in one line."""
    metric = next(iter(next(iter(figures.values()))))
    values = ", ".join(f"{model} {metrics[metric]:.4f}" for model, metrics in figures.items())
    return f"{metric}: {values}"
