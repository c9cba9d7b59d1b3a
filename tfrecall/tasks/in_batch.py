"""Softmax over the candidates of the batch."""

from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError

# Scores of what may not count: small enough for exp() to be 0, large enough to be added to.
MASKED = -1e9


@keras.utils.register_keras_serializable(package="tfrecall")
class InBatchSoftmax(keras.layers.Layer):
    """Each query has to find its own candidate among the distinct candidates of the batch.

    Called like `tfrs.tasks.Retrieval`. Two things differ. Each distinct candidate is scored once, so a
    candidate that several queries share is never a negative of its own queries (no accidental hits) and
    the matrix is smaller. And the correction fits that: with probabilities `p`, a distinct candidate
    stands in a batch of `b` with probability `q = 1 - (1 - p)^b`, so `log q` is subtracted from its
    logit; for rare candidates this is `log p` plus a constant, the correction of Yi et al.

    Args:
        temperature: scores are divided by it first, before anything is subtracted.
        num_hard_negatives: keep this many negatives a query, those with the largest logits; all when
            None.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`.
        candidate_embeddings: float `[batch_size, embedding_dim]`, row i is the positive of query i.
        sample_weight: float `[batch_size]`, optional.
        candidate_sampling_probability: float `[batch_size]`, the share of the training rows that hold
            this candidate; without it nothing is corrected.
        candidate_ids: int or string `[batch_size]`, required.

    Returns:
        The weighted cross entropy of each example, float `[batch_size]`. Sum it for a gradient, divide
        by the sum of the weights for a mean.

    Reference:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations",
        RecSys 2019, section 3.
    """

    needs_catalogue = False

    def __init__(
        self, temperature: float = 1.0, num_hard_negatives: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if temperature <= 0:
            raise ConfigError(f"`temperature` must be above 0. Received: {temperature}.")
        if num_hard_negatives is not None and num_hard_negatives < 1:
            raise ConfigError(
                f"`num_hard_negatives` must be 1 or more. Received: {num_hard_negatives}."
            )
        self.temperature = temperature
        self.num_hard_negatives = num_hard_negatives

    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        candidate_sampling_probability: tf.Tensor | None = None,
        candidate_ids: tf.Tensor | None = None,
    ) -> tf.Tensor:
        if candidate_ids is None:
            raise ConfigError(
                "`InBatchSoftmax` needs `candidate_ids` to tell which candidates of the batch are the "
                "same. Received: None."
            )
        distinct, labels = tf.unique(candidate_ids)
        first = tf.math.unsorted_segment_min(
            tf.range(tf.shape(labels)[0]), labels, tf.shape(distinct)[0]
        )
        candidates = tf.gather(candidate_embeddings, first)
        logits = tf.matmul(query_embeddings, candidates, transpose_b=True) / self.temperature
        if candidate_sampling_probability is not None:
            probability = tf.gather(candidate_sampling_probability, first)
            logits -= _log_inclusion_probability(probability, tf.size(labels))
        if self.num_hard_negatives is not None:
            logits = keep_hard_negatives(logits, labels, self.num_hard_negatives)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return losses if sample_weight is None else losses * tf.cast(sample_weight, losses.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "num_hard_negatives": self.num_hard_negatives,
        }


def keep_hard_negatives(logits: tf.Tensor, labels: tf.Tensor, count: int) -> tf.Tensor:
    """Masks all but the positive and the `count` largest other logits of each row.

    Args:
        logits: float `[n, candidates]`.
        labels: int `[n]`, the column of each positive.
        count: negatives to keep; more than there are keeps all.
    """
    columns = tf.range(tf.shape(logits)[1], dtype=labels.dtype)
    positive = tf.equal(labels[:, tf.newaxis], columns)
    negatives = tf.where(positive, logits.dtype.min, logits)
    kept = tf.minimum(count, tf.shape(logits)[1])
    threshold = tf.math.top_k(negatives, kept).values[:, -1:]
    return tf.where(positive | (negatives >= threshold), logits, MASKED)


def _log_inclusion_probability(probability: tf.Tensor, batch_size: tf.Tensor) -> tf.Tensor:
    """log(1 - (1 - p)^b), exact for small p."""
    # A candidate unseen in training has p = 0; 1e-12 keeps its logarithm finite.
    probability = tf.clip_by_value(tf.cast(probability, tf.float32), 1e-12, 1 - 1e-7)
    draws = tf.cast(batch_size, tf.float32)
    return tf.math.log(-tf.math.expm1(draws * tf.math.log1p(-probability)))
