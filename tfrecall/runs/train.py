"""Training of a run: a fit stopped by validation rows, then optionally one on all trainable rows."""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from tfrecall._keras import keras
from tfrecall.baselines.base import HistoryModel
from tfrecall.config.models import RankerConfig
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.interactions import Interactions
from tfrecall.diagnostics.diagnostics import Diagnostics
from tfrecall.errors import ConfigError
from tfrecall.index.repeats import Repeats
from tfrecall.models.ranker import Ranker
from tfrecall.models.repeats import first_times, fit_repeats, new_to_users
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.base import Release
from tfrecall.release.loading import load
from tfrecall.runs.build import baseline_of, make_model
from tfrecall.runs.preparation import DataSplits
from tfrecall.schema.training import TrainingConfig
from tfrecall.training import Fitted, connect, fit, made_with, seed_everything
from tfrecall.training.checkpoints import Checkpoints
from tfrecall.training.precision import words_on_gain
from tfrecall.training.shared_checkpoints import make_checkpoints
from tfrecall.training.tensorboard import Board
from tfrecall.training.warm_start import warm_start


def train(
    config: RunConfig,
    splits: DataSplits,
    progress: ProgressReporter | None = None,
    diagnostics: Diagnostics | None = None,
    *,
    checkpoints: Checkpoints | None = None,
    tensorboard: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[TwoTower | Ranker | HistoryModel, Fitted]:
    """Fit the model of a configuration; with `training.refit`, fit again on all trainable rows.

    With checkpoints, training continues from the last one. The returned model has the histories of all
    known rows. A baseline is fitted to these, in no epochs.

    Args:
        config: the configuration; its `model` decides between a retriever, a baseline and a ranker.
        splits: training, validation and known rows.
        progress: receives steps, notes and counts; None logs them.
        diagnostics: diagnostics of the training; None for new ones.
        checkpoints: checkpoints to write and to continue from; None for none.
        tensorboard: a directory for TensorBoard.
        callbacks: further callbacks of each fit.

    Returns:
        The model, and the result of the first fit with the time of both fits.
    """
    if config.counts:
        return _fit_baseline(config, splits)
    run = TrainingRun(
        config, splits, progress or LogProgress(), diagnostics, checkpoints, tensorboard, callbacks
    )
    with checkpoints or nullcontext():
        return run.train()


def first_fit(
    config: RunConfig, splits: DataSplits, progress: ProgressReporter, checkpoints: Checkpoints
) -> tuple[TwoTower, Fitted]:
    """Fit a retriever on the training rows alone: the first half of `train`, which can go on from its end.

    Args:
        config: the configuration of a retriever that is trained.
        splits: training and validation rows.
        progress: receives steps, notes and counts.
        checkpoints: checkpoints to write and to continue from; with `until` the fit pauses.

    Returns:
        The model with its best weights so far, and the result of the fit.
    """
    silent = Diagnostics(config, progress, enabled=False)
    run = TrainingRun(config, splits, progress, silent, checkpoints, None, ())
    with checkpoints:
        model, first = run.fit_with_validation()
    return cast(TwoTower, model), first.fitted


def _fit_baseline(config: RunConfig, splits: DataSplits) -> tuple[HistoryModel, Fitted]:
    started = time.perf_counter()
    model = baseline_of(config).fit(splits.learned)
    seconds = time.perf_counter() - started
    return model, Fitted({}, 0, 0, seconds, len(splits.learned) / max(seconds, math.ulp(1.0)))


@dataclass(frozen=True)
class _FirstFit:
    """Results of the first fit that the second one needs."""

    fitted: Fitted
    repeats: Repeats | None

    def to_facts(self) -> dict[str, Any]:
        """Plain form, for checkpoints of the second fit."""
        repeats = self.repeats.to_dict() if self.repeats else None
        return {"fitted": asdict(self.fitted), "repeats": repeats}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "_FirstFit":
        repeats = facts["repeats"]
        return cls(Fitted(**facts["fitted"]), Repeats(**repeats) if repeats else None)


class TrainingRun:
    """One training: a fit stopped by validation rows, then optionally one on all trainable rows."""

    def __init__(
        self,
        config: RunConfig,
        splits: DataSplits,
        progress: ProgressReporter,
        diagnostics: Diagnostics | None,
        checkpoints: Checkpoints | None,
        tensorboard: str | Path | None,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        self.config = config
        self.splits = splits
        self.progress = progress
        self.diagnostics = diagnostics or Diagnostics(config, progress)
        self.checkpoints = checkpoints
        self.tensorboard = tensorboard
        self.callbacks = tuple(callbacks)
        # With `Repeats` the towers score only items that are new to the user, so they learn from first
        # events only: repeated ones would teach them what `Repeats` scores.
        self.rows = _first_times(splits) if config.model.repeats else splits

    def train(self) -> tuple[TwoTower | Ranker, Fitted]:
        """Train, in one fit or two."""
        self._warn_in_advance()
        first = self._first_fit_of_checkpoint()
        if first is None:
            model, first = self.fit_with_validation()
        training, fitted = self.config.training, first.fitted
        if self.splits.validation is not None and training.patience:
            self.progress.note(
                f"Best on the validation rows after epoch {fitted.best_epoch} of {fitted.epochs}."
            )
        if training.refit:
            model, again = self._refit(first)
            fitted = replace(fitted, seconds=fitted.seconds + again.seconds)
        # The test comes after all known rows, whichever of them the weights were trained on.
        model.use_log(self.splits.known)
        if isinstance(model, TwoTower):
            model.repeats = first.repeats
        return model, fitted

    def _warn_in_advance(self) -> None:
        _warn_of_monitor(self.config, self.splits, self.progress)
        words = words_on_gain() if self.config.training.mixed_precision else None
        if words:
            self.progress.warning(words)

    def _first_fit_of_checkpoint(self) -> _FirstFit | None:
        """Results of the first fit, if the run was interrupted in the second."""
        last = self.checkpoints.last() if self.checkpoints else None
        if last is None or last.header["phase"] != "refit":
            return None
        self.diagnostics.restore(last.header["facts"]["findings"])
        return _FirstFit.from_facts(last.header["facts"])

    def fit_with_validation(self) -> tuple[TwoTower | Ranker, _FirstFit]:
        """Fit on the training rows, stopped by the validation rows."""
        rows, before = self.rows, self.splits.before_validation
        model, fitted = self._fit_anew(
            "fit", self.config.training, rows.train, rows.validation, rows.before_validation
        )
        if isinstance(model, Ranker):
            self.diagnostics.check_curves(
                fitted.history, fitted.best_epoch, is_validated=rows.validation is not None
            )
            return model, _FirstFit(fitted, None)
        model.repeats = _fit_repeats(self.config, model, self.splits, self.progress)
        self.diagnostics.check_fit(
            model, before, self.splits.validation, fitted.history, fitted.best_epoch
        )
        return model, _FirstFit(fitted, model.repeats)

    def _refit(self, first: _FirstFit) -> tuple[TwoTower | Ranker, Fitted]:
        if self.checkpoints:
            findings = [finding.to_dict() for finding in self.diagnostics.findings]
            self.checkpoints.phase = "refit"
            self.checkpoints.facts = {**first.to_facts(), "findings": findings}
        epochs, rows = first.fitted.best_epoch, self.rows.trainable
        self.progress.note(f"Fitting again on all {len(rows):,} known rows for {epochs} epochs.")
        # The second fit may have fewer steps than the warm-up of the first. -(-n // b) rounds up, as the
        # last batch of an epoch is shorter.
        steps = -(-len(rows) // self.config.training.batch_size) * epochs
        warmup = min(self.config.training.warmup_steps, steps - 1)
        training = replace(self.config.training, epochs=epochs, warmup_steps=warmup)
        return self._fit_anew("refit", training, rows)

    def _fit_anew(
        self,
        phase: str,
        training: TrainingConfig,
        rows: Interactions,
        validation: Interactions | None = None,
        seen: Interactions | None = None,
    ) -> tuple[TwoTower | Ranker, Fitted]:
        epochs = _Epochs(training.monitor, self.progress)
        callbacks = [*self.diagnostics.callbacks(), *self.callbacks, epochs]
        if self.tensorboard:
            callbacks.append(Board(Path(self.tensorboard) / phase))
        # In this order: the session counts layer names and holds graphs of the last fit; the seed comes right
        # before the weights are drawn, so both fits begin with the same ones.
        keras.backend.clear_session()
        seed_everything(training.seed)
        model = self._new_model(rows)
        fitted = fit(
            model,
            rows,
            validation,
            training,
            histories=self.config.histories,
            seen=seen,
            checkpoints=self.checkpoints,
            callbacks=callbacks,
            progress=self.progress,
            verbose=0,
        )
        return model, fitted

    def _new_model(self, rows: Interactions) -> TwoTower | Ranker:
        model, settings = make_model(self.config), self.config.model
        if isinstance(model, Ranker) and isinstance(settings, RankerConfig) and settings.start_from:
            release = load(settings.start_from)
            _check_same_rows(release, self.splits.known)
            # Vocabularies first: the vectors of the release are assigned to their rows.
            model.adapt(rows)
            warm_start(model, release)
            self.progress.note(f"Users and items begin with the vectors of {settings.start_from}.")
        return model


def _check_same_rows(release: Release, known: Interactions) -> None:
    """Refuse vectors that were trained on other rows, which may include the test rows."""
    learned = release.manifest.get("data", {}).get("fingerprint")
    if learned != known.fingerprint:
        raise ConfigError(
            f"`model.start_from` names {release.root}, which learned from other rows than this run: its data "
            f"have the fingerprint {str(learned)[:12]}, not {known.fingerprint[:12]}. It may have seen the "
            "test rows. Train it with the same data, filters and split."
        )


def _first_times(splits: DataSplits) -> DataSplits:
    """First events of each user and item: the training rows of towers if `Repeats` score the others."""
    validation = splits.validation
    if validation is not None:
        new = new_to_users(validation, splits.before_validation)
        # Without a new item there is nothing to stop by; repeated ones are better than no rows.
        validation = new if len(new) else validation
    return replace(
        splits,
        train=first_times(splits.train),
        before_validation=first_times(splits.before_validation),
        validation=validation,
        trainable=first_times(splits.trainable),
    )


def _fit_repeats(
    config: RunConfig, model: TwoTower, splits: DataSplits, progress: ProgressReporter
) -> Repeats | None:
    """Fit repeat consumption to the validation rows; None if the configuration has none."""
    if not config.model.repeats or splits.validation is None:
        return None
    repeats = fit_repeats(
        model.towers_retriever(splits.before_validation),
        splits.validation,
        splits.before_validation,
        getattr(config.task, "temperature", None) or 1.0,
        config.training.seed,
    )
    # Position 0 is the latest event, so [10] is the one ten events before it.
    weight = repeats.weights(11)[10]
    progress.note(
        "What users had is scored by how often and how lately: an event ten events back weighs "
        f"{weight:.2f} of the latest."
    )
    return repeats


def checkpoints_of(
    config: RunConfig, splits: DataSplits, root: Path, progress: ProgressReporter
) -> Checkpoints:
    """Checkpoints of a run, bound to every setting that determines its weights."""
    settings = config.to_dict()
    # The interval between checkpoints changes no weight.
    training = {k: v for k, v in settings["training"].items() if k != "checkpoint_seconds"}
    log = {
        "fingerprint": splits.known.fingerprint,
        "rows": len(splits.train),
        "validation_rows": len(splits.validation) if splits.validation else 0,
    }
    return make_checkpoints(
        root / "checkpoints",
        connect(config.training.strategy),
        seconds=config.training.checkpoint_seconds,
        belongs_to={
            **{name: settings[name] for name in ("schema", "split", "model", "task", "histories")},
            "training": training,
            "log": log,
            "version": made_with(),
        },
        # Not compared: equal rows may come from another file. Named when the rows differ, to explain it.
        context={name: settings[name] for name in ("recipe", "data", "filters")},
        progress=progress,
    )


def _warn_of_monitor(config: RunConfig, splits: DataSplits, progress: ProgressReporter) -> None:
    """Note a `training.monitor` that is always 1: its list is as long as the catalogue."""
    length = config.training.monitored_length
    stops = splits.validation is not None and config.training.patience
    if stops and length and length >= splits.known.items.height:
        progress.warning(
            f"`training.monitor` is {config.training.monitor}, but there are only "
            f"{splits.known.items.height} items: it is 1 after every epoch, and the first counts as the "
            "best. Choose a shorter list, such as hit_rate@5, or loss."
        )


class _Epochs(keras.callbacks.Callback):
    """Report each epoch in one line, and the progress within it."""

    def __init__(self, monitor: str, progress: ProgressReporter) -> None:
        super().__init__()
        self.monitor = monitor
        self.progress = progress
        self._epoch = 0
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._started = epoch + 1, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        title = f"epoch {self._epoch} of {self.params['epochs']}"
        self.progress.progress(title, batch + 1, self.params["steps"] or 0, "steps")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        judged = logs.get(f"val_{self.monitor}")
        validation = "" if judged is None else f", validation {self.monitor} {judged:.4f}"
        seconds = time.perf_counter() - self._started
        self.progress.note(
            f"epoch {self._epoch} of {self.params['epochs']}: loss {logs['loss']:.4f}{validation}, "
            f"{seconds:.1f} s"
        )
