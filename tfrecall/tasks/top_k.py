"""Exact top-K accuracy for `fit` and `evaluate`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.layers.interests import best_scores

# Queries scored at a time: 512 rows of 2,000 float32 scores stay in a processor's cache, which makes
# counting a third faster.
_BLOCK_ROWS = 512


@keras.utils.register_keras_serializable(package="tfrecall")
class ExactTopK(keras.metrics.Metric):
    """Share of the queries whose candidate is among the best k of the whole catalogue, and NDCG.

    Reports under the names of `tfrs.metrics.FactorizedTopK`
    (`factorized_top_k/top_100_categorical_accuracy`), and beside (`factorized_top_k/ndcg_100`) what these
    hits are worth: 1 / log2(r + 2) at rank r, from 0. A candidate is known by its row and its score is
    taken out of the same matrix product as all others; candidates with an equal score count against it,
    and so does a positive that is not in the catalogue. Seen items are kept, as in TFRS;
    `tfrecall.evaluate` judges both ways.

    Args:
        ks: the list lengths.
    """

    def __init__(
        self, ks: Sequence[int] = (1, 5, 10, 50, 100), name: str = "factorized_top_k", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.ks = tuple(ks)
        self._hits = self.add_weight("hits", shape=[len(self.ks)], initializer="zeros")
        self._gains = self.add_weight("gains", shape=[len(self.ks)], initializer="zeros")
        self._count = self.add_weight("count", initializer="zeros")

    @without_autograph
    def update_state(
        self,
        query_embeddings: tf.Tensor,
        catalogue: tf.Tensor,
        candidate_rows: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> None:
        """Ranks a batch.

        Args:
            query_embeddings: float `[batch_size, embedding_dim]`, or with several vectors a query
                `[batch_size, interests, embedding_dim]`, of which the best one scores.
            catalogue: float `[candidates, embedding_dim]`.
            candidate_rows: int `[batch_size]`, -1 for a candidate that is not in the catalogue.
            sample_weight: float `[batch_size]`, optional.
        """
        if sample_weight is None:
            sample_weight = tf.ones_like(candidate_rows, tf.float32)
        weights = tf.cast(sample_weight, tf.float32)
        rows = tf.shape(candidate_rows)[0]
        vectors = query_embeddings.shape[1] if query_embeddings.shape.rank == 3 else 1
        block_rows = max(1, _BLOCK_ROWS // vectors)

        def add(start: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            block = slice(start, start + block_rows)
            found = self._found(query_embeddings[block], catalogue, candidate_rows[block])
            parts = [tf.linalg.matvec(part, weights[block], transpose_a=True) for part in found]
            return start + block_rows, *(total + part for total, part in zip(sums, parts, strict=True))

        none = tf.zeros_like(self._hits)
        _, hits, gains = tf.while_loop(
            lambda start, *_: start < rows, add, (tf.constant(0), none, none)
        )
        self._hits.assign_add(hits)
        self._gains.assign_add(gains)
        self._count.assign_add(tf.reduce_sum(weights))

    def _found(
        self, query_embeddings: tf.Tensor, catalogue: tf.Tensor, candidate_rows: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """1 where a candidate is among the best k, else 0, and its gain: float32 `[rows, len(ks)]`."""
        scores = best_scores(query_embeddings, catalogue)
        positive = tf.gather(scores, tf.maximum(candidate_rows, 0), batch_dims=1)[:, tf.newaxis]
        # Not `>=`: a NaN compares false, and a model that scores NaN must not win.
        worse = tf.reduce_sum(tf.cast(scores < positive, tf.float32), axis=1, keepdims=True)
        better = tf.shape(catalogue)[0] - tf.cast(worse, tf.int32) - 1
        found = tf.cast((better < self.ks) & (candidate_rows >= 0)[:, tf.newaxis], tf.float32)
        return found, found * np.log(2) / tf.math.log(tf.cast(better, tf.float32) + 2)

    def reset_state(self) -> None:
        for variable in self.variables:  # Keras assigns a scalar 0, which does not fit a vector
            variable.assign(tf.zeros_like(variable))

    def result(self) -> dict[str, tf.Tensor]:
        shares = tf.math.divide_no_nan(self._hits, self._count)
        gains = tf.math.divide_no_nan(self._gains, self._count)
        return {
            **{f"{self.name}/top_{k}_categorical_accuracy": shares[i] for i, k in enumerate(self.ks)},
            **{f"{self.name}/ndcg_{k}": gains[i] for i, k in enumerate(self.ks)},
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ks": list(self.ks)}
