"""Multi-task model: ranking and retrieval from shared features, two losses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import keras, tf, with_autograph
from tfrecall.core.retriever import VectorRetriever
from tfrecall.core.vocabulary import FIRST
from tfrecall.errors import ConfigError
from tfrecall.models.ranker import Encoded, Ranker
from tfrecall.schema.features import Schema
from tfrecall.tasks.in_batch import InBatchSoftmax


@keras.utils.register_keras_serializable(package="tfrecall")
class MultiTask(Ranker):
    """Learns to score pairs and to find candidates at once, from the same embeddings.

    The vector of a side, by which it retrieves, is the sum of the vectors of its features. The loss is
    the weighted sum of that of the ranking task and that of the retrieval task, both means over the rows
    of a batch: ratings are few and exact, choices are plenty, and each teaches the other.

    Args:
        schema: the features of both sides. All have vectors of one length.
        layer_sizes: units of the dense layers of the ranking score before the last, which has one.
        settings: the other arguments of `Ranker`: `task`, `label`, `crosses`, `cross_layers`,
            `cross_projection`, `biases`, `global_mean`, `dropout`, `hidden_dropout`, `batch_normalization`,
            `activation`, `embedding_regularization`, `bias_regularization`, `embedding_stddev`, and `name`.
        retrieval_task: `InBatchSoftmax` (the default) with its defaults, or `tfrs.tasks.Retrieval`.
        ranking_weight, retrieval_weight: weights of the two losses; 0 leaves one out.
        correct_sampling_bias: whether the retrieval task subtracts the logarithm of each candidate's
            sampling probability (logQ correction).

    Raises:
        ConfigError: if features differ in length, or the weights of the losses are not 0 or more.

    Example:

    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 4)], candidate=[tr.Categorical("item_id", 4)])
    >>> model = tr.MultiTask(schema, layer_sizes=[4], label="timestamp", retrieval_weight=0.5)
    >>> model.adapt(log)
    >>> model.embed_candidates().shape, model.scores(["u1"], ["i1", "i2"]).shape
    ((5, 4), (2,))

    Reference:
        The multi-task tutorial of TensorFlow Recommenders.
    """

    def __init__(
        self,
        schema: Schema | dict[str, Any],
        layer_sizes: Sequence[int] = (256, 64),
        *,
        retrieval_task: keras.layers.Layer | None = None,
        ranking_weight: float = 1.0,
        retrieval_weight: float = 1.0,
        correct_sampling_bias: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(schema, layer_sizes, **settings)
        if ranking_weight < 0 or retrieval_weight < 0 or ranking_weight + retrieval_weight == 0:
            raise ConfigError(
                "The weights of the two losses are 0 or more, and not both 0. Received: "
                f"ranking_weight={ranking_weight}, retrieval_weight={retrieval_weight}."
            )
        towers = (self.query_tower, self.candidate_tower)
        lengths = {layer.name: layer.output_dim for tower in towers for layer in tower.features}
        if len(set(lengths.values())) > 1:
            raise ConfigError(
                "A side is retrieved by the sum of the vectors of its features, so they must be equally "
                f"long. Received: {', '.join(f'{name} {n}' for name, n in lengths.items())}."
            )
        self.retrieval_task = retrieval_task if retrieval_task is not None else InBatchSoftmax()
        self.ranking_weight = ranking_weight
        self.retrieval_weight = retrieval_weight
        self.correct_sampling_bias = correct_sampling_bias
        self._retrieval_loss = keras.metrics.Mean(name="retrieval_loss")

    def _whole_loss(
        self,
        loss: tf.Tensor,
        left: list[tf.Tensor],
        right: list[tf.Tensor],
        inputs: Encoded,
        training: bool,
    ) -> tf.Tensor:
        if not self.retrieval_weight:
            return self.ranking_weight * loss
        index = inputs["candidate_index"]
        weights = inputs.get("sample_weight", tf.ones_like(index, tf.float32))
        # A candidate outside the catalogue has no place in a loss.
        weights *= tf.cast(index >= FIRST, tf.float32)
        options: dict[str, Any] = {"sample_weight": weights}
        if isinstance(self.retrieval_task, InBatchSoftmax):
            options.update(candidate_ids=index, training=training)
            self._build_retrieval(left[0].shape[-1])
        else:
            options["compute_metrics"] = False
        if self.correct_sampling_bias:
            options["candidate_sampling_probability"] = tf.gather(self.catalogue.probability, index)
        losses = with_autograph(self.retrieval_task, tf.add_n(left), tf.add_n(right), **options)
        count = tf.reduce_sum(weights)
        # Retrieval tasks give a sum or one loss a row; the ranking loss is a mean.
        retrieval = tf.math.divide_no_nan(tf.reduce_sum(losses), count)
        self._retrieval_loss.update_state(retrieval, sample_weight=count)
        return self.ranking_weight * loss + self.retrieval_weight * retrieval

    def _build_retrieval(self, length: int) -> None:
        if not self.retrieval_task.built:
            # Weights made within a traced step would belong to its graph.
            with tf.init_scope():
                self.retrieval_task.build([None, length])

    # Retrieval

    def embed_candidates(self) -> np.ndarray:
        """Vectors of the catalogue: float32 `[n, embedding_dim]`, in the order of the item table."""
        index = tf.range(FIRST, len(self.catalogue) + FIRST)
        vectors = self.candidate_tower.feature_vectors(self.catalogue.features(index))
        return tf.add_n(vectors).numpy()

    def embed_queries(self, queries: pl.DataFrame) -> np.ndarray:
        """Vectors of queries, as `TwoTower.embed_queries` gives them."""
        raw = self.raw_queries(queries)
        dtypes = {column: spec.dtype for column, spec in self.query_tower.signature.items()}
        tensors = {
            c: tf.constant(v, tf.int32 if v.dtype == np.int32 else dtypes[c]) for c, v in raw.items()
        }
        return self._embedded(tensors).numpy()

    @tf.function(reduce_retracing=True, autograph=False)
    def _embedded(self, raw: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.add_n(self.query_tower.feature_vectors(self.query_tower.preprocess(raw)))

    def retriever(self) -> VectorRetriever:
        """Retriever of the model's vectors, for evaluation. Make it anew after more training."""
        return VectorRetriever(
            self.name, self.catalogue.ids, self.embed_candidates(), self.embed_queries
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "retrieval_task": keras.layers.serialize(self.retrieval_task),
            "ranking_weight": self.ranking_weight,
            "retrieval_weight": self.retrieval_weight,
            "correct_sampling_bias": self.correct_sampling_bias,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MultiTask":
        tasks = {
            name: keras.layers.deserialize(config[name], custom_objects)
            for name in ("task", "retrieval_task")
        }
        return cls(**{**config, **tasks})
