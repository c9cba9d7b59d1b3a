"""From a configuration and prepared data to a fitted model."""

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from tfrecall._keras import keras
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.interactions import Interactions
from tfrecall.diagnostics.examiner import Examiner
from tfrecall.errors import ConfigError
from tfrecall.index.repeats import Repeats
from tfrecall.models.ranker import Ranker
from tfrecall.models.repeats import first_times, fit_repeats, new_to_users
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.loading import load
from tfrecall.release.retriever import Release
from tfrecall.runs.build import make_model, make_ranker
from tfrecall.runs.preparation import Prepared
from tfrecall.training import Fitted, fit, made_with, seed_everything
from tfrecall.training.checkpoints import Checkpoints
from tfrecall.training.precision import words_on_gain
from tfrecall.training.tensorboard import Board
from tfrecall.training.warm_start import warm_start


def train(
    config: RunConfig,
    prepared: Prepared,
    progress: ProgressReporter | None = None,
    examiner: Examiner | None = None,
    *,
    checkpoints: Checkpoints | None = None,
    tensorboard: str | Path | None = None,
) -> tuple[TwoTower, Fitted]:
    """Fits a model, and once more on all trainable rows if the configuration asks for it.

    The fit returned is the one that judged by validation rows, except for its time, which is that of
    both. With checkpoints it goes on where the last one was written. What users had, as the model
    answers and is exported, is what is known in the end.
    """
    course = TrainingRun(config, prepared, progress or LogProgress(), examiner, checkpoints, tensorboard)
    with checkpoints or nullcontext():
        return cast(tuple[TwoTower, Fitted], course.take())


def train_ranker(
    config: RunConfig,
    prepared: Prepared,
    progress: ProgressReporter | None = None,
    examiner: Examiner | None = None,
    *,
    checkpoints: Checkpoints | None = None,
    tensorboard: str | Path | None = None,
) -> tuple[Ranker, Fitted]:
    """As `train`, of a ranker."""
    course = TrainingRun(config, prepared, progress or LogProgress(), examiner, checkpoints, tensorboard)
    with checkpoints or nullcontext():
        return cast(tuple[Ranker, Fitted], course.take())


@dataclass(frozen=True)
class _Found:
    """What the fit found that validation rows judged: all that the second fit needs of it."""

    fitted: Fitted
    repeats: Repeats | None

    def to_facts(self) -> dict[str, Any]:
        """The plain form, for checkpoints of the second fit."""
        repeats = self.repeats.to_dict() if self.repeats else None
        return {"fitted": asdict(self.fitted), "repeats": repeats}

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "_Found":
        repeats = facts["repeats"]
        return cls(Fitted(**facts["fitted"]), Repeats(**repeats) if repeats else None)


class TrainingRun:
    """One training: the fit that validation rows judge, then perhaps the one on all trainable rows."""

    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        progress: ProgressReporter,
        examiner: Examiner | None,
        checkpoints: Checkpoints | None,
        tensorboard: str | Path | None,
    ) -> None:
        self.config = config
        self.prepared = prepared
        self.progress = progress
        self.examiner = examiner or Examiner(config, progress)
        self.checkpoints = checkpoints
        self.tensorboard = tensorboard
        # What the towers learn from.
        self.material = _first_times(prepared) if config.model.repeats else prepared

    def take(self) -> tuple[TwoTower | Ranker, Fitted]:
        """See `train`."""
        self._say_what_to_expect()
        found = self._found_before()
        if found is None:
            model, found = self._judged_fit()
        training, fitted = self.config.training, found.fitted
        if self.prepared.validation is not None and training.patience:
            self.progress.note(
                f"Best on the validation rows after epoch {fitted.best_epoch} of {fitted.epochs}."
            )
        if training.refit:
            model, again = self._refit(found)
            fitted = replace(fitted, seconds=fitted.seconds + again.seconds)
        model.interactions = self.prepared.known
        if isinstance(model, TwoTower):
            model.repeats = found.repeats
        return model, fitted

    def _say_what_to_expect(self) -> None:
        _warn_of_monitor(self.config, self.prepared, self.progress)
        words = words_on_gain() if self.config.training.mixed_precision else None
        if words:
            self.progress.note(words)

    def _found_before(self) -> _Found | None:
        """What the first fit had found, if the run was interrupted in the second."""
        last = self.checkpoints.last() if self.checkpoints else None
        if last is None or last.header["phase"] != "refit":
            return None
        self.examiner.take_up(last.header["facts"]["findings"])
        return _Found.of(last.header["facts"])

    def _judged_fit(self) -> tuple[TwoTower | Ranker, _Found]:
        material, before = self.material, self.prepared.before_validation
        model, fitted = self._fit_anew(
            "fit", material.train, material.validation, seen=material.before_validation
        )
        model.interactions = before
        if isinstance(model, Ranker):
            self.examiner.examine_curves(
                fitted.history, fitted.best_epoch, is_validated=material.validation is not None
            )
            return model, _Found(fitted, None)
        model.repeats = _fit_repeats(self.config, model, self.prepared, self.progress)
        self.examiner.examine_fit(
            model, before, self.prepared.validation, fitted.history, fitted.best_epoch
        )
        return model, _Found(fitted, model.repeats)

    def _refit(self, found: _Found) -> tuple[TwoTower | Ranker, Fitted]:
        if self.checkpoints:
            findings = [finding.to_dict() for finding in self.examiner.findings]
            self.checkpoints.phase = "refit"
            self.checkpoints.facts = {**found.to_facts(), "findings": findings}
        epochs, rows = found.fitted.best_epoch, self.material.trainable
        self.progress.note(f"Fitting again on all {len(rows):,} known rows for {epochs} epochs.")
        # So few epochs may be over before the warm-up of the first fit would be.
        steps = -(-len(rows) // self.config.training.batch_size) * epochs
        warmup = min(self.config.training.warmup_steps, steps - 1)
        return self._fit_anew("refit", rows, None, epochs=epochs, warmup_steps=warmup)

    def _fit_anew(
        self, phase: str, rows: Interactions, validation: Interactions | None, **changes: Any
    ) -> tuple[TwoTower | Ranker, Fitted]:
        training = self.config.training
        callbacks = [*self.examiner.callbacks(), _Epochs(training.monitor, self.progress)]
        if self.tensorboard:
            callbacks.append(Board(Path(self.tensorboard) / phase))
        more = {"histories": self.config.histories, "progress": self.progress}
        settings = {**vars(training), **more, "checkpoints": self.checkpoints, **changes}
        del settings["refit"], settings["checkpoint_seconds"]
        keras.backend.clear_session()
        seed_everything(training.seed)
        model: TwoTower | Ranker
        model = self._new_ranker(rows) if self.config.ranks else make_model(self.config)
        return model, fit(model, rows, validation, callbacks=callbacks, verbose=0, **settings)

    def _new_ranker(self, rows: Interactions) -> Ranker:
        model, start = make_ranker(self.config), getattr(self.config.model, "start_from", None)
        if start is not None:
            release = load(start)
            _check_same_rows(release, self.prepared.known)
            model.adapt(rows)
            warm_start(model, release)
            self.progress.note(f"Users and items begin with the vectors of {start}.")
        return model


def _check_same_rows(release: Release, known: Interactions) -> None:
    """Refuses vectors that were learned from other rows: they may know those that are tested on."""
    learned = release.manifest.get("data", {}).get("fingerprint")
    if learned != known.fingerprint:
        raise ConfigError(
            f"`model.start_from` names {release.root}, which learned from other rows than this run: its data "
            f"have the fingerprint {str(learned)[:12]}, not {known.fingerprint[:12]}. It may have seen the "
            "test rows. Train it with the same data, filters and split."
        )


def _first_times(prepared: Prepared) -> Prepared:
    """What towers learn from where `Repeats` explain the rest."""
    validation = prepared.validation
    if validation is not None:
        new = new_to_users(validation, prepared.before_validation)
        validation = new if len(new) else validation
    return replace(
        prepared,
        train=first_times(prepared.train),
        before_validation=first_times(prepared.before_validation),
        validation=validation,
        trainable=first_times(prepared.trainable),
    )


def _fit_repeats(
    config: RunConfig, model: TwoTower, prepared: Prepared, progress: ProgressReporter
) -> Repeats | None:
    """How users come back to what they had, from the validation rows; None if that is not asked for."""
    if not config.model.repeats or prepared.validation is None:
        return None
    repeats = fit_repeats(
        model.towers_retriever(),
        prepared.validation,
        prepared.before_validation,
        getattr(config.task, "temperature", None) or 1.0,
        config.training.seed,
    )
    weight = repeats.weights(11)[10]
    progress.note(
        "What users had is scored by how often and how lately: an event ten events back weighs "
        f"{weight:.2f} of the latest."
    )
    return repeats


def checkpoints_of(
    config: RunConfig, prepared: Prepared, root: Path, progress: ProgressReporter
) -> Checkpoints:
    """Those of a run: they belong to what decides about its weights."""
    settings = config.to_dict()
    training = {**settings["training"]}
    del training["checkpoint_seconds"]
    log = {
        "fingerprint": prepared.known.fingerprint,
        "rows": len(prepared.train),
        "validation_rows": len(prepared.validation) if prepared.validation else 0,
    }
    return Checkpoints(
        root / "checkpoints",
        seconds=config.training.checkpoint_seconds,
        belongs_to={
            **{name: settings[name] for name in ("schema", "split", "model", "task", "histories")},
            "training": training,
            "log": log,
            "version": made_with(),
        },
        # Where the log comes from does not matter while it is the same, but explains another one.
        context={name: settings[name] for name in ("recipe", "data", "filters")},
        progress=progress,
    )


def _warn_of_monitor(config: RunConfig, prepared: Prepared, progress: ProgressReporter) -> None:
    """Tells when the metric to stop by is 1 whatever the model does."""
    length = config.training.monitored_length
    stops = prepared.validation is not None and config.training.patience
    if stops and length and length >= prepared.known.items.height:
        progress.note(
            f"`training.monitor` is {config.training.monitor}, but there are only "
            f"{prepared.known.items.height} items: it is 1 after every epoch, and the first counts as the "
            "best. Choose a shorter list, such as factorized_top_k/top_5_categorical_accuracy, or loss."
        )


class _Epochs(keras.callbacks.Callback):
    """Reports each epoch in one line, and of a long one while it runs."""

    def __init__(self, monitor: str, progress: ProgressReporter) -> None:
        super().__init__()
        self.monitor = monitor
        self.progress = progress
        self._epoch = 0
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._started = epoch + 1, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.progress.progress(f"epoch {self._epoch}", batch + 1, self.params["steps"] or 0, "steps")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        judged = logs.get(f"val_{self.monitor}")
        validation = "" if judged is None else f", validation {self.monitor} {judged:.4f}"
        seconds = time.perf_counter() - self._started
        self.progress.note(
            f"epoch {self._epoch} of {self.params['epochs']}: loss {logs['loss']:.4f}{validation}, "
            f"{seconds:.1f} s"
        )
