"""Embeddings of unknown values: whether training has changed them, and how much."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrecall._keras import keras
from tfrecall.core.vocabulary import FIRST, UNKNOWN
from tfrecall.diagnostics.finding import Finding
from tfrecall.layers.features import CategoricalFeature

# Expected number of uses above which an untouched row is no chance: its probability is e^-20.
MIN_EXPECTED_DRAWS = 20
# Lengths of rows vary with the frequency of their values, but by less than this factor.
MAX_LENGTH_RATIO = 5.0
# Fewer values than this have no typical length: with `max_tokens` the unknown row may stand for most.
LEAST_VALUES = 5


def dead_unknown_row(
    feature: str,
    table: np.ndarray,
    start: np.ndarray,
    *,
    unknown_rate: float,
    draws: float,
) -> Finding | None:
    """Finding if the embedding of unknown values was never trained, or is far longer than the others.

    Args:
        feature: name of the feature in the message.
        table: float `[n_values + 2, embedding_dim]`, after training.
        start: float `[embedding_dim]`, its row 1 at the beginning of training.
        unknown_rate: share of the values that training replaced by the unknown value.
        draws: expected number of these values; below 20 an untouched row proves nothing.
    """
    row, others = table[UNKNOWN], table[FIRST:]
    if np.array_equal(row, start):
        if unknown_rate and draws < MIN_EXPECTED_DRAWS:
            return None
        why = (
            "its `unknown_rate` is 0, so nothing stood for the unknown value in training. Set it to 0.01"
            if not unknown_rate
            else f"though {draws:,.0f} values should have been replaced by it. Look whether the feature "
            "reaches the loss at all"
        )
        return Finding(
            "dead_unknown_row",
            "warning",
            f"The vector of unknown values of {feature} is still the random one it began with: {why}. "
            "New values are answered with noise.",
        )
    if len(others) < LEAST_VALUES:
        return None
    typical = float(np.median(np.linalg.norm(others, axis=1)))
    ratio = float(np.linalg.norm(row)) / typical if typical else 0.0
    if ratio <= MAX_LENGTH_RATIO:
        return None
    return Finding(
        "dead_unknown_row",
        "warning",
        f"The vector of unknown values of {feature} is {ratio:.0f} times as long as that of a typical "
        f"value ({np.linalg.norm(row):.3g} against {typical:.3g}), so it drowns what else is known of a "
        "new user or item. Lower `unknown_rate` of that feature or `training.learning_rate`.",
    )


class UnknownRows(keras.callbacks.Callback):
    """Copies the unknown row of each categorical feature after the first training step.

    Earlier the tables do not exist, and creating them would change the random draws of the seed. Optimizers
    do not touch rows without examples, so a row that is equal at the end of training is dead.

    Args:
        batch_size: number of rows in a step.
    """

    _supports_tf_logs = True

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self._starts: dict[str, np.ndarray] = {}
        self._steps = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._starts, self._steps = {}, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._starts:
            self._starts = {name: table()[UNKNOWN].copy() for name, _, table, _ in self._tables()}
        else:
            self._steps += 1

    def findings(self) -> list[Finding | None]:
        """Findings about the rows after the last fit; none before a fit."""
        if not self._steps:
            return []
        return [
            dead_unknown_row(
                name, table(), self._starts[name], unknown_rate=rate, draws=rate * used * self._steps
            )
            for name, rate, table, used in self._tables()
            if name in self._starts
        ]

    def _tables(self) -> Iterator[tuple[str, float, Any, int]]:
        """Name, unknown rate, function that reads the table, and number of values in a step."""
        # A step encodes each distinct candidate once. Half the possible number is a cautious guess: too
        # large a count of draws would call a row dead by mistake.
        distinct = min(self.batch_size, len(self.model.catalogue)) // 2
        sides = ((self.model.query_tower, self.batch_size), (self.model.candidate_tower, distinct))
        for tower, used in sides:
            for layer in tower.features:
                if isinstance(layer, CategoricalFeature):
                    rate = layer.spec.unknown_rate
                    yield f"{tower.name}.{layer.name}", rate, layer.table.numpy, used
