"""Training settings: optimizer, schedule, epochs, early stopping. One list for `fit` and for configurations."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PositiveInt
from pydantic.dataclasses import dataclass

from tfrecall.schema.specs import STRICT, Positive, Seed, Weight, config_errors


def _none(value: Any) -> Any:
    """Turns the word "none" into None, because TOML has no null."""
    return None if value == "none" else value


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
        mixed_precision: compute in bfloat16 and keep weights in float32; helps on hardware that has it.
        batch_size: rows a step.
        epochs: largest number of epochs.
        monitor: the validation metric to stop by, as Keras names it without `val_`, or a figure of the
            final table: `seen_removed/hit_rate@50`, `seen_kept/ndcg@10`. Higher is better, but for a loss
            or an error.
        patience: validations without improvement before training stops; None, in a file `"none"`, never
            stops early and keeps the last weights.
        validate_every: epochs between two validations.
        refit: after the best epoch is known, train a fresh model on training and validation rows
            together for that many epochs. Without, the best weights are kept. For `tfrecall run`; `fit`
            trains once.
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
    mixed_precision: bool = False
    batch_size: PositiveInt = 2048
    epochs: PositiveInt = 20
    monitor: str = "factorized_top_k/top_100_categorical_accuracy"
    patience: _Patience = 3
    validate_every: PositiveInt = 1
    refit: bool = False
    checkpoint_seconds: Weight = 30.0
    seed: Seed = 42

    @property
    def monitored_length(self) -> int | None:
        """Length of the lists whose hits `monitor` counts; None for other metrics."""
        # Keras' names of TFRS metrics, and those of the final table.
        match = re.search(r"top_(\d+)_|hit_rate@(\d+)", self.monitor)
        return int(match[1] or match[2]) if match else None
