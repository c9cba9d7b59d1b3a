"""Softmax over the whole catalogue."""

import functools
from typing import Any

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.interests import apart, closest, to_the_first_largest, together


@keras.utils.register_keras_serializable(package="tfrecall")
class FullSoftmax(keras.layers.Layer):
    """Cross entropy over the whole catalogue: nothing is sampled, nothing biased.

    The step embeds the catalogue once and needs `batch_size x candidates` multiplications, which up to
    some ten thousand candidates costs less than the quality that sampling loses. A catalogue larger
    than `block_size` is scored block by block, and again in the gradient, so memory stays at
    `batch_size x block_size` floats.

    A query with several vectors scores each candidate by the best of them, as in serving. With `m` vectors
    a step takes `m` times the multiplications.

    Args:
        temperature: scores are divided by it.
        block_size: candidates scored at a time.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`, or
            `[batch_size, interests, embedding_dim]`.
        candidate_embeddings: float `[candidates, embedding_dim]`, the whole catalogue.
        sample_weight: float `[batch_size]`, optional.
        candidate_rows: int `[batch_size]`, the row of each positive in the catalogue; -1 for a
            candidate that is not in it, whose loss is 0.

    Returns:
        The weighted cross entropy of each example, float `[batch_size]`.

    Raises:
        ConfigError: if `temperature` is not above 0 or `block_size` below 1.

    Example: the candidate scores 1 and the other 0, so its share is e / (e + 1).

    >>> catalogue = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    >>> FullSoftmax()(catalogue[:1], catalogue, candidate_rows=tf.constant([0])).numpy().round(3)
    array([0.313], dtype=float32)
    """

    needs_catalogue = True
    takes_interests = True

    def __init__(self, temperature: float = 1.0, block_size: int = 16_384, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if temperature <= 0:
            raise ConfigError(f"`temperature` must be above 0. Received: {temperature}.")
        if block_size < 1:
            raise ConfigError(f"`block_size` must be 1 or more. Received: {block_size}.")
        self.temperature = temperature
        self.block_size = block_size

    @without_autograph
    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        *,
        candidate_rows: tf.Tensor,
    ) -> tf.Tensor:
        queries = query_embeddings / self.temperature
        # -1 is no row to gather; any will do, as the loss of such a query is multiplied by 0 below.
        rows = tf.maximum(candidate_rows, 0)
        targets = tf.gather(candidate_embeddings, rows)
        positives = tf.reduce_sum(closest(queries, targets) * targets, axis=1)
        losses = log_sum_exp(queries, candidate_embeddings, self.block_size) - positives
        losses *= tf.cast(candidate_rows >= 0, losses.dtype)
        return losses if sample_weight is None else losses * tf.cast(sample_weight, losses.dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "temperature": self.temperature, "block_size": self.block_size}


@tf.custom_gradient
def log_sum_exp(queries: tf.Tensor, candidates: tf.Tensor, block_size: int) -> Any:
    """log sum_j exp(q_i . c_j) of each query, without holding all the scores at once.

    A query with several vectors scores a candidate by the largest of their products with it.

    Args:
        queries: float `[n, embedding_dim]` or `[n, interests, embedding_dim]`.
        candidates: float `[m, embedding_dim]`.
        block_size: columns held at a time, in the value and in the gradient.

    Returns:
        Float `[n]`.
    """
    count = tf.shape(candidates)[0]
    blocks = -(-count // block_size)
    vectors = apart(queries)

    # The last block may be shorter: slices end with the catalogue.
    def of_block(block: tf.Tensor) -> tf.Tensor:
        return candidates[block * block_size : (block + 1) * block_size]

    def products(block: tf.Tensor) -> list[tf.Tensor]:
        return [tf.matmul(vector, of_block(block), transpose_b=True) for vector in vectors]

    def add(block: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = functools.reduce(tf.maximum, products(block))
        # log(exp(a) + exp(b)) without overflow; the first total is log 0 = -inf.
        both = tf.stack([total, tf.reduce_logsumexp(logits, axis=1)])
        return block + 1, tf.reduce_logsumexp(both, axis=0)

    start = tf.fill(tf.shape(queries)[:1], tf.constant(float("-inf"), queries.dtype))
    _, total = tf.while_loop(
        lambda block, _: block < blocks,
        add,
        (0, start),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
        # One block at a time: iterations in parallel would hold the scores of several blocks.
        parallel_iterations=1,
    )

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None]:
        def block_gradient(
            block: tf.Tensor, for_candidates: tf.TensorArray, *for_vectors: tf.Tensor
        ) -> tuple[Any, ...]:
            # Computed again: scores kept from the forward pass would fill the memory that blocks
            # save.
            scores = products(block)
            logits = functools.reduce(tf.maximum, scores)
            # The derivative of log sum exp by a logit is its softmax, exp(logit - log sum).
            softmax = tf.exp(logits - total[:, tf.newaxis]) * upstream[:, tf.newaxis]
            shares = to_the_first_largest(softmax, scores)
            learned = [tf.matmul(s, v, transpose_a=True) for s, v in zip(shares, vectors, strict=True)]
            for_candidates = for_candidates.write(block, functools.reduce(tf.add, learned))
            columns = of_block(block)
            more = (g + tf.matmul(s, columns) for g, s in zip(for_vectors, shares, strict=True))
            return block + 1, for_candidates, *more

        # One piece a block, of `block_size` rows or fewer in the last, so no common shape is
        # inferred.
        pieces = tf.TensorArray(
            queries.dtype, size=blocks, infer_shape=False, element_shape=[None, queries.shape[-1]]
        )
        _, pieces, *for_vectors = tf.while_loop(
            lambda block, *_: block < blocks,
            block_gradient,
            (0, pieces, *map(tf.zeros_like, vectors)),
            parallel_iterations=1,
        )
        return together(for_vectors, queries), pieces.concat(), None

    return total, gradient
