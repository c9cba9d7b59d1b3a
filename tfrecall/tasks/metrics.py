"""Keras metrics of validation: exact top-K hit rate and NDCG, AUC of clicks and over pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.layers.encoders.interests import best_scores

# Queries scored at a time: 512 rows of 2,000 float32 scores stay in a processor's cache, which makes
# counting a third faster.
_BLOCK_ROWS = 512
# List lengths of validation.
KS = (1, 5, 10, 50, 100)


@keras.utils.register_keras_serializable(package="tfrecall")
class ExactTopK(keras.metrics.Metric):
    """Hit rate and NDCG at k over the whole catalogue.

    Reports `hit_rate@100`, which TFRS calls `factorized_top_k/top_100_categorical_accuracy`, and
    `ndcg@100`: a hit at rank r, from 0, counts 1 / log2(r + 2). The positive's score comes out of the same
    matrix product as all others. Ties count against the positive, and a positive outside the catalogue is
    a miss. Seen items stay in the lists, as in TFRS; `tfrecall.evaluate` measures both ways.

    Args:
        ks: the list lengths.

    Example: the first query ranks its candidate first, the second one last.

    >>> metric = ExactTopK(ks=[1, 2])
    >>> catalogue = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    >>> metric.update_state(tf.constant([[2.0, 1.0], [2.0, 1.0]]), catalogue, tf.constant([0, 1]))
    >>> float(metric.result()["hit_rate@1"])
    0.5
    """

    def __init__(self, ks: Sequence[int] = KS, name: str = "exact_top_k", **kwargs: Any) -> None:
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
                `[batch_size, interests, embedding_dim]`: the best vector scores each candidate.
            catalogue: float `[candidates, embedding_dim]`.
            candidate_rows: int `[batch_size]`, -1 for a candidate that is not in the catalogue.
            sample_weight: float `[batch_size]`, optional.
        """
        if sample_weight is None:
            sample_weight = tf.ones_like(candidate_rows, tf.float32)
        weights = tf.cast(sample_weight, tf.float32)
        rows = tf.shape(candidate_rows)[0]
        vectors = query_embeddings.shape[1] if query_embeddings.shape.rank == 3 else 1
        # Each vector of a query makes a row of scores of its own.
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
        """Hits, 1 or 0, and gains of the positives for each k: float32 `[rows, len(ks)]` each."""
        scores = best_scores(query_embeddings, catalogue)
        positive = tf.gather(scores, tf.maximum(candidate_rows, 0), batch_dims=1)[:, tf.newaxis]
        # All candidates that do not score below the positive are better, but for itself: ties count
        # against it, and NaN, which compares false, does not win.
        worse = tf.reduce_sum(tf.cast(scores < positive, tf.float32), axis=1, keepdims=True)
        better = tf.shape(catalogue)[0] - tf.cast(worse, tf.int32) - 1
        found = tf.cast((better < self.ks) & (candidate_rows >= 0)[:, tf.newaxis], tf.float32)
        # 1 / log2(rank + 2), in natural logarithms: TensorFlow has no other.
        return found, found * np.log(2) / tf.math.log(tf.cast(better, tf.float32) + 2)

    def reset_state(self) -> None:
        for variable in self.variables:  # Keras assigns a scalar 0, which does not fit a vector
            variable.assign(tf.zeros_like(variable))

    @without_autograph
    def result(self) -> dict[str, tf.Tensor]:
        shares = tf.math.divide_no_nan(self._hits, self._count)
        gains = tf.math.divide_no_nan(self._gains, self._count)
        return {
            **{f"hit_rate@{k}": shares[i] for i, k in enumerate(self.ks)},
            **{f"ndcg@{k}": gains[i] for i, k in enumerate(self.ks)},
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ks": list(self.ks)}


# Rows that wait until they are joined with all others: a join copies all, and a step only these.
_WAITING = 1 << 17


@keras.utils.register_keras_serializable(package="tfrecall")
class ExactAUC(keras.metrics.Metric):
    """AUC of all rows since the last reset: how often a positive scores above a negative.

    Equal scores count half, and nothing is rounded to thresholds or bins: it is
    `tfrecall.evaluation.metrics.auc`, with weights. `keras.metrics.AUC` compares the probabilities of clicks
    with 200 thresholds, and where clicks are rare all of them lie below the first.

    Scores are kept, 8 bytes a row, and sorted by `result`, so that belongs at the end of a validation and not
    in each step. Without positives or without negatives the result is 0.

    Call arguments:
        y_true: float `[n]` or `[n, 1]`, above 0 for positives.
        y_pred: scores of any scale, of the same shape.
        sample_weight: float `[n]`, optional.

    Example:

    >>> metric = ExactAUC()
    >>> metric.update_state(tf.constant([1.0, 1.0, 0.0, 0.0]), tf.constant([3.0, 1.0, 1.0, 0.0]))
    >>> float(metric.result())  # 3 > 1, 3 > 0, 1 = 1, 1 > 0
    0.875
    """

    def __init__(self, name: str = "auc", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        # Scores and weights of positives, then of negatives: those joined already, and those that wait.
        self._joined = [_rows(), _rows()]
        self._waiting = [_rows(), _rows()]

    @without_autograph
    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        scores = tf.cast(tf.reshape(y_pred, [-1]), tf.float32)
        weights = tf.ones_like(scores) if sample_weight is None else tf.reshape(sample_weight, [-1])
        rows = tf.stack([scores, tf.cast(weights, tf.float32)], axis=1)
        positive = tf.reshape(y_true, [-1]) > 0
        for side, of_side in enumerate((positive, ~positive)):
            self._add(self._joined[side], self._waiting[side], tf.boolean_mask(rows, of_side))

    @staticmethod
    def _add(joined: tf.Variable, waiting: tf.Variable, rows: tf.Tensor) -> None:
        together = tf.concat([waiting, rows], axis=0)

        def join() -> tf.Tensor:
            joined.assign(tf.concat([joined, together], axis=0))
            return together[:0]

        waiting.assign(tf.cond(tf.shape(together)[0] > _WAITING, join, lambda: together))

    @without_autograph
    def result(self) -> tf.Tensor:
        positives, negatives = (
            tf.concat([*_all(self._joined[side]), *_all(self._waiting[side])], axis=0)
            for side in (0, 1)
        )
        order = tf.argsort(negatives[:, 0])
        scores = tf.gather(negatives[:, 0], order)
        below = tf.cumsum(tf.cast(tf.gather(negatives[:, 1], order), tf.float64))
        below = tf.concat([[tf.zeros([], tf.float64)], below], axis=0)
        # Negatives strictly below count 1, equal ones 1 / 2, which is half the sum of both searches.
        wins = tf.gather(below, tf.searchsorted(scores, positives[:, 0], side="left"))
        wins += tf.gather(below, tf.searchsorted(scores, positives[:, 0], side="right"))
        weights = tf.cast(positives[:, 1], tf.float64)
        pairs = tf.reduce_sum(weights) * below[-1]
        return tf.cast(tf.math.divide_no_nan(tf.reduce_sum(weights * wins) / 2, pairs), tf.float32)

    def reset_state(self) -> None:
        for variable in [*self._joined, *self._waiting]:
            variable.assign(tf.zeros([0, 2]))


def _rows() -> tf.Variable:
    """A variable of rows of two numbers; each replica of a strategy has its own."""
    return tf.Variable(
        tf.zeros([0, 2]),
        shape=[None, 2],
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def _all(variable: tf.Variable) -> Sequence[tf.Tensor]:
    """The rows of all replicas: a sum of them, as a strategy reads a variable, means nothing."""
    return tf.distribute.get_strategy().experimental_local_results(variable)


# A bin holds the scores of one sign, one exponent from -16 to 15 and the first 10 bits of the mantissa:
# scores that differ by more than a thousandth are in different bins. 1 MB, whatever is measured.
_MANTISSA_BITS, _SMALLEST, _EXPONENTS = 10, 2.0**-16, 32
_SIDE = _EXPONENTS << _MANTISSA_BITS


@keras.utils.register_keras_serializable(package="tfrecall")
class PairAUC(keras.metrics.Metric):
    """AUC over all pairs (`auc`) and within each query (`gauc`): how often a positive scores above a negative.

    `auc` compares each positive with the negatives of all queries. Scores are counted in bins as fine as a
    thousandth of the score, and ties, scores of one bin, count half; `tfrecall.evaluation.metrics.auc` is
    the same number without bins.

    `gauc` compares each positive with its own negatives only, exactly. Where all negatives of a user are
    drawn alike, as validation draws them, its expectation is that of `tfrecall.evaluation.metrics.gauc`,
    the AUC of each user weighted by the user's positives.

    Queries without negatives count in neither.

    Example: the first positive is above both of its negatives, the second above one of two.

    >>> metric = PairAUC()
    >>> negatives = tf.constant([[1.0, 2.0], [0.0, 9.0]])
    >>> metric.update_state(tf.constant([3.0, 5.0]), negatives, tf.ones([2, 2], tf.bool))
    >>> {name: float(value) for name, value in metric.result().items()}  # 6 of 8 pairs; (1 + 1/2) / 2
    {'auc': 0.75, 'gauc': 0.75}

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
        """Adds a batch.

        Args:
            positives: scores, float `[n]`.
            negatives: scores, float `[n, columns]`.
            counts: bool `[n, columns]`, which of the negatives count.
            sample_weight: float `[n]`, optional.
        """
        weights = tf.ones_like(positives) if sample_weight is None else sample_weight
        # A query without negatives is in no pair: its positive must not count in the histogram
        # either.
        weights = tf.cast(weights, tf.float64) * tf.cast(tf.reduce_any(counts, axis=1), tf.float64)
        each = tf.cast(counts, tf.float64) * weights[:, tf.newaxis]
        self._positives.assign_add(_histogram(positives, weights))
        self._negatives.assign_add(_histogram(negatives, each))
        own = positives[:, tf.newaxis]
        wins = tf.cast(negatives < own, tf.float64) + tf.cast(negatives == own, tf.float64) / 2
        shares = tf.math.divide_no_nan(tf.reduce_sum(wins * each, axis=1), tf.reduce_sum(each, axis=1))
        self._ahead.assign_add(tf.reduce_sum(shares * weights))
        self._count.assign_add(tf.reduce_sum(weights))

    @without_autograph
    def result(self) -> dict[str, tf.Tensor]:
        # Negatives in lower bins lose to a positive, those in its own bin count half.
        below = tf.cumsum(self._negatives, exclusive=True) + self._negatives / 2
        pairs = tf.reduce_sum(self._positives) * tf.reduce_sum(self._negatives)
        return {
            "auc": tf.math.divide_no_nan(tf.reduce_sum(self._positives * below), pairs),
            "gauc": tf.math.divide_no_nan(self._ahead, tf.identity(self._count)),
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
    # Dropping all but the first 10 of 23 bits of mantissa makes one step a bin. The step 0 is for
    # scores nearer to 0 than the smallest, the last for those beyond the largest exponent.
    start = tf.bitcast(tf.constant(_SMALLEST), tf.int32)
    steps = tf.bitwise.right_shift(bits - start, 23 - _MANTISSA_BITS) + 1
    steps = tf.where(bits < start, 0, tf.minimum(steps, _SIDE))
    # The bin in the middle is that of 0; negative scores mirror the positive ones below it.
    return _SIDE + tf.where(scores < 0, -steps, steps)
