"""Fitting a model: seeds, early stopping on validation rows, best weights restored, checkpoints."""

import functools
import importlib.metadata
import json
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall._keras import keras, refuse_keras_3
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.schema.training import TrainingConfig
from tfrecall.training.checkpoints import CheckpointFile, Checkpoints
from tfrecall.training.inputs.examples import TrainingExamples
from tfrecall.training.inputs.feed import Feed
from tfrecall.training.optimizers import WarmUpDecay, make_optimizer
from tfrecall.training.precision import bfloat16_steps
from tfrecall.training.progress import BestWeights, EpochClock, Progress, Recorder, restore
from tfrecall.training.ranking_metric import RankingMetrics
from tfrecall.training.shared_checkpoints import make_checkpoints
from tfrecall.training.state import WarmStart, only_new
from tfrecall.training.strategy import OneReplica, connect

# Metric of early stopping for tasks that name none.
MONITOR = TrainingConfig.monitor


@dataclass(frozen=True)
class Fitted:
    """Result of a fit.

    Attributes:
        history: for each metric its value after each epoch, as Keras' `History`; of the metrics that
            start with `val_` after each validated epoch.
        epochs: epochs trained.
        best_epoch: the epoch, from 1, whose weights the model has now.
        seconds: wall time of the fit, with validation.
        examples_per_second: targets over the time of the training epochs, the first, which
            traces the graph, and validation left out where there are others.
    """

    history: dict[str, list[float]]
    epochs: int
    best_epoch: int
    seconds: float
    examples_per_second: float


def fit(
    model: TwoTower | Ranker,
    train: Interactions,
    validation: Interactions | None = None,
    training: TrainingConfig | None = None,
    *,
    optimizer: str | keras.optimizers.Optimizer | None = None,
    histories: HistoriesConfig = HistoriesConfig(),  # noqa: B008 - frozen
    seen: Interactions | None = None,
    checkpoints: Checkpoints | str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: ProgressReporter | None = None,
    verbose: int | str = "auto",
    **settings: Any,
) -> Fitted:
    """Adapts the model to the training rows if it has not seen data, then trains it.

    The rows are encoded once, before the first epoch. With validation rows, training stops after
    `patience` validations without improvement, and the best weights are restored. The same seed gives the
    same weights on the same machine, if the model is new; also when the training was interrupted and
    went on from a checkpoint.

    Args:
        model: the model; its weights are where training starts.
        train: rows to learn from.
        validation: rows to stop by, never the test rows.
        training: the settings of the training, with their defaults (`tfrecall.config.run.TrainingConfig`).
        optimizer: a name (`adagrad`, `adam`, `sgd`), or an optimizer of Keras 2, which has its own rate
            and its own clipping.
        histories: for a model with histories, the rules by which events become targets, and their form.
        seen: for a model with histories, the events before the validation rows; `train` if None.
        checkpoints: where to keep checkpoints, and to go on from if there is one of this training. A
            directory given by its path is emptied when the fit is done; a `Checkpoints` is left to its
            owner.
        callbacks: further callbacks of Keras. Their own state is in no checkpoint.
        progress: receives a note for each rule that leaves events out of the targets, and how far mining
            negatives has come; without it the logger "tfrecall" does.
        verbose: as in `keras.Model.fit`.
        settings: single settings of `TrainingConfig` by name, in the place of those of `training`:
            `learning_rate=0.1`, `schedule="constant"`, `warmup_steps=0`, `clip_norm=None`,
            `strategy="none"`, `mixed_precision=False`, `batch_size=2048`, `epochs=20`, `patience=3`,
            `validate_every=1`, `checkpoint_seconds=30`, `seed=42`, and `monitor`, by default the hits among
            the 100 best or, of a ranker, the first metric of its task.

    Returns:
        History, best epoch and speed of the training.

    Raises:
        ConfigError: if there is no such setting, optimizer or metric, or a value is out of range.
        DataError: if the rows cannot be learned from.
        CheckpointError: if there is a checkpoint of another training.
        WorkerLostError: if a worker on another machine is gone (`training.strategy`).

    Example:

    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 2)], candidate=[tr.Categorical("item_id", 2)])
    >>> tr.fit(tr.TwoTower(schema, layer_sizes=[]), log, epochs=2, verbose=0).epochs
    2
    """
    progress = progress or LogProgress()
    training = _settings(model, training, optimizer, settings)
    # First: workers find each other before TensorFlow computes anything.
    replicas = connect(training.strategy)
    replicas.check(model, training)
    seen = train if seen is None else seen
    metrics = _ranking_metrics(training.monitor, validation, seen)
    model.check_rows(train, "training rows", learned=True)
    if validation is not None:
        model.check_rows(validation, "validation rows", learned=False)
    # Before `adapt`, which makes layers: initial weights follow from these seeds.
    seed_everything(training.seed)
    start = _warm_start(model, training.warm_start)
    new = None if start is None else start.new_events(train)
    if start is not None and validation is not None:
        validation = only_new(validation, seen, start)
    if not model.is_adapted:
        model.adapt(train)
    examples = _examples(model, train, training, histories, new, progress)
    steps, first = examples.steps * training.epochs, 0 if start is None else start.iterations
    model.compile(optimizer=_optimizer(optimizer, training, steps, first))
    state = Progress()
    patience = None if validation is None else training.patience
    best = BestWeights(f"val_{training.monitor}", patience, state)
    with ExitStack() as scope:
        if training.mixed_precision:
            scope.enter_context(bfloat16_steps(model))
        kept = _opened(checkpoints, training, progress, scope, replicas)
        identity = functools.partial(_identity, model, train, validation, seen, training, histories)
        if kept is not None and kept.belongs_to is None:
            kept.belongs_to = identity()
        scope.enter_context(replicas.watched())
        replicas.check_alike(identity)
        recorder = Recorder(state, best, kept)
        checkpoint = _checkpoint_of_phase(kept)
        done = checkpoint.header["progress"]["epochs"] if checkpoint else 0
        feed = Feed(examples, validation, seen, done)
        trained = replicas.copy_of(model)
        if checkpoint:
            restore(checkpoint, trained, feed.batches, state, best)
        elif start is not None:
            start.give(trained, feed.batches)
        trained.fit(
            **replicas.inputs(feed),
            validation_freq=training.validate_every,
            # A training that had stopped early runs no further epoch; its best weights are still set
            # at the end of `fit`.
            initial_epoch=training.epochs if state.stopped else state.epochs,
            epochs=training.epochs,
            # The order matters: ranking metrics write the logs that `best` reads, and the recorder
            # comes last, so that a checkpoint holds the decisions of all others.
            callbacks=[EpochClock(state), *metrics, *replicas.callbacks(), best, *callbacks, recorder],
            verbose=verbose,
        )
        replicas.give_back(trained, model)
        # Opened here from a path, so emptied here; an object given by the caller is the caller's.
        if kept and kept is not checkpoints:
            kept.discard()
    model.trained_on = train
    return _fitted(state, recorder.seconds, len(examples))


def _warm_start(model: TwoTower | Ranker, root: str | None) -> WarmStart | None:
    """The release that the training goes on from, whose vocabularies the model will keep."""
    if root is None:
        return None
    if isinstance(model, Ranker):
        raise ConfigError(
            "`warm_start` goes on with the training of a retriever, and this is a ranker. Leave it out; "
            "`model.start_from` gives a ranker the vectors of a retriever."
        )
    if model.is_adapted:
        raise DataError(
            "`warm_start` keeps the vocabularies of the release, and this model has learned its own. Give "
            "`fit` a model that was not adapted."
        )
    start = WarmStart.of(root)
    start.prepare(model)
    return start


def _examples(
    model: TwoTower | Ranker,
    train: Interactions,
    training: TrainingConfig,
    histories: HistoriesConfig,
    new: np.ndarray | None,
    progress: ProgressReporter,
) -> TrainingExamples:
    """The training rows of an adapted model, of which a warm start has new ones alone as targets."""
    examples = TrainingExamples(
        model,
        train,
        training.batch_size,
        histories=histories,
        new=new,
        seed=training.seed,
        progress=progress,
    )
    for text in examples.notes:
        progress.note(text)
    if new is not None:
        # An item that is new fills the batches of new events, though it is rare in the whole log.
        model.catalogue.sample_from(examples.candidates)
    return examples


def _settings(
    model: TwoTower | Ranker,
    training: TrainingConfig | None,
    optimizer: str | keras.optimizers.Optimizer | None,
    settings: dict[str, Any],
) -> TrainingConfig:
    """The settings of a training; settings given one by one override those of `training`."""
    if "refit" in settings:
        raise ConfigError(
            "`fit` trains once; `refit` is a setting of `tfrecall run`. Fit a new model on all rows, for "
            f"the best number of epochs. Received: refit={settings['refit']!r}."
        )
    if training is None:
        training = TrainingConfig(monitor=getattr(model.task, "monitor", MONITOR))
    # Computed sizes are often numbers of NumPy, which JSON, in checkpoints, does not know.
    given = {name: v.item() if isinstance(v, np.generic) else v for name, v in settings.items()}
    # None leaves the choice to the task, as an argument that was not given.
    if given.get("monitor", "") is None:
        del given["monitor"]
    if isinstance(optimizer, str):
        given["optimizer"] = optimizer
    return replace(training, **given)


def _ranking_metrics(
    monitor: str, validation: Interactions | None, seen: Interactions
) -> list[RankingMetrics]:
    if validation is None or not RankingMetrics.is_meant(monitor):
        return []
    return [RankingMetrics(monitor, validation, seen)]


def _fitted(progress: Progress, seconds: float, examples: int) -> Fitted:
    times = progress.epoch_seconds
    return Fitted(
        history=progress.history,
        epochs=progress.epochs,
        best_epoch=progress.best_epoch or progress.epochs,
        seconds=seconds,
        # The first epoch traces the graph.
        examples_per_second=examples / float(np.median(times[1:] or times)),
    )


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow, and forgets what earlier models drew from them."""
    random.seed(seed)
    keras.utils.set_random_seed(seed)


def _optimizer(
    optimizer: str | keras.optimizers.Optimizer | None,
    training: TrainingConfig,
    steps: int,
    first: int = 0,
) -> keras.optimizers.Optimizer:
    refuse_keras_3(optimizer, keras.optimizers, "optimizer")
    is_constant = training.schedule == "constant" and not training.warmup_steps
    if isinstance(optimizer, keras.optimizers.Optimizer):
        if not is_constant or training.clip_norm is not None:
            raise ConfigError(
                "`schedule`, `warmup_steps` and `clip_norm` are for an optimizer given by name. Received "
                f"the object {type(optimizer).__name__}: set them there, or pass its name."
            )
        return optimizer
    rate = training.learning_rate
    if not is_constant:
        rate = WarmUpDecay(rate, training.schedule, training.warmup_steps, steps, first)
    return make_optimizer(training.optimizer, rate, training.clip_norm)


def _opened(
    checkpoints: Checkpoints | str | Path | None,
    training: TrainingConfig,
    progress: ProgressReporter,
    scope: ExitStack,
    replicas: OneReplica,
) -> Checkpoints | None:
    if checkpoints is None or isinstance(checkpoints, Checkpoints):
        return checkpoints
    seconds = training.checkpoint_seconds
    return scope.enter_context(
        make_checkpoints(checkpoints, replicas, seconds=seconds, progress=progress)
    )


def _checkpoint_of_phase(kept: Checkpoints | None) -> CheckpointFile | None:
    """The checkpoint to go on from, if there is one of this phase."""
    last = kept.last() if kept else None
    if kept is None or last is None or last.header["phase"] != kept.phase:
        return None
    done, epochs = last.header["progress"]["epochs"], last.header["epochs"]
    moment = last.header["written_at"][11:19]
    kept.progress.note(
        f"Resuming after epoch {done} of {epochs} ({kept.phase}), checkpoint of {moment}."
    )
    return last


def _identity(
    model: TwoTower | Ranker,
    train: Interactions,
    validation: Interactions | None,
    seen: Interactions,
    training: TrainingConfig,
    histories: HistoriesConfig,
) -> dict[str, Any]:
    """Everything that decides about the result of a fit, for its checkpoints."""
    # How often checkpoints are written changes no weight, and `refit` is not for `fit`.
    settings = asdict(replace(training, refit=False, checkpoint_seconds=0.0))
    # The compiled optimizer, not its settings: an object given by the caller counts, too.
    optimizer = {"type": type(model.optimizer).__name__, **model.optimizer.get_config()}
    return {
        **settings,
        "histories": asdict(histories),
        # Numbers of NumPy, which JSON does not know.
        "optimizer": json.loads(json.dumps(optimizer, default=float)),
        "model": model.get_config(),
        "train": train.fingerprint,
        "validation": None if validation is None else validation.fingerprint,
        "seen": seen.fingerprint,
        "version": made_with(),
    }


def made_with() -> dict[str, str]:
    """Versions of the packages that compute; other versions may give other numbers."""
    return {name: importlib.metadata.version(name) for name in ("tfrecall", "tensorflow")}
