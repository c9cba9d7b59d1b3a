"""Keras' own methods on raw batches: calls, `predict`, `train_on_batch`, `summary`, `compile`, files."""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import keras, refuse_keras_3, tf, tfrs, without_autograph
from tfrecall.core.raw import Form
from tfrecall.data.batches import raw_tensors
from tfrecall.errors import ConfigError, DataError
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.towers import CandidateTower, QueryTower
from tfrecall.schema.features import Schema

# Rows of one batch of `predict` where the caller names no size.
PREDICTED_AT_ONCE = 1024


class KerasMethods(tfrs.Model):
    """Base of the models: what Keras does with arrays, on dictionaries of raw or of encoded features.

    Raw columns are tensors, arrays or lists; lists and arrays may hold None where the value is not known.
    """

    schema: Schema
    query_tower: QueryTower
    candidate_tower: CandidateTower
    task: Any
    _catalogue: Catalogue | None

    # Hooks of the models

    @property
    def forms(self) -> dict[str, Form]:
        """Raw columns that training needs, and the form of each."""
        raise NotImplementedError

    def encode(self, raw: dict[str, tf.Tensor], training: bool = False) -> dict[str, Any]:
        """Encodes one raw batch."""
        raise NotImplementedError

    def create_weights(self) -> None:
        """Makes all weights before a step is traced: a step that makes some is traced twice."""
        raise NotImplementedError

    def _call_inputs(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Encodes what a call needs of a raw batch: the query, without a target."""
        columns = raw_tensors(raw, self.query_tower.forms)
        return {"query": self.query_tower.preprocess(columns)}

    def _check_training_batch(self, encoded: Mapping[str, Any]) -> None:
        """Refuses an encoded batch that the task cannot learn from."""

    def _before_test(self) -> None:
        """Computes what test steps read, before the first of them."""

    def _with_ends(self, logs: dict[str, Any], as_dict: bool) -> Any:
        """Adds metrics of a whole validation to the logs of its steps."""
        names = dict.fromkeys([*self.metrics_names, *sorted(logs)])
        # Without a dictionary the metrics come in their order, then all others, as in Keras.
        return logs if as_dict else [logs[name] for name in names if name in logs]

    # Batches

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(self._encoded_call(inputs), *args, **kwargs)

    def _encoded_call(self, inputs: Any) -> Any:
        # An encoded batch holds the features of the query as a dictionary; a raw column is never one.
        is_raw = isinstance(inputs, Mapping) and not isinstance(inputs.get("query"), Mapping)
        return self._call_inputs(inputs) if is_raw else inputs

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> np.ndarray:
        """Predicts like `keras.Model.predict`: of a dataset of batches, or of one dictionary of raw columns.

        The result is that of a call: of a two-tower model the scores of the whole catalogue, float
        `[n, candidates]`, of a ranker the score of each row.
        """
        if isinstance(x, Mapping):
            columns = raw_tensors(x, self.forms)
            x = tf.data.Dataset.from_tensor_slices(columns).batch(batch_size or PREDICTED_AT_ONCE)
        # AutoGraph would wrap our errors in its own.
        encode = without_autograph(self._encoded_call)
        return super().predict(x.map(encode), **kwargs)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """Predicts one raw or encoded batch."""
        return super().predict_on_batch(self._encoded_call(x))

    def train_on_batch(self, x: Any, *, reset_metrics: bool = True, return_dict: bool = False) -> Any:
        """Learns from one raw or encoded batch, which holds its labels and weights as columns."""
        encoded = self._encoded_batch(x, training=True)
        self._check_training_batch(encoded)
        if not self.built:
            self._build_all()
        return super().train_on_batch(encoded, reset_metrics=reset_metrics, return_dict=return_dict)

    def test_on_batch(self, x: Any, *, reset_metrics: bool = True, return_dict: bool = False) -> Any:
        """Measures one raw or encoded batch, which holds its labels and weights as columns."""
        encoded = self._encoded_batch(x)
        self._before_test()
        logs = super().test_on_batch(encoded, reset_metrics=reset_metrics, return_dict=True)
        return self._with_ends(logs, return_dict)

    def _encoded_batch(self, batch: Any, training: bool = False) -> Any:
        if not isinstance(batch, Mapping):
            raise DataError(
                "A batch is a dictionary of columns, the label of a ranker and `sample_weight` among them. "
                f"Received: {type(batch).__name__}."
            )
        if "candidate_index" in batch:
            return batch
        return self.encode(raw_tensors(batch, {**self.forms, "sample_weight": "number"}), training)

    # Weights

    def _build_all(self) -> None:
        self.create_weights()
        self.built = True  # else Keras refuses what needs weights

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints the layers like `keras.Model.summary`, once the model is adapted."""
        self._build_all()
        super().summary(*args, **kwargs)

    def load_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Loads weights like `keras.Model.load_weights`, also into a model that was adapted but not called."""
        self._build_all()
        return super().load_weights(*args, **kwargs)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Sets the optimizer, of Keras 2 or by name. The loss and its metrics are the task's.

        Raises:
            ConfigError: if a loss or metrics are given, or an optimizer of Keras 3.
        """
        settings = {
            "loss": loss,
            "metrics": metrics,
            "loss_weights": loss_weights,
            "weighted_metrics": weighted_metrics,
        }
        given = [f"{name}={value!r}" for name, value in settings.items() if value]
        if given:
            raise ConfigError(
                f"`compile` of {type(self).__name__} takes the optimizer alone: the loss and its metrics are "
                f"those of the task, here {type(self.task).__name__}. Received: {', '.join(given)}. Give "
                "another `task` to the model, such as `task=tr.FullSoftmax()`."
            )
        refuse_keras_3(optimizer, keras.optimizers, "optimizer")
        super().compile(optimizer=optimizer, **kwargs)

    # Files

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves like `keras.Model.save`: settings, what `adapt` learned, catalogue, weights and optimizer.

        The log is not in the file, so a loaded model with histories takes one from `use_log`, or
        histories from the queries. To answer requests, `tfrecall.export` a release instead.

        Args:
            filepath: a path that ends in `.keras`.
        """
        self._build_all()
        super().save(filepath, *args, **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        """What `adapt` learned, for a `.keras` file; None before."""
        if self._catalogue is None:
            return None
        items = io.BytesIO()
        self._catalogue.items.write_ipc(items, compression="zstd")
        towers = (self.candidate_tower, self.query_tower)
        learned = {
            "states": [[layer.state for layer in tower.features] for tower in towers],
            "probability": self._catalogue.probability.numpy().tolist(),
            "repeats": getattr(self, "repeats", None) and self.repeats.to_dict(),
        }
        # One text each: Keras would wrap each of the many thousand values.
        return {
            "learned": json.dumps(learned, default=float),
            "items": base64.b64encode(items.getvalue()).decode(),
        }

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Makes vocabularies, catalogue and weights from `get_build_config`."""
        if "learned" not in config:  # written by Keras for a model that was called, never adapted
            return
        learned = json.loads(config["learned"])
        # Candidates first, whose tables histories may share.
        for tower, states in zip(
            (self.candidate_tower, self.query_tower), learned["states"], strict=True
        ):
            tower.set_states(states)
        items = pl.read_ipc(io.BytesIO(base64.b64decode(config["items"])))
        self._catalogue = Catalogue.of(
            items, self.schema.candidate_id, self.candidate_tower, np.float32(learned["probability"])
        )
        self._learned(learned)
        self._build_all()

    def _learned(self, learned: dict[str, Any]) -> None:
        """Hook for subclasses: takes in the rest of what a file holds."""

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with the optimizer of a file."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if hasattr(self.optimizer, "build"):
            self.optimizer.build(self.trainable_variables)
