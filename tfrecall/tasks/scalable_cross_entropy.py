"""Scalable cross entropy: for each query the candidates of random buckets that score high with it."""

from typing import Any, NamedTuple

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.errors import ConfigError
from tfrecall.layers.randomness import RandomStream
from tfrecall.tasks.candidates import MASKED
from tfrecall.tasks.full_softmax import FullSoftmax

# Most products of directions with vectors that are held at once: 64 MB.
_PRODUCTS = 2**24


class Buckets(NamedTuple):
    """Queries and candidates that stand together.

    Attributes:
        queries: int32 `[num_buckets, queries]`, rows of the batch, distinct within a bucket.
        candidates: int32 `[num_buckets, candidates]`, rows of the candidates, distinct within a bucket.
    """

    queries: tf.Tensor
    candidates: tf.Tensor


@keras.utils.register_keras_serializable(package="tfrecall")
class ScalableCrossEntropy(keras.layers.Layer):
    """Cross entropy against hard candidates, found in random buckets, for catalogues of 100,000 and more.

    Each bucket has a random direction, new in each step. It takes the queries of the batch and the
    candidates of the catalogue with the largest products with that direction, so they score high with each
    other. A query stands against its positive and the candidates of its bucket; the positive is never among
    its own negatives. Of several buckets that hold a query, the one with the largest loss counts. Queries in
    no bucket count nothing in this step, and the others are weighed up to the weight of the whole batch.

    Memory of a step in floats: `num_buckets x bucket_queries x bucket_candidates` scores, three times with
    their gradient, in the place of `batch_size x candidates`. With the defaults that is 4.2 million (17 MB),
    where a batch of 3,000 and 1,000,000 candidates have 3 billion (12 GB). The choice takes another
    `num_buckets x candidates` multiplications of vectors without gradients, at most 64 MB of them at a time,
    and the vectors of the catalogue. Only positives and chosen candidates get gradients.

    Each query should be in some bucket: `num_buckets x bucket_queries` of two to five times the batch. The
    authors take about twice the square root of the batch for both. Buckets larger than the batch, or than
    the catalogue, hold all of it: one such bucket gives `FullSoftmax`. Validation rows always have the loss of
    `FullSoftmax`. Queries with several interests stand by the vector that is closest to their positive.

    Args:
        num_buckets: number of random directions in a step.
        bucket_queries: queries of each bucket.
        bucket_candidates: candidates of each bucket.
        temperature: scores are divided by it.
        mix: whether directions are random mixtures of the queries of the batch, with their mean and covariance,
            so that they lie where queries lie; else any direction is as likely as any other.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`.
        candidate_embeddings: float `[candidates, embedding_dim]`, the whole catalogue, or with `buckets`
            any candidates that hold the positives and those of the buckets.
        sample_weight: float `[batch_size]`, optional. Queries of weight 0 are in no bucket.
        candidate_rows: int `[batch_size]`, the row of each positive among the candidates; -1 for one that
            is not there, whose loss is 0.
        buckets: those that `choose` gave; None chooses among the candidates.

    Returns:
        The weighted cross entropy of each example, float32 `[batch_size]`; 0 for a query in no bucket.

    Raises:
        ConfigError: if `temperature` is not above 0, or a number below 1.

    Example: one bucket holds both candidates, so the share of the positive is e / (e + 1).

    >>> task = ScalableCrossEntropy(1, bucket_queries=1, bucket_candidates=2)
    >>> catalogue = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    >>> task(catalogue[:1], catalogue, candidate_rows=tf.constant([0])).numpy().round(3)
    array([0.313], dtype=float32)

    Differs from the paper: there the loss is the mean over the queries in buckets; here their weights are
    scaled up, which is the same, so that learning rates of the other losses carry over. Mixtures there have
    no mean: where queries have one, most mixtures lie along it or against it, and choose the same few queries.
    Here candidates are chosen along mean plus mixture, and queries along the mixture. Of 3,000 normal queries
    whose mean is as long as they spread, the defaults so choose 97 % (there 93 %), and the candidates of a
    query hold .99 of the sum of the full softmax (.84); where the mean is three times as long, 97 % (76 %) and
    1.0 (.68).

    Reference:
        Mezentsev et al., "Scalable Cross-Entropy Loss for Sequential Recommendations with Large Item
        Catalogs", RecSys 2024, arXiv 2409.18721, section 3.
    """

    needs_catalogue = True
    takes_interests = False

    def __init__(
        self,
        num_buckets: int = 128,
        bucket_queries: int = 128,
        bucket_candidates: int = 256,
        *,
        temperature: float = 1.0,
        mix: bool = True,
        **kwargs: Any,
    ) -> None:
        # float32 whatever the towers compute in: a sum of exponentials needs the digits.
        super().__init__(**{"dtype": "float32", **kwargs})
        numbers = {
            "num_buckets": num_buckets,
            "bucket_queries": bucket_queries,
            "bucket_candidates": bucket_candidates,
        }
        for name, number in numbers.items():
            if number < 1:
                raise ConfigError(f"`{name}` must be 1 or more. Received: {number}.")
        if not temperature > 0:
            raise ConfigError(f"`temperature` must be above 0. Received: {temperature}.")
        self.num_buckets = num_buckets
        self.bucket_queries = bucket_queries
        self.bucket_candidates = bucket_candidates
        self.temperature = temperature
        self.mix = mix
        self._stream = RandomStream()
        self._full = FullSoftmax(temperature, dtype="float32")

    @property
    def full(self) -> FullSoftmax:
        """The loss of validation rows, which does not depend on a draw."""
        return self._full

    def build(self, input_shape: Any = None) -> None:
        """Makes the state of the random numbers, a weight, which a checkpoint holds."""
        self._stream.build(None)
        super().build(input_shape)

    @without_autograph
    def choose(self, queries: tf.Tensor, candidates: tf.Tensor, counts: tf.Tensor) -> Buckets:
        """Draw directions, and take the queries and candidates that lie farthest along each.

        Args:
            queries: float `[batch_size, embedding_dim]`.
            candidates: float `[candidates, embedding_dim]`, the whole catalogue.
            counts: bool `[batch_size]`; other queries come last, and only where there are too few.
        """
        queries = tf.stop_gradient(tf.cast(queries, tf.float32))
        candidates = tf.stop_gradient(tf.cast(candidates, tf.float32))
        for_queries, for_candidates = self._directions(queries, tf.cast(counts, tf.float32))
        without = tf.where(counts, 0.0, tf.constant(MASKED))
        return Buckets(
            farthest(for_queries, queries, self.bucket_queries, without),
            farthest(for_candidates, candidates, self.bucket_candidates),
        )

    def _directions(self, queries: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Directions of the buckets among queries and among candidates: float `[num_buckets, dim]` each."""
        seed, shape = self._stream.next_seed(), tf.shape(queries)
        if not self.mix:
            directions = tf.random.stateless_normal([self.num_buckets, shape[1]], seed)
            return directions, directions
        total = tf.maximum(tf.reduce_sum(counts), 1)
        mean = tf.reduce_sum(queries * counts[:, tf.newaxis], axis=0) / total
        apart = (queries - mean) * counts[:, tf.newaxis]
        mixing = tf.random.stateless_normal([self.num_buckets, shape[0]], seed) / tf.sqrt(total)
        mixtures = tf.matmul(mixing, apart)
        # Queries differ by what is left without their mean; their scores of candidates hold it.
        return mixtures, mean + mixtures

    @without_autograph
    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        *,
        candidate_rows: tf.Tensor,
        buckets: Buckets | None = None,
    ) -> tf.Tensor:
        queries = tf.cast(query_embeddings, tf.float32) / self.temperature
        candidates = tf.cast(candidate_embeddings, tf.float32)
        weights = tf.cast(candidate_rows >= 0, tf.float32)
        if sample_weight is not None:
            weights *= tf.cast(sample_weight, tf.float32)
        if buckets is None:
            buckets = self.choose(queries, candidates, weights > 0)
        positives = tf.gather(candidates, tf.maximum(candidate_rows, 0))
        others = largest_sums(queries, candidates, candidate_rows, buckets)
        # -log of the positive's share: log(exp(p) + exp(others)) - p. It grows with the others, so the largest
        # loss is that of the largest sum.
        losses = tf.math.softplus(others - tf.reduce_sum(queries * positives, axis=1))
        chosen = tf.scatter_nd(
            tf.reshape(buckets.queries, [-1, 1]),
            tf.ones([tf.size(buckets.queries)]),
            tf.shape(weights),
        )
        learned = weights * tf.cast(chosen > 0, tf.float32)
        scale = tf.math.divide_no_nan(tf.reduce_sum(weights), tf.reduce_sum(learned))
        return losses * learned * scale

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_buckets": self.num_buckets,
            "bucket_queries": self.bucket_queries,
            "bucket_candidates": self.bucket_candidates,
            "temperature": self.temperature,
            "mix": self.mix,
        }


def largest_sums(
    queries: tf.Tensor, candidates: tf.Tensor, candidate_rows: tf.Tensor, buckets: Buckets
) -> tf.Tensor:
    """log sum_j exp(q_i . c_j) over the candidates of a bucket but the positive, the largest of all buckets.

    Args:
        queries: float `[n, embedding_dim]`.
        candidates: float `[m, embedding_dim]`.
        candidate_rows: int `[n]`, the positive of each query.
        buckets: rows of both.

    Returns:
        Float `[n]`; a large negative number for a query in no bucket, or with no other candidate there.
    """
    here, there = tf.gather(queries, buckets.queries), tf.gather(candidates, buckets.candidates)
    scores = tf.matmul(here, there, transpose_b=True)
    own = tf.gather(tf.cast(candidate_rows, tf.int32), buckets.queries)
    is_own = own[:, :, tf.newaxis] == buckets.candidates[:, tf.newaxis]
    scores = tf.where(is_own, tf.constant(MASKED), scores)
    sums = tf.reshape(tf.reduce_logsumexp(scores, axis=2), [-1])
    owners = tf.reshape(buckets.queries, [-1])
    return tf.maximum(tf.math.unsorted_segment_max(sums, owners, tf.shape(queries)[0]), MASKED)


def farthest(
    directions: tf.Tensor, vectors: tf.Tensor, count: int, added: tf.Tensor | float = 0.0
) -> tf.Tensor:
    """Rows of the vectors with the largest products with each direction, in no order.

    Args:
        directions: float `[n, embedding_dim]`.
        vectors: float `[m, embedding_dim]`.
        count: number of rows; all of fewer vectors.
        added: float `[m]`, added to the products.

    Returns:
        Int32 `[n, min(count, m)]`.
    """
    rows = tf.shape(vectors)[0]
    count, number = tf.minimum(count, rows), tf.shape(directions)[0]
    # Some directions at a time: products of all of them with a large catalogue would fill the memory.
    at_once = tf.maximum(_PRODUCTS // rows, 1)

    def add(start: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        products = tf.matmul(directions[start : start + at_once], vectors, transpose_b=True) + added
        best = tf.math.top_k(products, count, sorted=False).indices
        return start + at_once, tf.concat([found, best], axis=0)

    _, found = tf.while_loop(
        lambda start, _: start < number,
        add,
        (0, tf.zeros([0, count], tf.int32)),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None])),
        parallel_iterations=1,
    )
    return found
