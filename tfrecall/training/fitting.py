"""Fitting a model: seeds, early stopping on validation rows, best weights restored, checkpoints."""

import importlib.metadata
import json
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall._keras import keras
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.training.checkpoints import CheckpointFile, Checkpoints
from tfrecall.training.inputs.examples import TrainingExamples, validation_examples
from tfrecall.training.optimizers import WarmUpDecay, make_optimizer
from tfrecall.training.precision import bfloat16_steps
from tfrecall.training.progress import BestWeights, EpochClock, Progress, Recorder, restore
from tfrecall.training.ranking_metric import RankingMetrics

MONITOR = "factorized_top_k/top_100_categorical_accuracy"
# Rows of a validation batch, and at most so many scores: a quarter of a gigabyte.
VALIDATION_ROWS, VALIDATION_SCORES = 4096, 2**26


@dataclass(frozen=True)
class Fitted:
    """What came of a fit.

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
    *,
    optimizer: str | keras.optimizers.Optimizer = "adagrad",
    learning_rate: float = 0.1,
    schedule: str = "constant",
    warmup_steps: int = 0,
    clip_norm: float | None = None,
    mixed_precision: bool = False,
    batch_size: int = 2048,
    epochs: int = 20,
    monitor: str | None = None,
    patience: int | None = 3,
    validate_every: int = 1,
    seed: int = 42,
    histories: HistoriesConfig = HistoriesConfig(),  # noqa: B008 - frozen
    checkpoints: Checkpoints | str | Path | None = None,
    seen: Interactions | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: ProgressReporter | None = None,
    verbose: int | str = "auto",
) -> Fitted:
    """Adapts the model to the training rows if it was not, then trains it.

    The rows are encoded once, before the first epoch. With validation rows, training stops after
    `patience` looks without improvement, and the best weights are restored. The same seed gives the
    same weights on the same machine, if the model is new; also when the training was interrupted and
    went on from a checkpoint.

    Args:
        model: the model; its weights are where training starts.
        train: rows to learn from.
        validation: rows to stop by, never the test rows.
        optimizer: a name from `OPTIMIZERS`, or an optimizer of Keras 2, which has its own rate and its
            own clipping.
        learning_rate: for an optimizer given by name.
        schedule: how the rate goes on after the warm-up; see `WarmUpDecay`.
        warmup_steps: steps over which the rate rises.
        clip_norm: the longest gradient of a step, over all weights.
        mixed_precision: whether training steps compute in bfloat16; wants a new model.
        batch_size: rows a step.
        epochs: at most.
        monitor: the validation metric that decides, without `val_`; higher is better unless it is the
            loss or an error. A metric of Keras' validation or, of a retrieval model, a figure of the final
            table: `seen_removed/hit_rate@50`, see `RankingMetrics`. None for `MONITOR`,
            with a ranker for the first metric of its task.
        patience: validated epochs without improvement to wait for; None trains all epochs and keeps the
            last weights.
        validate_every: epochs between two validations.
        seed: of initial weights, shuffling and dropout.
        histories: for a model with histories, which events are targets and in which form they come.
        checkpoints: where to keep checkpoints, and to go on from if there is one of this training. A
            directory given by its path is emptied when the fit is done; a `Checkpoints` is left to who
            made it.
        seen: for a model with histories, what users had before the validation rows; `train` if None.
        callbacks: further callbacks of Keras. What they keep for themselves is in no checkpoint.
        progress: receives a note for each rule that leaves events out of the targets, with their
            number, and how far mining negatives has come; without it the logger "tfrecall" does.
        verbose: as in `keras.Model.fit`.

    Raises:
        ConfigError: if the optimizer or the metric does not exist.
        CheckpointError: if there is a checkpoint of another training.
    """
    progress = progress or LogProgress()
    seen = train if seen is None else seen
    monitor = str(monitor or getattr(model.task, "monitor", MONITOR))
    model.check_rows(train, "training rows", learned=True)
    judges = []
    if validation is not None:
        model.check_rows(validation, "validation rows", learned=False)
        if RankingMetrics.is_meant(monitor):
            judges.append(RankingMetrics(monitor, validation, seen))
    seed_everything(seed)
    if not model.is_adapted:
        model.adapt(train)
    material = TrainingExamples(
        model, train, batch_size, histories=histories, seed=seed, progress=progress
    )
    for text in material.notes:
        progress.note(text)
    steps = material.steps * epochs
    rate = _rate(optimizer, learning_rate, schedule, warmup_steps, clip_norm, steps)
    if isinstance(optimizer, str):
        optimizer = make_optimizer(optimizer, rate, clip_norm)
    model.compile(optimizer=optimizer)
    state = Progress()
    best = BestWeights(f"val_{monitor}", patience if validation is not None else None, state)
    settings = (batch_size, epochs, monitor, patience, validate_every, seed, mixed_precision, histories)
    with ExitStack() as scope:
        if mixed_precision:
            scope.enter_context(bfloat16_steps(model))
        kept = _opened(
            checkpoints, scope, progress, lambda: _identity(model, train, validation, seen, settings)
        )
        recorder = Recorder(state, best, kept)
        found = _found(kept)
        done = found.header["progress"]["epochs"] if found else 0
        batches = material.batches(done)
        if found:
            restore(found, model, batches, state, best)
        model.fit(
            batches,
            validation_data=None
            if validation is None
            else validation_examples(model, validation, seen, _rows_at_once(model)),
            validation_freq=validate_every,
            initial_epoch=epochs if state.stopped else state.epochs,
            epochs=epochs,
            callbacks=[EpochClock(state), *judges, best, *callbacks, recorder],
            verbose=verbose,
        )
        if kept and kept is not checkpoints:
            kept.discard()
    times = state.epoch_seconds
    return Fitted(
        history=state.history,
        epochs=state.epochs,
        best_epoch=state.best_epoch or state.epochs,
        seconds=recorder.seconds,
        examples_per_second=len(material) / float(np.median(times[1:] or times)),
    )


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow, and forgets what earlier models drew from them."""
    random.seed(seed)
    keras.utils.set_random_seed(seed)


def _rate(
    optimizer: str | keras.optimizers.Optimizer,
    learning_rate: float,
    schedule: str,
    warmup_steps: int,
    clip_norm: float | None,
    steps: int,
) -> float | WarmUpDecay:
    is_plain = schedule == "constant" and not warmup_steps
    if not isinstance(optimizer, str) and not (is_plain and clip_norm is None):
        raise ConfigError(
            "`schedule`, `warmup_steps` and `clip_norm` are for an optimizer given by name. Received the "
            f"object {type(optimizer).__name__}: set them there, or pass its name."
        )
    return learning_rate if is_plain else WarmUpDecay(learning_rate, schedule, warmup_steps, steps)


def _opened(
    checkpoints: Checkpoints | str | Path | None,
    scope: ExitStack,
    progress: ProgressReporter,
    identity: Callable[[], dict[str, Any]],
) -> Checkpoints | None:
    if checkpoints is None:
        return None
    if not isinstance(checkpoints, Checkpoints):
        checkpoints = scope.enter_context(Checkpoints(checkpoints, progress=progress))
    if checkpoints.belongs_to is None:
        checkpoints.belongs_to = identity()
    return checkpoints


def _found(kept: Checkpoints | None) -> CheckpointFile | None:
    """The checkpoint to go on from, if there is one of this phase."""
    found = kept.last() if kept else None
    if kept is None or found is None or found.header["phase"] != kept.phase:
        return None
    done, epochs = found.header["progress"]["epochs"], found.header["epochs"]
    moment = found.header["written_at"][11:19]
    kept.progress.note(
        f"Resuming after epoch {done} of {epochs} ({kept.phase}), checkpoint of {moment}."
    )
    return found


def _rows_at_once(model: TwoTower | Ranker) -> int:
    """Validation rows a batch, each of which is scored for the whole catalogue at once.

    Not by a ranker, whose rows are pairs.
    """
    if isinstance(model, Ranker):
        return VALIDATION_ROWS
    return max(1, min(VALIDATION_ROWS, VALIDATION_SCORES // len(model.catalogue.ids)))


def _identity(
    model: TwoTower | Ranker,
    train: Interactions,
    validation: Interactions | None,
    seen: Interactions,
    settings: tuple[Any, ...],
) -> dict[str, Any]:
    """What decides about the result of a fit."""
    names = (
        "batch_size",
        "epochs",
        "monitor",
        "patience",
        "validate_every",
        "seed",
        "mixed_precision",
        "histories",
    )
    optimizer = {"type": type(model.optimizer).__name__, **model.optimizer.get_config()}
    return {
        **dict(zip(names, (*settings[:-1], vars(settings[-1])), strict=True)),
        # Numbers of NumPy, which JSON does not know.
        "optimizer": json.loads(json.dumps(optimizer, default=float)),
        "model": model.get_config(),
        "train": train.fingerprint,
        "validation": None if validation is None else validation.fingerprint,
        "seen": seen.fingerprint,
        "version": made_with(),
    }


def made_with() -> dict[str, str]:
    """Versions of what computes: another one may come to other numbers."""
    return {name: importlib.metadata.version(name) for name in ("tfrecall", "tensorflow")}
