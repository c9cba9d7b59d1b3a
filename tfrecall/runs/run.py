"""The main job: prepare, fit, evaluate, export, index, report."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.baselines.base import HistoryModel
from tfrecall.config.run import RunConfig
from tfrecall.core.arguments import argument
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.diagnostics.diagnostics import Diagnostics
from tfrecall.errors import ConfigError, ExportError
from tfrecall.evaluation import Evaluation
from tfrecall.evaluation.metrics import is_lower_better
from tfrecall.evaluation.ranking import RankingEvaluation
from tfrecall.evaluation.rivals import Beaten
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.base import Release
from tfrecall.release.layout import check_writable, stage
from tfrecall.release.loading import load
from tfrecall.release.manifest import MANIFEST, STATE
from tfrecall.report import page_or_error
from tfrecall.runs.facts import Stopwatch, among_new_of, data_facts, finite, intervals_of, timings
from tfrecall.runs.kinds import RunKind, kind_of
from tfrecall.runs.memory import check_memory
from tfrecall.runs.preparation import DataSplits, prepare
from tfrecall.runs.train import checkpoints_of, train
from tfrecall.training import Fitted, connect
from tfrecall.training.state import WarmStart, write_state


@dataclass(frozen=True)
class Outcome:
    """Result of a run.

    Attributes:
        metrics: content of `metrics.json`; `beaten_by` names baselines that are better, None without any.
        evaluation: figures on the test rows; an `Evaluation` of a retriever, a `RankingEvaluation` of a
            ranker.
        release: the release that was written.
        splits: the rows that were trained on, stopped by and tested on.
        kind: the parts of the run that differ between retrievers and rankers.
    """

    metrics: dict[str, Any]
    evaluation: Evaluation | RankingEvaluation
    release: Release
    splits: DataSplits
    kind: RunKind[Any, Any]

    def report(self) -> str:
        """Render the report of `report.html` again, from the exported model."""
        return self.kind.report(
            self.metrics, self.release.manifest, self.release, self.evaluation, self.splits
        )


def run(
    config: RunConfig,
    out: str | Path | None = None,
    progress: ProgressReporter | None = None,
    *,
    fresh: bool = False,
    tensorboard: str | Path | None = None,
    unless_worse_than: float | None = None,
    splits: DataSplits | None = None,
    tournament: dict[str, Any] | None = None,
) -> Outcome:
    """Run a configuration of a retriever or a ranker: prepare, fit, evaluate, export.

    Data, schema and the release directory are checked before training, so that impossible runs fail
    early. A run that fails or is interrupted publishes nothing; its checkpoints stay in the release
    directory, and the next run of the same configuration on the same data goes on from them.

    Args:
        config: the configuration, from `tfrecall.load_config`.
        out: the release directory; `saved_models/<recipe>` by default.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.
        fresh: whether to discard the checkpoints of an interrupted run.
        tensorboard: a directory for TensorBoard: curves, and the candidate vectors with their titles.
        unless_worse_than: publish nothing if the leading figure is worse than that of the release's current
            version, on the same test rows, by more than this share: .01 is one percent. None publishes anyway.
        splits: the rows, if they were prepared already; None prepares them.
        tournament: the tournament that chose the configuration, for `metrics.json` and the report.

    Raises:
        ExportError: if the directory cannot be written, or the model is worse.
        ConfigError: if several machines train, and this is not the chief: its part is `run_worker`.
        TfrecallError: if data, settings or directories are unusable, with the way out.
    """
    progress = progress or LogProgress()
    _check_is_chief(config)
    root = Path(out or Path("saved_models") / config.recipe)
    check_writable(root)
    kind, clock, diagnostics = kind_of(config), Stopwatch(), Diagnostics(config, progress)
    title = "Prepare the data" if splits is None else "Check the data"
    with progress.step(title), clock.time("prepare"):
        splits = splits or prepare(config, progress)
        check_memory(config, splits.known, progress)
        kind.check(splits)
        _check_unlearned(config, splits)
        leading = kind.leading_rule(splits.known)
        if note := kind.rule_note(splits.known, leading):
            progress.note(note)
        diagnostics.check_data(splits.train, splits.validation, splits.test)
    checkpoints = checkpoints_of(config, splits, root, progress)
    if fresh:
        checkpoints.discard()
    with progress.step("Fit the model"), clock.time("fit"):
        model, fitted = train(
            config, splits, progress, diagnostics, checkpoints=checkpoints, tensorboard=tensorboard
        )
        if tensorboard:
            kind.write_vectors(model, tensorboard)
    with progress.step("Evaluate on the test rows"), clock.time("evaluate"):
        evaluation = kind.evaluate(model, splits, progress)
        kind.diagnose(diagnostics, model, evaluation, splits)
        beaten = kind.beaten(evaluation, leading)
        diagnostics.check_baselines(beaten)
        if unless_worse_than is not None:
            _check_not_worse(kind, evaluation, splits, root, leading, unless_worse_than, progress)
    trained = _Trained(kind, model, fitted, evaluation, splits, diagnostics, beaten, tournament)
    with progress.step(kind.export_title), clock.time("export"):
        metrics, release = _export(trained, root, leading, clock, progress)
    # Only after publication: a failed export can then be repeated without training again.
    checkpoints.discard()
    return Outcome(metrics, evaluation, release, splits, kind)


def run_worker(config: RunConfig, progress: ProgressReporter | None = None) -> Fitted:
    """Do the part of a run that a worker beside the chief has: prepare the data, and train.

    It evaluates and writes nothing; its checkpoints come from the chief.

    Args:
        config: the configuration, the same as the chief's.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.
    """
    progress = progress or LogProgress()
    connect(config.training.strategy)
    with progress.step("Prepare the data"):
        splits = prepare(config, progress)
    diagnostics = Diagnostics(config, progress)
    # The directory is the chief's alone.
    checkpoints = checkpoints_of(config, splits, Path(), progress)
    with progress.step("Fit the model"):
        _, fitted = train(config, splits, progress, diagnostics, checkpoints=checkpoints)
    progress.note("This worker is done: the chief evaluates the model and writes the release.")
    return fitted


def is_worker(config: RunConfig) -> bool:
    """Whether this process trains for a chief, which evaluates and exports."""
    return not connect(config.training.strategy).is_chief


def _check_is_chief(config: RunConfig) -> None:
    if is_worker(config):
        raise ConfigError(
            "Several machines train, and this is not the chief, which alone evaluates and exports. Call "
            "`tfrecall.runs.run.run_worker(config)` here; the command `tfrecall run` chooses by itself."
        )


@dataclass(frozen=True)
class _Trained:
    """A trained model with the results that its release records."""

    kind: RunKind[Any, Any]
    model: TwoTower | Ranker | HistoryModel
    fitted: Fitted
    evaluation: Any
    splits: DataSplits
    diagnostics: Diagnostics
    beaten: Beaten | None
    tournament: dict[str, Any] | None

    @property
    def beaten_by(self) -> dict[str, Any] | None:
        """Plain form of `beaten`, for `metrics.json` and the manifest."""
        return None if self.beaten is None else self.beaten.to_dict()


def _export(
    trained: _Trained,
    root: Path,
    leading: str | None,
    clock: Stopwatch,
    progress: ProgressReporter,
) -> tuple[dict[str, Any], Release]:
    """Publish the model with its metrics, configuration and report."""
    kind, splits, evaluation = trained.kind, trained.splits, trained.evaluation
    config = kind.config
    facts = {
        "config": config.to_dict(),
        "data": data_facts(splits),
        "test": evaluation.test,
        "beaten_by": trained.beaten_by,
    }
    with stage(root) as staged:
        manifest = kind.stage(trained.model, staged, leading, facts)
        if config.export.training_state or config.training.warm_start:
            if isinstance(trained.model, TwoTower):
                write_state(trained.model, staged.directory / STATE)
            else:
                progress.note("A baseline is not trained: the release keeps no state of a training.")
        metrics = _metrics(trained, manifest, leading, clock)
        # A report that cannot be drawn becomes a page with the error: training took longer than any page.
        page = page_or_error(
            lambda: kind.report(metrics, manifest, trained.model, evaluation, splits), progress
        )
        staged.write("metrics.json", json.dumps(metrics, indent=2))
        staged.write("config.toml", config.to_toml())
        staged.write("report.html", page)
    return metrics, load(root, staged.version, verify=False)


def _check_not_worse(
    kind: RunKind[Any, Any],
    evaluation: Any,
    splits: DataSplits,
    root: Path,
    leading: str | None,
    margin: float,
    progress: ProgressReporter,
) -> None:
    """Refuse to publish a model that is worse than the current version.

    Raises:
        ExportError: with both figures.
    """
    if not (root / MANIFEST).exists():
        progress.note(f"There is no release at {root} yet to compare with.")
        return
    before = load(root)
    earlier = kind.evaluate(before, splits, progress, alone=True)
    now, then = (next(iter(kind.figures(e, leading).values())) for e in (evaluation, earlier))
    metric = kind.primary_metrics(list(now))[0]
    sign = -1 if is_lower_better(metric) else 1
    if sign * (now[metric] - then[metric]) < -margin * abs(then[metric]):
        raise ExportError(
            f"Nothing was published: {metric} of the new model is {now[metric]:.4f}, and that of version "
            f"{before.version} {then[metric]:.4f} on the same {len(splits.test):,} test rows, more than "
            f"{100 * margin:g} % better. To publish it nevertheless, run again without "
            f"{argument('unless_worse_than')}: the training goes on from its last checkpoint, if it was "
            "long enough to have one."
        )
    progress.note(f"{metric} {now[metric]:.4f}; version {before.version} has {then[metric]:.4f}.")


def _check_unlearned(config: RunConfig, splits: DataSplits) -> None:
    """Refuse test rows from which the release of a warm start has learned.

    Raises:
        ConfigError: with their number.
    """
    if config.training.warm_start is None:
        return
    start = WarmStart.of(config.training.warm_start)
    learned = np.count_nonzero(~start.unlearned(splits.test, splits.known))
    if learned:
        raise ConfigError(
            f"{start.root} has learned from {learned:,} of the {len(splits.test):,} test rows, so it would be "
            "tested on what it knows. Split as its run did (its config.toml), or by a later `split.at`."
        )


def _metrics(
    trained: _Trained, manifest: dict[str, Any], leading: str | None, clock: Stopwatch
) -> dict[str, Any]:
    config, splits, fitted = trained.kind.config, trained.splits, trained.fitted
    figures = trained.evaluation.to_dict()
    return {
        "recipe": config.recipe,
        "model": config.model.type,
        "version": manifest["version"],
        "data": data_facts(splits),
        "test": figures["test"],
        "baselines": figures["baselines"],
        "intervals": intervals_of(figures, config.model.type),
        **among_new_of(figures, config.model.type),
        "beaten_by": trained.beaten_by,
        "slices": figures["slices"],
        **trained.kind.metrics(trained.evaluation, manifest),
        "training": {"best_epoch": fitted.best_epoch, "history": finite(fitted.history)},
        "timings": timings(fitted, clock),
        # The test rows inherit the notes of the data: only their own are added.
        "notes": [*splits.known.notes, *splits.test.notes[len(splits.known.notes) :]],
        **({} if leading is None else {"leading": leading}),
        **({} if trained.tournament is None else {"tournament": trained.tournament}),
        "diagnostics": [finding.to_dict() for finding in trained.diagnostics.findings],
    }
