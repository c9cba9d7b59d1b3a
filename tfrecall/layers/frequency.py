"""Streaming frequency estimation: how often ids occur in batches, learned while they pass."""

from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError


@keras.utils.register_keras_serializable(package="tfrecall")
class StreamingFrequency(keras.layers.Layer):
    """Estimates the probability that a batch holds an id, from the steps between the batches that hold it.

    Each id has a bucket in an array of last steps `A` and in one of mean intervals `B`. When a batch of
    step `t` holds it, `B = (1 - rate) B + rate (t - A)` and `A = t`; the probability is `1 / B`. It
    counts *being in a batch*, however often: for an id with the share `p` of the rows, in batches of `b`
    rows, it tends to `1 - (1 - p)^b`, whose logarithm `InBatchSoftmax` subtracts.

    Two ids in one bucket make it look busier than either of them, so intervals only ever come out too
    short: with several hashes the longest interval is nearest to the truth.

    The rate is `alpha`, but never below one over the number of times that the bucket was seen. So an
    estimate starts as the plain mean of its intervals, the first one counted from step 0, and not
    as a mixture with a made-up first value; the paper starts from a constant. An id that was never
    seen in `t` steps is taken to come next, after an interval of `t + 1`.

    Args:
        num_buckets: number of buckets of each hash; a few times the number of ids keeps collisions rare.
        num_hashes: number of independent hashes.
        alpha: the smallest rate. An estimate forgets what is older than about `1 / alpha` of its
            intervals; its relative error settles near `sqrt(alpha / 2)`.

    Call arguments:
        inputs: int or string `[n]`, the ids of a batch; repeated ones count once.
        training: whether the ids are the batch of the next step and are learned from. Without, they
            are only looked up.

    Returns:
        Float32 `[n]`, the probability that a batch holds each id, above 0 and at most 1.

    Example:

    >>> frequency = StreamingFrequency(num_buckets=64)
    >>> for batch in ([1, 2], [1], [1], [1, 2]):
    ...     probability = frequency(tf.constant(batch), training=True)
    >>> frequency(tf.constant([1, 2, 3])).numpy().tolist()  # of 4 batches: all, every 2nd, none
    [1.0, 0.5, 0.20000000298023224]

    Reference:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations",
        RecSys 2019, algorithm 2 and section 4.
    """

    def __init__(
        self, num_buckets: int = 2**17, num_hashes: int = 3, alpha: float = 0.01, **kwargs: Any
    ) -> None:
        # float32 whatever the global policy: intervals of thousands of steps do not fit into
        # bfloat16.
        super().__init__(**{"dtype": "float32", **kwargs})
        if not 1 <= num_buckets <= 2**28:
            raise ConfigError(f"`num_buckets` must be from 1 to 2**28. Received: {num_buckets}.")
        if num_hashes < 1:
            raise ConfigError(f"`num_hashes` must be 1 or more. Received: {num_hashes}.")
        if not 0 < alpha <= 1:
            raise ConfigError(f"`alpha` must be above 0 and at most 1. Received: {alpha}.")
        self.num_buckets = num_buckets
        self.num_hashes = num_hashes
        self.alpha = alpha

    def build(self, input_shape: Any) -> None:
        self.step = self._state("step", tf.int64, [])
        self.last_step = self._state("last_step", tf.int64)
        self.interval = self._state("interval", tf.float32)
        self.times_seen = self._state("times_seen", tf.float32)
        super().build(input_shape)

    def _state(self, name: str, dtype: tf.DType, shape: list[int] | None = None) -> tf.Variable:
        # One flat array holds all hashes, so one gather and one scatter serve them all: hash h has
        # the places from h * num_buckets. Replicas may assign only with an aggregation; the first
        # one's value is kept.
        return self.add_weight(
            name,
            [self.num_hashes * self.num_buckets] if shape is None else shape,
            dtype,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        buckets = self._buckets(inputs)
        # Learned first, so an id of this batch is never taken for one that was not seen.
        if training:
            self._learn(tf.reshape(buckets, [-1]))
        never = tf.cast(self.step + 1, tf.float32)
        seen = tf.gather(self.times_seen, buckets) > 0
        intervals = tf.where(seen, tf.gather(self.interval, buckets), never)
        return 1 / tf.reduce_max(intervals, axis=1)

    def _learn(self, buckets: tf.Tensor) -> None:
        # Ids that share a bucket write the same value, so the order of the writes does not matter.
        self.step.assign_add(1)
        times = tf.gather(self.times_seen, buckets) + 1
        rate = tf.maximum(1 / times, self.alpha)
        passed = tf.cast(self.step - tf.gather(self.last_step, buckets), tf.float32)
        interval = (1 - rate) * tf.gather(self.interval, buckets) + rate * passed
        self.interval.scatter_update(tf.IndexedSlices(interval, buckets))
        self.times_seen.scatter_update(tf.IndexedSlices(times, buckets))
        self.last_step.scatter_update(
            tf.IndexedSlices(tf.fill(tf.shape(buckets), self.step.read_value()), buckets)
        )

    def _buckets(self, ids: tf.Tensor) -> tf.Tensor:
        """Places in the flat state: int64 `[n, num_hashes]`, hash after hash.

        Multiply-shift hashing: the upper half of a product with a random odd number, scaled down to
        the number of buckets.
        """
        # Unsigned: the product wraps around at 2^64 as the hash wants, and the shift moves in zeros,
        # where that of a negative int64 would move in ones.
        keys = tf.bitcast(integer_ids(ids), tf.uint64)[:, tf.newaxis]
        factors = tf.constant(_odd_numbers(self.num_hashes), tf.uint64)
        upper = tf.cast(tf.bitwise.right_shift(keys * factors, tf.constant(32, tf.uint64)), tf.int64)
        # `upper` is below 2^32 and `num_buckets` at most 2^28, so their product fits into int64.
        # Shifted by 32 bits it is a bucket: upper / 2^32 of the way through them.
        starts = tf.range(self.num_hashes, dtype=tf.int64) * self.num_buckets
        return starts + tf.bitwise.right_shift(upper * self.num_buckets, tf.constant(32, tf.int64))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_buckets": self.num_buckets,
            "num_hashes": self.num_hashes,
            "alpha": self.alpha,
        }


def integer_ids(ids: tf.Tensor) -> tf.Tensor:
    """Converts ids to int64; strings are hashed to 64 bits, where collisions are negligible."""
    ids = tf.convert_to_tensor(ids)
    if ids.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(ids, 2**63 - 1)
    return tf.cast(ids, tf.int64)


def _odd_numbers(count: int) -> list[int]:
    """Odd 64-bit numbers from SplitMix64, the same for ever, since saved arrays depend on them."""
    numbers, state, mask = [], 0, 2**64 - 1
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append((mixed ^ (mixed >> 31)) | 1)
    return numbers
