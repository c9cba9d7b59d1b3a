"""Training settings: optimizer, schedule, epochs, early stopping. One list for `fit` and for configurations."""

import logging
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PositiveInt
from pydantic.dataclasses import dataclass

from tfrecall.schema.specs import STRICT, Positive, Seed, Weight, config_errors

# Names of TFRS, which the metrics of validation had before version 0.6.
_OLD_MONITOR = re.compile(r"factorized_top_k/(?:top_(\d+)_categorical_accuracy|ndcg_(\d+))")
_noted: set[str] = set()


def metric_name(name: str) -> str:
    """The name of a validation metric in tables, for its name of TFRS; other names are unchanged.

    >>> metric_name("factorized_top_k/top_100_categorical_accuracy"), metric_name("loss")
    ('hit_rate@100', 'loss')
    """
    match = _OLD_MONITOR.fullmatch(name)
    if match is None:
        return name
    return f"hit_rate@{match[1]}" if match[1] else f"ndcg@{match[2]}"


def _present_name(monitor: str) -> str:
    """Reads an old name of a monitor, with one note in the log."""
    name = metric_name(monitor)
    if name not in (monitor, *_noted):
        _noted.add(name)
        logging.getLogger("tfrecall").warning(
            'Since version 0.6 the metric "%s" of `training.monitor` is called "%s", as in tables.',
            monitor,
            name,
        )
    return name


def _none(value: Any) -> Any:
    """Turns the word "none" into None, because TOML has no null."""
    return None if value == "none" else value


def _without_servers(strategy: Any) -> Any:
    if strategy == "parameter_server":
        raise ValueError(
            '"parameter_server" is not supported yet. Set "mirrored" for the devices of one machine, or '
            '"multi_worker_mirrored" for several machines, each of which holds all tables'
        )
    return strategy


# Not a very large number for "never": without early stopping the last weights are kept, not the best.
_Patience = Annotated[
    PositiveInt | None,
    BeforeValidator(_none),
    PlainSerializer(lambda value: "none" if value is None else value, when_used="json"),
]


@config_errors
@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """Settings of a training, with their defaults: arguments of `fit`, and `[training]` in a configuration.

    Attributes:
        optimizer: name of the optimizer; `learning_rate` is its rate.
        learning_rate: the highest rate, reached after the warm-up.
        schedule: course of the rate after the warm-up: `constant`, or down to 0 at the last of `epochs`
            by a half `cosine` or a straight line (`linear`).
        warmup_steps: steps over which the learning rate rises from 0.
        clip_norm: the gradient of a step is scaled down to this norm over all weights if it is longer.
        strategy: replicas that train: `none` for one; `mirrored` for all devices of this machine;
            `multi_worker_mirrored` for several machines, which TF_CONFIG names. A batch is that of all replicas
            together, so the result does not depend on their number.
        mixed_precision: compute in bfloat16 and keep weights in float32; helps on hardware that has it.
        batch_size: rows a step.
        epochs: largest number of epochs.
        monitor: the validation metric to stop by. `hit_rate@k` and `ndcg@k`, for k of 1, 5, 10, 50 and
            100, rank the validation rows by the vectors alone, seen items kept; `seen_removed/hit_rate@50`
            and `seen_kept/ndcg@10`, for any k, are measured as in the final table; also `loss`, and the
            metrics of a ranking task. Higher is better, but for a loss or an error.
        patience: validations without improvement before training stops; None, in a file `"none"`, never
            stops early and keeps the last weights.
        validate_every: epochs between two validations.
        refit: after the best epoch is known, train a fresh model on training and validation rows
            together for that many epochs. Without, the best weights are kept. For `tfrecall run`; `fit`
            trains once.
        warm_start: a release to go on from, whose run kept the state of its training: its vocabularies grow,
            its weights and the optimizer's slots are copied by value, and only events that it has not learned
            from are trained on.
        checkpoint_seconds: least seconds between two checkpoints, which are written after an epoch; 0 writes
            one after each epoch.
        seed: seed of initial weights, shuffling and dropout.

    Raises:
        ConfigError: if a setting is unknown or out of its range.

    Example:

    >>> TrainingConfig(optimizer="adam", learning_rate=0.001).epochs
    20
    """

    optimizer: Literal["adagrad", "adam", "sgd"] = "adagrad"
    learning_rate: Positive = 0.1
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    clip_norm: Positive | None = None
    strategy: Annotated[
        Literal["none", "mirrored", "multi_worker_mirrored"], BeforeValidator(_without_servers)
    ] = "none"
    mixed_precision: bool = False
    batch_size: PositiveInt = 2048
    epochs: PositiveInt = 20
    monitor: Annotated[str, AfterValidator(_present_name)] = "hit_rate@100"
    patience: _Patience = 3
    validate_every: PositiveInt = 1
    refit: bool = False
    warm_start: str | None = None
    checkpoint_seconds: Weight = 30.0
    seed: Seed = 42

    @property
    def monitored_length(self) -> int | None:
        """Length of the lists whose hits `monitor` counts; None for other metrics."""
        match = re.search(r"hit_rate@(\d+)", self.monitor)
        return int(match[1]) if match else None
