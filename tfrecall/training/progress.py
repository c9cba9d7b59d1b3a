"""Progress of a training, and the callbacks that record it, stop it and write its checkpoints."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf
from tfrecall.errors import CheckpointError, ConfigError, nearest
from tfrecall.evaluation.metrics import is_lower_better
from tfrecall.training.checkpoints import CheckpointFile, Checkpoints

Logs = dict[str, Any]


@dataclass
class Progress:
    """State of a training outside its variables.

    Attributes:
        epochs: number of epochs trained.
        history: for each metric its values so far.
        epoch_seconds: seconds of each epoch, without validation.
        seconds: wall time of the processes before this one.
        best_epoch: the epoch with the best validation, from 1; 0 before the first validation.
        best: the monitored value of that epoch, higher is better.
        waited: validations since the best one.
        stopped: whether the training ended before its last epoch.
    """

    epochs: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    epoch_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best_epoch: int = 0
    best: float = -np.inf
    waited: int = 0
    stopped: bool = False


class EpochClock(keras.callbacks.Callback):
    """Measures the seconds of each epoch until validation begins."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self._started = 0.0
        self._in_training = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started, self._in_training = time.perf_counter(), True

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._stop()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._in_training:
            self.progress.epoch_seconds.append(time.perf_counter() - self._started)
            self._in_training = False


class BestWeights(keras.callbacks.Callback):
    """Early stopping: keeps the weights of the best validation, stops after `patience` without improvement.

    Keras' `EarlyStopping` counts epochs, not validations, and restores nothing when the epochs run
    out before the patience does.
    """

    def __init__(self, monitor: str, patience: int | None, progress: Progress) -> None:
        super().__init__()
        self.monitor = monitor
        self.patience = patience
        self.progress = progress
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs, progress = logs or {}, self.progress
        if self.patience is None or not any(name.startswith("val_") for name in logs):
            return
        if self.monitor not in logs:
            valid = [name.removeprefix("val_") for name in logs if name.startswith("val_")]
            name = self.monitor.removeprefix("val_")
            raise ConfigError(
                f'`monitor` names "{name}", which is not measured.{nearest(name, valid)} '
                f"Choose one of: {', '.join(valid)}."
            )
        # Negated where less is better, so that `best` is always a maximum.
        value = -logs[self.monitor] if is_lower_better(self.monitor) else logs[self.monitor]
        if value > progress.best:
            progress.best, progress.best_epoch, progress.waited = float(value), epoch + 1, 0
            self.weights = [variable.numpy() for variable in lasting_weights(self.model)]
            return
        progress.waited += 1
        if progress.waited >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.weights:
            for variable, value in zip(lasting_weights(self.model), self.weights, strict=True):
                variable.assign(value)


class Recorder(keras.callbacks.Callback):
    """Counts epochs and metrics, and writes checkpoints when they are due; the last callback."""

    def __init__(self, progress: Progress, best: BestWeights, checkpoints: Checkpoints | None) -> None:
        super().__init__()
        self.progress = progress
        self.best = best
        self.checkpoints = checkpoints
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of the training until now, in all processes."""
        return self.progress.seconds + time.perf_counter() - self._started

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for name, value in (logs or {}).items():
            self.progress.history.setdefault(name, []).append(float(value))
        self.progress.epochs = epoch + 1
        self.progress.stopped = bool(self.model.stop_training)
        if self.checkpoints and self.checkpoints.due:
            # The time of this process is added only in the file: later checkpoints of it start from
            # the same sum.
            progress = {**asdict(self.progress), "seconds": self.seconds}
            header = {"progress": progress, "epochs": self.params["epochs"]}
            saved = self.checkpoints.save(header, _state(self.model, self.best.weights))
            # After the checkpoint, which does not know of the pause: the training was not at its end.
            if saved and self.checkpoints.pauses and not self._is_over:
                self.checkpoints.paused = self.model.stop_training = True

    @property
    def _is_over(self) -> bool:
        return self.progress.stopped or self.progress.epochs >= self.params["epochs"]


def restore(
    checkpoint: CheckpointFile,
    model: keras.Model,
    batches: Callable[[], tf.data.Dataset],
    progress: Progress,
    best: BestWeights,
) -> None:
    """Restores a training to the state of a checkpoint.

    Args:
        checkpoint: the checkpoint.
        model: a compiled model; its variables are made if it has none yet.
        batches: gives the batches it will be trained on.
        progress: receives epochs, history and times of the checkpoint.
        best: receives the best weights.

    Raises:
        CheckpointError: if its variables are not those of the model.
    """
    create_variables(
        model, batches, lambda: all(checkpoint.count(g) == len(v) for g, v in _groups(model).items())
    )
    for group, variables in _groups(model).items():
        # Variables have no names that last, so they are matched by order; the identity of the
        # training, checked before, makes the orders equal.
        count = checkpoint.count(group)
        if count != len(variables):
            raise CheckpointError(
                f"The checkpoint {checkpoint.file} holds {count} variables of the {group} where this model has "
                f"{len(variables)}. Discard it with `--fresh` (in Python: `Checkpoints.discard`)."
            )
        for variable, array in zip(variables, checkpoint.arrays(group), strict=True):
            variable.assign(array)
    best.weights = list(checkpoint.arrays("best"))
    for name, value in checkpoint.header["progress"].items():
        setattr(progress, name, value)


def _state(model: keras.Model, best: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """All variables, without a copy, and the best weights."""
    for group, variables in _groups(model).items():
        for i, variable in enumerate(variables):
            # Through the buffer, not `numpy()`: that would copy a table that may fill half the memory.
            yield f"{group}/{i}", np.asarray(memoryview(variable.read_value()))
    for i, array in enumerate(best):
        yield f"best/{i}", array


def _groups(model: keras.Model) -> dict[str, list[tf.Variable]]:
    return {"weights": lasting_weights(model), "optimizer": optimizer_variables(model)}


def lasting_weights(model: keras.Model) -> list[tf.Variable]:
    """Variables of the model that last beyond an epoch: all but those of metrics."""
    # A metric of several workers is summed whenever it is read, which all of them would have to do at once.
    passing = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.weights if id(variable) not in passing]


def optimizer_variables(model: keras.Model) -> list[tf.Variable]:
    """Variables of the optimizer and its rate, which callbacks may change and Keras leaves out."""
    variables = list(model.optimizer.variables)
    rate = model.optimizer.learning_rate
    return variables if any(rate is variable for variable in variables) else [*variables, rate]


def create_variables(
    model: keras.Model, batches: Callable[[], tf.data.Dataset], has_all: Callable[[], bool]
) -> None:
    """Makes the variables of the first training step, without a step.

    Args:
        model: a compiled model.
        batches: gives the batches it will be trained on.
        has_all: whether the model has all of its variables. While it has not, as with a task that makes some
            when it is called, the step is traced, which takes as long as the first step of a training.
    """
    model.create_weights()
    if has_all():
        return

    @tf.function(autograph=False)
    def trace(batch: Any) -> None:
        model.distribute_strategy.run(model.compute_loss, (batch,), {"training": True})

    # Tracing makes variables but runs nothing: random streams and the memory stay as they are.
    trace.get_concrete_function(batches().element_spec)
    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)
