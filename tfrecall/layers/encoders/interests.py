"""Several interests: the encoder that finds them in a history, and operations on their vectors.

A query with interests is a tensor `[batch, interests, dim]` where others are `[batch, dim]`; each
function here takes both.
"""

import functools
from collections.abc import Sequence
from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.layers.encoders.causal import CausalEncoder, count_events, where_masked


@keras.utils.register_keras_serializable(package="tfrecall")
class InterestsEncoder(CausalEncoder):
    """The means of the last `history_length` events under several sets of weights.

    The vectors of the interests stand side by side: `[..., num_interests * dim]`. The weights of an
    interest are a softmax over the events; they come from the vector of each event and from its age,
    the number of events after it: each age has a learned number, which starts at zero.

    Args:
        spec: the specification (`tfrecall.encoders`), or its plain form.
        history_length: number of events of a history at most.

    Call arguments:
        vectors: float `[rows, cells, dim]`, the oldest event first.
        mask: bool `[rows, cells]`, True where the cell holds an event.
        training: whether to drop values.
        last_only: whether to give the last cell alone, which is cheaper.

    Returns:
        Float `[rows, cells, output_dim]`, or `[rows, output_dim]` of the last cell.

    Differs from the paper: there the vector of a position is added to that of the event before the
    inner layer, which for whole sequences would cost as many inner layers as there are ages.

    Reference:
        Cen et al., "Controllable Multi-Interest Framework for Recommendation", KDD 2020, section 3.2,
        self-attentive method.
    """

    @property
    def interests(self) -> int:
        return self.spec.num_interests

    def output_dim(self, dim: int) -> int:
        return dim * self.interests

    def build(self, input_shape: Any) -> None:
        # Adding one number to all logits leaves a softmax as it is: the outer layer needs no bias.
        options: dict[str, Any] = {"dtype": self.dtype_policy, "use_bias": False}
        self._inner = keras.layers.Dense(self.spec.units, activation="tanh", **options)
        self._outer = keras.layers.Dense(self.interests, **options)
        self._ages = self.add_weight("ages", [self.interests, self.history_length], initializer="zeros")
        super().build(input_shape)

    def _all(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        cells = tf.range(tf.shape(mask)[1])
        # No empty cells stand between events, so a distance in cells is a number of events.
        age = cells[:, tf.newaxis] - cells
        allowed = mask[:, tf.newaxis] & (age >= 0) & (age < self.history_length)
        means = self._means(vectors, self._of_ages(age), allowed)
        # From [rows, interests, cells, dim]: the interests of a cell have to be neighbours to become
        # one vector of length interests * dim.
        side_by_side = tf.transpose(means, [0, 2, 1, 3])
        shape = [*tf.unstack(tf.shape(mask)), self.output_dim(vectors.shape[-1])]
        return where_masked(count_events(mask) > 0, tf.reshape(side_by_side, shape))

    def _last(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        age = tf.cumsum(tf.cast(mask, tf.int32), axis=1, exclusive=True, reverse=True)
        allowed = mask & (age < self.history_length)
        of_ages = tf.transpose(self._of_ages(age), [1, 0, 2])[:, :, tf.newaxis]
        means = self._means(vectors, of_ages, allowed[:, tf.newaxis])
        side_by_side = tf.reshape(means, [-1, self.output_dim(vectors.shape[-1])])
        return where_masked(tf.reduce_any(mask, axis=1), side_by_side)

    def _of_ages(self, age: tf.Tensor) -> tf.Tensor:
        """Numbers added to the logits by age: `[interests, ...]`; arbitrary for ages out of reach."""
        # Along the second axis: the gradient of the first would be sparse, and thousands of rows long.
        return tf.gather(self._ages, tf.clip_by_value(age, 0, self.history_length - 1), axis=1)

    def _means(self, vectors: tf.Tensor, of_ages: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
        """Weighted means of the events that each of `m` cells sees.

        Args:
            vectors: float `[rows, n, dim]`.
            of_ages: float `[..., interests, m, n]`, added to the logits.
            allowed: bool `[rows, m, n]`; a cell that sees nothing gets arbitrary finite numbers.

        Returns:
            Float `[rows, interests, m, dim]`.
        """
        of_events = tf.transpose(self._outer(self._inner(vectors)), [0, 2, 1])[:, :, tf.newaxis]
        logits = tf.cast(of_events, tf.float32) + tf.cast(of_ages, tf.float32)
        # The lowest number, not -inf: a cell that sees nothing gets equal weights instead of NaN. In
        # float32, as bfloat16 has too few digits for a sum of exponentials.
        seen = tf.where(allowed[:, tf.newaxis], logits, tf.float32.min)
        weights = tf.cast(tf.nn.softmax(seen), vectors.dtype)
        return tf.matmul(weights, vectors[:, tf.newaxis])


def best_scores(queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """The largest inner product of each query's vectors with each candidate: float `[batch, n]`.

    Args:
        queries: float `[batch, dim]` or `[batch, interests, dim]`.
        candidates: float `[n, dim]`.

    >>> best_scores(tf.constant([[[1.0, 0.0], [0.0, 1.0]]]), tf.constant([[2.0, 3.0], [5.0, 4.0]])).numpy()
    array([[3., 5.]], dtype=float32)
    """
    if queries.shape.rank == 2:
        return tf.matmul(queries, candidates, transpose_b=True)
    _, interests, dim = queries.shape
    # Interests become rows, so one product scores them all.
    scores = tf.matmul(tf.reshape(queries, [-1, dim]), candidates, transpose_b=True)
    return tf.reduce_max(tf.reshape(scores, [-1, interests, tf.shape(candidates)[0]]), axis=1)


def closest(queries: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """The vector of each query that has the largest inner product with its target: `[batch, dim]`.

    Args:
        queries: float `[batch, dim]` or `[batch, interests, dim]`.
        targets: float `[batch, dim]`.

    Reference:
        Cen et al. 2020, section 3.2, "Model Training".
    """
    if queries.shape.rank == 2:
        return queries
    # `argmax` has no gradient, so only the chosen vector is trained.
    return tf.gather(queries, tf.argmax(tf.linalg.matvec(queries, targets), axis=1), batch_dims=1)


def apart(queries: tf.Tensor) -> list[tf.Tensor]:
    """The vectors of the queries, one interest after the other: each `[batch, dim]`."""
    return [queries] if queries.shape.rank == 2 else tf.unstack(queries, axis=1)


def together(vectors: Sequence[tf.Tensor], queries: tf.Tensor) -> tf.Tensor:
    """Stacks vectors that `apart` gave to the shape of `queries`."""
    return vectors[0] if queries.shape.rank == 2 else tf.stack(vectors, axis=1)


def to_the_first_largest(values: tf.Tensor, scores: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Splits values among scores: each goes to the first of the largest scores there, zero to the others.

    This is the gradient of a maximum over the scores, without storing which one was largest.

    Args:
        values: float of any shape.
        scores: one or more of that shape.
    """
    if len(scores) == 1:
        return [values]
    largest = functools.reduce(tf.maximum, scores)
    found = []
    for score in scores:
        mine = values * tf.cast(score >= largest, values.dtype)
        # Values given away leave nothing to later scores that are equally large.
        values -= mine
        found.append(mine)
    return found
