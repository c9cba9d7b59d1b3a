"""AUC over pairs of a positive and negatives that were drawn for it, while a model is validated."""

from typing import Any

from tfrecall._keras import keras, tf, without_autograph

# A bin holds the scores of one sign, one exponent from -16 to 15 and the first 10 bits of the mantissa:
# scores that differ by more than a thousandth are in different bins. 1 MB, whatever is measured.
_MANTISSA_BITS, _SMALLEST, _EXPONENTS = 10, 2.0**-16, 32
_SIDE = _EXPONENTS << _MANTISSA_BITS


@keras.utils.register_keras_serializable(package="tfrecall")
class PairAUC(keras.metrics.Metric):
    """How often a positive scores above a negative, over all pairs (`auc`) and within each query (`gauc`).

    `auc` compares each positive with the negatives of all queries. Scores are counted in bins that are as
    fine as a thousandth of the score, and those of one bin are ties, which count half; `tfrecall.metrics.auc`
    is the same number without bins.

    `gauc` compares each positive with its own negatives only, exactly. Where all negatives of a user are
    drawn alike, as validation draws them, its expectation is that of `tfrecall.metrics.gauc`, the
    AUC of each user weighted by the user's positives, which pools the negatives of a user's rows.

    A query without negatives counts in neither.

    Reference:
        Zhu et al., "Optimized Cost per Click in Taobao Display Advertising", KDD 2017, section 4.3, on GAUC.
    """

    def __init__(self, name: str = "pair_auc", **kwargs: Any) -> None:
        # Counts add up to more than float32 holds exactly.
        super().__init__(name=name, **{"dtype": "float64", **kwargs})
        bins = 2 * _SIDE + 1
        self._positives = self.add_weight("positives", shape=[bins], initializer="zeros")
        self._negatives = self.add_weight("negatives", shape=[bins], initializer="zeros")
        self._ahead = self.add_weight("ahead", initializer="zeros")
        self._count = self.add_weight("count", initializer="zeros")

    @without_autograph
    def update_state(
        self,
        positives: tf.Tensor,
        negatives: tf.Tensor,
        counts: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> None:
        """Takes in a batch.

        Args:
            positives: float `[n]`, scores.
            negatives: float `[n, columns]`.
            counts: bool `[n, columns]`, which of them there are.
            sample_weight: float `[n]`, optional.
        """
        weights = tf.ones_like(positives) if sample_weight is None else sample_weight
        weights = tf.cast(weights, tf.float64) * tf.cast(tf.reduce_any(counts, axis=1), tf.float64)
        each = tf.cast(counts, tf.float64) * weights[:, tf.newaxis]
        self._positives.assign_add(_histogram(positives, weights))
        self._negatives.assign_add(_histogram(negatives, each))
        own = positives[:, tf.newaxis]
        wins = tf.cast(negatives < own, tf.float64) + tf.cast(negatives == own, tf.float64) / 2
        shares = tf.math.divide_no_nan(tf.reduce_sum(wins * each, axis=1), tf.reduce_sum(each, axis=1))
        self._ahead.assign_add(tf.reduce_sum(shares * weights))
        self._count.assign_add(tf.reduce_sum(weights))

    def result(self) -> dict[str, tf.Tensor]:
        below = tf.cumsum(self._negatives, exclusive=True) + self._negatives / 2
        pairs = tf.reduce_sum(self._positives) * tf.reduce_sum(self._negatives)
        return {
            "auc": tf.math.divide_no_nan(tf.reduce_sum(self._positives * below), pairs),
            "gauc": tf.math.divide_no_nan(self._ahead, self._count.read_value()),
        }

    def reset_state(self) -> None:
        for variable in self.variables:  # Keras assigns a scalar 0, which does not fit a vector
            variable.assign(tf.zeros_like(variable))


def _histogram(scores: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The weight in each bin: float64 `[bins]`."""
    places, flat = tf.reshape(bins_of(scores), [-1]), tf.reshape(weights, [-1])
    return tf.math.unsorted_segment_sum(flat, places, 2 * _SIDE + 1)


def bins_of(scores: tf.Tensor) -> tf.Tensor:
    """The bin of each float32 score: int32, of the same shape; higher scores are never in a lower bin."""
    # The bits of a positive float, read as a whole number, are in the order of the floats.
    bits = tf.bitcast(tf.abs(tf.cast(scores, tf.float32)), tf.int32)
    start = tf.bitcast(tf.constant(_SMALLEST), tf.int32)
    steps = tf.bitwise.right_shift(bits - start, 23 - _MANTISSA_BITS) + 1
    steps = tf.where(bits < start, 0, tf.minimum(steps, _SIDE))
    return _SIDE + tf.where(scores < 0, -steps, steps)
