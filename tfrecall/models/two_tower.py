"""The two-tower retrieval model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from tfrecall._keras import keras, tf, tfrs
from tfrecall.data.interactions import Interactions
from tfrecall.data.pipelines import CHUNK_ROWS, column_batches
from tfrecall.data.vocabulary import FIRST
from tfrecall.errors import DataError
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.towers import CandidateTower, ColumnReader, QueryTower
from tfrecall.models.vector_retriever import VectorRetriever
from tfrecall.raw import Form, raw_features
from tfrecall.schema import Schema
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.top_k import ExactTopK


@keras.utils.register_keras_serializable(package="tfrecall")
class TwoTower(tfrs.Model):
    """A query tower and a candidate tower whose inner product is the score.

    Adapt it to data once, then compile and fit it like any Keras model, on batches of raw features
    (`tfrecall.data.examples`, or as the tutorials of TensorFlow Recommenders write them). Raw batches
    are encoded in the input pipeline, never in the training step. Of a candidate a batch needs only
    its id: the features come from the item table that the model was adapted to.

    The gradient is that of the loss summed over the batch, as in TFRS, so its learning rates carry
    over; the loss reported is the mean over all examples of the epoch.

    Args:
        schema: the features of both towers.
        layer_sizes: units of the dense layers of both towers.
        task: `InBatchSoftmax` (the default), `FullSoftmax`, `tfrs.tasks.Retrieval`, or anything called
            like it.
        dropout: share of the values dropped at the entry of the dense layers.
        normalize: whether both towers give vectors of length one; wants a temperature in the task.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        correct_sampling_bias: whether tasks that take negatives from the batch are told how often each
            candidate is sampled (logQ correction). The shares are counted from the training data.
        ks: list lengths of the exact top-K metric of `evaluate`; it is left out if the task brings
            `tfrs.metrics.FactorizedTopK`.

    Attributes:
        interactions: the log that the model was adapted to; None if it was a dataset.

    Raises:
        MissingColumnError: from `adapt`, if the data lack a column of the schema.
        DataError: if used before `adapt`.
    """

    def __init__(
        self,
        schema: Schema | dict[str, Any],
        layer_sizes: Sequence[int] = (64, 32),
        *,
        task: keras.layers.Layer | None = None,
        dropout: float = 0.0,
        normalize: bool = False,
        embedding_regularization: float = 0.0,
        correct_sampling_bias: bool = True,
        ks: Sequence[int] = (1, 5, 10, 50, 100),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.schema = TypeAdapter(Schema).validate_python(schema)
        self._settings = {
            "layer_sizes": tuple(layer_sizes),
            "dropout": dropout,
            "normalize": normalize,
            "embedding_regularization": embedding_regularization,
        }
        self.query_tower = QueryTower(self.schema.query, name="query_tower", **self._settings)
        self.candidate_tower = CandidateTower(
            self.schema.candidate, name="candidate_tower", **self._settings
        )
        self.task = task if task is not None else InBatchSoftmax()
        self.correct_sampling_bias = correct_sampling_bias
        self.ks = tuple(ks)
        brings_metric = bool(getattr(self.task, "factorized_metrics", None))
        self.top_k = None if brings_metric else ExactTopK(self.ks)
        self._mean_loss = keras.metrics.Mean(name="mean_loss")
        self._catalogue: Catalogue | None = None
        self.interactions: Interactions | None = None

    # Data

    def adapt(
        self, examples: Interactions | tf.data.Dataset, candidates: tf.data.Dataset | None = None
    ) -> None:
        """Learns vocabularies, boundaries and moments, and takes in the catalogue.

        Args:
            examples: the training data: a log, or a dataset of dictionaries of raw features.
            candidates: only with a dataset: dictionaries with the features of each candidate. Of rows
                with the same id the first is kept.
        """
        if isinstance(examples, Interactions):
            queries, items = examples.queries, examples.items
            self.schema.check_query(queries.columns)
            counts = np.bincount(examples.item_rows, minlength=items.height)
            self.interactions = examples
            self._adapt(lambda c, f: column_batches(queries, c, f), items, counts)
        else:
            self._adapt_to_datasets(examples, candidates)

    def _adapt_to_datasets(self, examples: tf.data.Dataset, candidates: tf.data.Dataset | None) -> None:
        if candidates is None:
            raise DataError(
                "A dataset of examples does not hold the catalogue. Pass `candidates=`, a dataset with "
                f"the features {self.schema.candidate_columns} of each candidate."
            )
        examples, items = _batched(examples), _to_frame(_batched(candidates))
        self.schema.check_query(examples.element_spec)
        self.schema.check_candidate(items.columns)
        items = items.unique(self.schema.candidate_id, keep="first", maintain_order=True)
        name = self.schema.candidate_id
        seen = _to_frame(examples.map(lambda raw: {name: raw[name]})).group_by(name).len()
        counts = items.join(seen, on=name, how="left", maintain_order="left")["len"].fill_null(0)
        self._adapt(lambda c, _: examples.map(lambda raw: raw[c]), items, counts.to_numpy())

    def _adapt(self, read_query: ColumnReader, items: pl.DataFrame, counts: np.ndarray) -> None:
        self.schema.check_candidate(items.columns)
        self.query_tower.adapt(read_query)
        self.candidate_tower.adapt(lambda column, form: column_batches(items, column, form))
        self._catalogue = Catalogue.build(items, self.schema.candidate_id, self.candidate_tower, counts)

    @property
    def is_adapted(self) -> bool:
        """Whether the model has seen data."""
        return self._catalogue is not None

    @property
    def catalogue(self) -> Catalogue:
        """The candidates that the model was adapted to."""
        if self._catalogue is None:
            raise DataError("The model has not seen data yet. Call `adapt` first.")
        return self._catalogue

    @property
    def forms(self) -> dict[str, Form]:
        """The raw columns that `encode` needs and the form of each."""
        return {**self.query_tower.forms, self.schema.candidate_id: "string"}

    def encode(self, raw: dict[str, tf.Tensor]) -> dict[str, Any]:
        """One raw batch to integers and floats, for `Dataset.map`."""
        if self.schema.candidate_id not in raw:
            raise DataError(
                f'A batch has to name its candidates in "{self.schema.candidate_id}". Received: '
                f"{', '.join(raw)}. Set `candidate_id` in the schema to the column that names them."
            )
        encoded = {
            "query": self.query_tower.preprocess(raw),
            "candidate_index": self.catalogue.index(raw[self.schema.candidate_id]),
        }
        if "sample_weight" in raw:
            encoded["sample_weight"] = tf.cast(raw["sample_weight"], tf.float32)
        return encoded

    def _encoded(self, dataset: Any) -> Any:
        spec = getattr(dataset, "element_spec", None)
        if not isinstance(spec, dict) or "candidate_index" in spec:
            return dataset
        return dataset.map(self.encode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    # Keras

    def fit(self, x: Any = None, *, validation_data: Any = None, **kwargs: Any) -> Any:
        """As `keras.Model.fit`, on datasets of raw or of encoded features."""
        validation = None if validation_data is None else self._encoded(validation_data).cache()
        return super().fit(self._encoded(x), validation_data=validation, **kwargs)

    def evaluate(self, x: Any = None, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; embeds the catalogue once, before the first batch."""
        self.catalogue.refresh(self.candidate_tower)
        return super().evaluate(self._encoded(x), **kwargs)

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> tf.Tensor:
        """Scores of the encoded queries for the whole catalogue, `[batch_size, n]`."""
        candidates = self.catalogue.embed(self.candidate_tower)
        queries = self.query_tower(inputs["query"], training=training)
        return tf.matmul(queries, candidates, transpose_b=True)

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> tf.Tensor:
        """The loss summed over the batch; updates the metrics."""
        index = inputs["candidate_index"]
        queries = self.query_tower(inputs["query"], training=training)
        weights = inputs.get("sample_weight", tf.ones_like(index, tf.float32))
        # A candidate outside the catalogue has no place in a loss, but is a miss in the metric.
        loss_weights = weights * tf.cast(index >= FIRST, tf.float32)
        loss = tf.reduce_sum(self._task_loss(queries, index, loss_weights, training))
        count = tf.reduce_sum(loss_weights)
        self._mean_loss.update_state(tf.math.divide_no_nan(loss, count), sample_weight=count)
        if self.top_k is not None and not training:
            self.top_k.update_state(queries, self.catalogue.vectors, index - FIRST, weights)
        return loss

    def _task_loss(
        self, queries: tf.Tensor, index: tf.Tensor, weights: tf.Tensor, training: bool
    ) -> tf.Tensor:
        if getattr(self.task, "needs_catalogue", False):
            candidates = self.catalogue.vectors
            if training:
                candidates = self.catalogue.embed(self.candidate_tower, training=True)
            return self.task(queries, candidates, sample_weight=weights, candidate_rows=index - FIRST)
        distinct, positions = tf.unique(index)
        candidates = self.candidate_tower(self.catalogue.features(distinct), training=training)
        options: dict[str, Any] = {"sample_weight": weights, "candidate_ids": index}
        if self.correct_sampling_bias:
            options["candidate_sampling_probability"] = tf.gather(self.catalogue.probability, index)
        if isinstance(self.task, tfrs.tasks.Retrieval):
            options["compute_metrics"] = not training
            # With ids TFRS judges by id, which its metric over plain vectors cannot.
            options["candidate_ids"] = (
                self._outside_ids(index) if self.task._remove_accidental_hits else None
            )
        return self.task(queries, tf.gather(candidates, positions), **options)

    def _outside_ids(self, index: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(["", "", *self.catalogue.ids]), index)

    def train_step(self, inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
        return self._logs(super().train_step(inputs), training=True)

    def test_step(self, inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
        return self._logs(super().test_step(inputs), training=False)

    def _logs(self, logs: dict[str, Any], training: bool) -> dict[str, tf.Tensor]:
        """TFRS' logs with the mean loss, and without what says nothing in training."""
        top_k = logs.pop("factorized_top_k", {})
        for name in ("mean_loss", "total_loss"):
            logs.pop(name, None)
        logs = {**logs, "loss": self._mean_loss.result()}
        return logs if training or not isinstance(top_k, dict) else {**top_k, **logs}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "schema": TypeAdapter(Schema).dump_python(self.schema),
            "task": keras.layers.serialize(self.task),
            "correct_sampling_bias": self.correct_sampling_bias,
            "ks": list(self.ks),
            **self._settings,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TwoTower":
        task = keras.layers.deserialize(config["task"], custom_objects)
        return cls(**{**config, "task": task})

    # Answers

    def embed_candidates(self) -> np.ndarray:
        """Vectors of the catalogue: float32 `[n, embedding_dim]`, in the order of the item table."""
        return self.catalogue.refresh(self.candidate_tower).numpy()

    def embed_queries(self, queries: pl.DataFrame) -> np.ndarray:
        """Vectors of queries: float32 `[n, embedding_dim]`.

        Args:
            queries: a table with the query columns of the schema (`Interactions.queries`).
        """
        return self.query_tower.embed(raw_features(queries, self.query_tower.forms))

    def retriever(self) -> VectorRetriever:
        """The model as it is now, behind the protocol that evaluation and serving use."""
        return VectorRetriever(
            self.name, self.catalogue.ids, self.embed_candidates(), self.embed_queries
        )


def _batched(dataset: tf.data.Dataset) -> tf.data.Dataset:
    ranks = {spec.shape.rank for spec in tf.nest.flatten(dataset.element_spec)}
    return dataset.batch(CHUNK_ROWS) if 0 in ranks else dataset


def _to_frame(batches: tf.data.Dataset) -> pl.DataFrame:
    """A dataset of dictionaries as a table, bytes as text."""
    frames = [
        pl.DataFrame({name: _to_series(values) for name, values in batch.items()})
        for batch in batches.as_numpy_iterator()
    ]
    return pl.concat(frames)


def _to_series(values: np.ndarray) -> pl.Series:
    if values.ndim > 1:
        return pl.Series([[_text(v) for v in row if v != b""] for row in values.tolist()])
    return pl.Series([_text(value) for value in values.tolist()])


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
