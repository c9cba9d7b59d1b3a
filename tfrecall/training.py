"""Fitting a model: seeds, early stopping on validation rows, best weights restored."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfrecall._keras import keras
from tfrecall.data.interactions import Interactions
from tfrecall.data.pipelines import examples
from tfrecall.errors import ConfigError, nearest
from tfrecall.models.two_tower import TwoTower

OPTIMIZERS = {
    "adagrad": keras.optimizers.Adagrad,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
}
MONITOR = "factorized_top_k/top_100_categorical_accuracy"


@dataclass(frozen=True)
class Fitted:
    """What came of a fit.

    Attributes:
        history: for each metric its value after each epoch, as Keras' `History`; of the metrics that
            start with `val_` after each validated epoch.
        epochs: epochs trained.
        best_epoch: the epoch, from 1, whose weights the model has now.
        seconds: wall time of the fit, with validation.
        examples_per_second: training rows over the time of the training epochs, the first, which
            traces the graph, and validation left out where there are others.
    """

    history: dict[str, list[float]]
    epochs: int
    best_epoch: int
    seconds: float
    examples_per_second: float


def fit(
    model: TwoTower,
    train: Interactions,
    validation: Interactions | None = None,
    *,
    optimizer: str | keras.optimizers.Optimizer = "adagrad",
    learning_rate: float = 0.1,
    batch_size: int = 2048,
    epochs: int = 20,
    monitor: str = MONITOR,
    patience: int | None = 3,
    validate_every: int = 1,
    seed: int = 42,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> Fitted:
    """Adapts the model to the training rows if it was not, then trains it.

    The rows are encoded once, before the first epoch. With validation rows, training stops after
    `patience` looks without improvement, and the best weights are restored. The same seed gives the
    same weights on the same machine, if the model is new.

    Args:
        model: the model; its weights are where training starts.
        train: rows to learn from.
        validation: rows to stop by, never the test rows.
        optimizer: a name from `OPTIMIZERS`, or an optimizer of Keras 2, which has its own rate.
        learning_rate: for an optimizer given by name.
        batch_size: rows a step.
        epochs: at most.
        monitor: the validation metric that decides, without `val_`; higher is better unless it is the
            loss.
        patience: validated epochs without improvement to wait for; None trains all epochs and keeps the
            last weights.
        validate_every: epochs between two validations.
        seed: of initial weights, shuffling and dropout.
        callbacks: further callbacks of Keras.
        verbose: as in `keras.Model.fit`.

    Raises:
        ConfigError: if the optimizer or the metric does not exist.
    """
    if isinstance(optimizer, str):
        optimizer = make_optimizer(optimizer, learning_rate)
    seed_everything(seed)
    if not model.is_adapted:
        model.adapt(train)
    model.compile(optimizer=optimizer)
    clock = _EpochClock()
    stopper = _BestWeights(f"val_{monitor}", patience) if validation is not None else None
    started = time.perf_counter()
    history = model.fit(
        examples(train, batch_size, seed=seed, encode=model.encode, forms=model.forms),
        validation_data=None
        if validation is None
        else examples(validation, 4096, shuffle=False, encode=model.encode, forms=model.forms),
        validation_freq=validate_every,
        epochs=epochs,
        callbacks=[clock, *([stopper] if stopper else []), *callbacks],
        verbose=verbose,
    )
    best = stopper.best_epoch if stopper and stopper.best_epoch else len(clock.seconds)
    return Fitted(
        history={name: [float(v) for v in values] for name, values in history.history.items()},
        epochs=len(clock.seconds),
        best_epoch=best,
        seconds=time.perf_counter() - started,
        examples_per_second=len(train) / float(np.median(clock.seconds[1:] or clock.seconds)),
    )


def make_optimizer(name: str, learning_rate: float) -> keras.optimizers.Optimizer:
    """An optimizer of Keras 2 by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(
            f'There is no optimizer "{name}".{nearest(name, OPTIMIZERS)} Choose one of: '
            f"{', '.join(OPTIMIZERS)}; or pass an optimizer of Keras 2."
        )
    return OPTIMIZERS[name](learning_rate)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow, and forgets what earlier models drew from them."""
    random.seed(seed)
    keras.utils.set_random_seed(seed)


class _EpochClock(keras.callbacks.Callback):
    """Seconds of each epoch until validation begins."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._started = 0.0
        self._in_training = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._started, self._in_training = time.perf_counter(), True

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._stop()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._in_training:
            self.seconds.append(time.perf_counter() - self._started)
            self._in_training = False


class _BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the best validated epoch; stops after `patience` that are not better.

    Keras' `EarlyStopping` counts epochs, not validations, and restores nothing when the epochs run
    out before the patience does.
    """

    def __init__(self, monitor: str, patience: int | None) -> None:
        super().__init__()
        self.monitor = monitor
        self.patience = patience
        self.best_epoch = 0
        self._best = -np.inf
        self._waited = 0
        self._weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        if self.patience is None or not any(name.startswith("val_") for name in logs):
            return
        if self.monitor not in logs:
            valid = [name.removeprefix("val_") for name in logs if name.startswith("val_")]
            name = self.monitor.removeprefix("val_")
            raise ConfigError(
                f'`monitor` names "{name}", which is not measured.{nearest(name, valid)} '
                f"Choose one of: {', '.join(valid)}."
            )
        value = -logs[self.monitor] if self.monitor.endswith("loss") else logs[self.monitor]
        if value > self._best:
            self._best, self.best_epoch, self._waited = value, epoch + 1, 0
            self._weights = self.model.get_weights()
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._weights:
            self.model.set_weights(self._weights)


__all__ = ["MONITOR", "OPTIMIZERS", "Fitted", "fit", "make_optimizer", "seed_everything"]
