"""Ranking tasks: ratings by squared error, clicks by cross entropy, lists by listwise softmax."""

import math
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf, tfrs, without_autograph
from tfrecall.errors import ConfigError
from tfrecall.schema.labels import Gain, Kind
from tfrecall.tasks.metrics import ExactAUC


@keras.utils.register_keras_serializable(package="tfrecall")
class Ratings(tfrs.tasks.Ranking):
    """Rating prediction: mean squared error, with the metrics `rmse` and `mae`.

    A `tfrs.tasks.Ranking`.

    Call arguments:
        labels: float `[n, 1]`.
        predictions: float `[n, 1]`.
        sample_weight: float `[n]`, optional.

    Returns:
        The mean loss of the batch.

    Example:

    >>> task = Ratings()
    >>> float(task(labels=tf.constant([[4.0], [2.0]]), predictions=tf.constant([[3.0], [2.0]])))
    0.5
    """

    monitor = "rmse"
    kind: Kind = "rating"
    needs_lists = False

    def __init__(self, name: str = "ratings") -> None:
        super().__init__(
            loss=keras.losses.MeanSquaredError(),
            metrics=[
                keras.metrics.RootMeanSquaredError(name="rmse"),
                keras.metrics.MeanAbsoluteError(name="mae"),
            ],
            name=name,
        )

    def offset(self, labels: np.ndarray) -> float:
        """The constant score with the least loss over all rows: their mean."""
        return float(labels.mean())

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


@keras.utils.register_keras_serializable(package="tfrecall")
class Clicks(tfrs.tasks.Ranking):
    """Click prediction: binary cross entropy, with the metric `auc` of evaluation.

    A `tfrs.tasks.Ranking`. The score is the logit; `tf.sigmoid(score)` is the probability. The AUC is exact
    (`ExactAUC`), and not measured where `training` is true.

    Call arguments:
        labels: float `[n, 1]`, 0 or 1.
        predictions: logits, float `[n, 1]`.
        sample_weight: float `[n]`, optional.

    Returns:
        The mean loss of the batch.

    Example: logits of 0 are probabilities of 1/2, so the loss is log 2.

    >>> loss = Clicks()(labels=tf.constant([[1.0], [0.0]]), predictions=tf.zeros([2, 1]))
    >>> round(float(loss), 3)
    0.693
    """

    monitor = "auc"
    kind: Kind = "click"
    needs_lists = False

    def __init__(self, name: str = "clicks") -> None:
        super().__init__(
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[ExactAUC(name="auc")],
            name=name,
        )

    @without_autograph
    def call(
        self,
        labels: tf.Tensor,
        predictions: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        training: bool = False,
        compute_metrics: bool = True,
    ) -> tf.Tensor:
        return super().call(
            labels, predictions, sample_weight, training, compute_metrics and not training
        )

    def offset(self, labels: np.ndarray) -> float:
        """The constant score with the least loss over all rows: their log-odds."""
        share = labels.mean()
        return math.log(share / (1 - share))

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


@keras.utils.register_keras_serializable(package="tfrecall")
class Lists(keras.layers.Layer):
    """Listwise ranking: cross entropy between the softmax of a list's scores and its shares of gain.

    Rows with the same value of the column `group` are one list: those of a user, of a session. The target
    share of a row is its gain over the sum of the list's gains. The loss is the mean over lists; lists of
    one row, or without any gain, have no order and do not count. Only differences within a list matter,
    so scores of different lists cannot be compared.

    Args:
        group: the column of the log that names the list of a row.
        gain: gain of a label: `linear`, the label itself, or `exponential`, 2^label - 1.
        k: length of the lists that `ndcg` is measured over.

    Call arguments:
        labels, predictions: float `[n, 1]`; labels are 0 or more.
        groups: int `[n]`, the list of each row.
        sample_weight: float `[n]`, multiplies gains.

    Example: one list whose gains are 1 and 0, scored alike, so the loss is log 2.

    >>> task = Lists(gain="linear")
    >>> loss = task(tf.constant([[1.0], [0.0]]), tf.zeros([2, 1]), groups=tf.constant([7, 7]))
    >>> round(float(loss), 3)
    0.693

    References:
        Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007; Bruch et
        al., "An Analysis of the Softmax Cost Function for Learning to Rank", ICTIR 2019.
    """

    monitor = "ndcg"
    kind: Kind = "list"
    needs_lists = True

    def __init__(
        self, group: str = "user_id", gain: Gain = "exponential", k: int = 10, **kwargs: Any
    ) -> None:
        # A name of its own, so that two models of one configuration are equal.
        super().__init__(**{"dtype": "float32", "name": "lists", **kwargs})
        if gain not in ("linear", "exponential"):
            raise ConfigError(f"`gain` is linear or exponential. Received: {gain!r}.")
        self.group = group
        self.gain = gain
        self.k = k
        self._ndcg = keras.metrics.Mean(name="ndcg")

    def offset(self, labels: np.ndarray) -> float:
        """Zero: a constant orders nothing."""
        return 0.0

    @without_autograph
    def call(
        self,
        labels: tf.Tensor,
        predictions: tf.Tensor,
        groups: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
        training: bool = False,
        compute_metrics: bool = True,
    ) -> tf.Tensor:
        if groups is None:
            raise ConfigError(
                "`Lists` orders the rows of lists, so it needs `groups`, which say the list of each row. "
                f'Give batches the column "{self.group}". Received: None.'
            )
        scores, lists = tf.reshape(predictions, [-1]), _ListRows.of(groups)
        gains = self.gains(tf.reshape(labels, [-1]))
        if sample_weight is not None:
            gains *= tf.reshape(sample_weight, [-1])
        if compute_metrics:
            values, counts = lists.ndcg(scores, gains, self.k)
            self._ndcg.update_state(values, sample_weight=tf.cast(counts, tf.float32))
        return self._loss(scores, gains, lists)

    def counted(self, labels: tf.Tensor, groups: tf.Tensor) -> tf.Tensor:
        """Number of lists of a batch that have an order."""
        lists = _ListRows.of(groups)
        return tf.reduce_sum(tf.cast(lists.ordered(self.gains(tf.reshape(labels, [-1]))), tf.float32))

    def gains(self, labels: tf.Tensor) -> tf.Tensor:
        """The gain of each label."""
        return tf.pow(2.0, labels) - 1.0 if self.gain == "exponential" else labels

    def _loss(self, scores: tf.Tensor, gains: tf.Tensor, lists: "_ListRows") -> tf.Tensor:
        # Shifted by the largest score of the list, exp() cannot overflow; the loss does not depend on
        # it.
        shifted = scores - tf.stop_gradient(lists.spread(lists.maximum(scores)))
        log_sum = tf.math.log(lists.sum(tf.exp(shifted)))
        shares = tf.math.divide_no_nan(gains, lists.spread(lists.sum(gains)))
        losses = lists.sum(shares * (lists.spread(log_sum) - shifted))
        counts = tf.cast(lists.ordered(gains), tf.float32)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * counts), tf.reduce_sum(counts))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "group": self.group, "gain": self.gain, "k": self.k}


class _ListRows:
    """Rows of several lists: sums and orders within each.

    Attributes:
        owners: int32 `[n]`, the list of each row, from 0.
        count: number of lists.
    """

    def __init__(self, owners: tf.Tensor, count: tf.Tensor) -> None:
        self.owners = owners
        self.count = count

    @classmethod
    def of(cls, groups: tf.Tensor) -> "_ListRows":
        distinct, owners = tf.unique(tf.reshape(groups, [-1]))
        return cls(owners, tf.size(distinct))

    def sum(self, values: tf.Tensor) -> tf.Tensor:
        return tf.math.unsorted_segment_sum(values, self.owners, self.count)

    def maximum(self, values: tf.Tensor) -> tf.Tensor:
        return tf.math.unsorted_segment_max(values, self.owners, self.count)

    def spread(self, of_lists: tf.Tensor) -> tf.Tensor:
        """Gives each row the value of its list."""
        return tf.gather(of_lists, self.owners)

    def ordered(self, gains: tf.Tensor) -> tf.Tensor:
        """Whether each list has rows to be ordered: two or more, and a gain."""
        return (self.sum(tf.ones_like(gains)) > 1) & (self.sum(gains) > 0)

    def ndcg(self, scores: tf.Tensor, gains: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The NDCG of each list and whether it counts; ties count against the model."""
        ideal = self._discounted(gains, gains, k)
        found = self._discounted(scores, gains, k)
        return tf.math.divide_no_nan(found, ideal), self.ordered(gains)

    def _discounted(self, scores: tf.Tensor, gains: tf.Tensor, k: int) -> tf.Tensor:
        ranks = self._ranks(scores, gains)
        # 1 / log2(rank + 2), in natural logarithms: TensorFlow has no other.
        discount = math.log(2.0) / tf.math.log(tf.cast(ranks, tf.float32) + 2.0)
        return self.sum(tf.where(ranks < k, gains * discount, 0.0))

    def _ranks(self, scores: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
        """Rank of each row in its list by score, int32 from 0; equal scores go by the lowest gain first."""
        # Three stable sorts, the least important key first: gain, score, list. The lowest gain first,
        # so ties count against the model.
        order = tf.argsort(gains, stable=True)
        order = tf.gather(order, tf.argsort(-tf.gather(scores, order), stable=True))
        order = tf.gather(order, tf.argsort(tf.gather(self.owners, order), stable=True))
        sizes = self.sum(tf.ones_like(self.owners))
        starts = tf.cumsum(sizes, exclusive=True)
        # The lists lie end to end: a rank is the place in the order less the start of its list.
        places = tf.range(tf.size(order)) - tf.gather(starts, tf.gather(self.owners, order))
        return tf.scatter_nd(order[:, tf.newaxis], places, tf.shape(order))
