"""Remembers how the rows of unknown values began."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrecall._keras import keras
from tfrecall.data.vocabulary import UNKNOWN
from tfrecall.diagnostics.finding import Finding
from tfrecall.diagnostics.unknown_row import dead_unknown_row
from tfrecall.layers.features import CategoricalFeature


class UnknownRows(keras.callbacks.Callback):
    """Copies the unknown row of each categorical feature of a `TwoTower` after the first step.

    Before it the rows are not there yet, and to make them would change what the seed draws. Optimizers
    leave rows alone that no example used, so a row is dead if it is at the end what it was then.

    Args:
        batch_size: rows a step.
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
        """What is to be said of the rows as they are now, after the last fit; of none without one."""
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
        """Name, unknown rate, a way to the table, values that a step uses."""
        # Of the candidates a step uses each distinct one once, at worst half as many as it might.
        distinct = min(self.batch_size, len(self.model.catalogue)) // 2
        sides = ((self.model.query_tower, self.batch_size), (self.model.candidate_tower, distinct))
        for tower, used in sides:
            for layer in tower.features:
                if isinstance(layer, CategoricalFeature):
                    table = layer._table.embeddings
                    yield f"{tower.name}.{layer.name}", layer.spec.unknown_rate, table.numpy, used
