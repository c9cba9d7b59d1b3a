"""Crosses of query and candidate features, and biases of single values, for rankers."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Literal, get_args

from tfrecall._keras import keras, tf, tfrs
from tfrecall.core.vocabulary import PADDING
from tfrecall.errors import ConfigError, nearest

Cross = Literal["concat", "elementwise", "dcn", "dot_interaction", "dot"]
# Crosses that give one number, added to the score without dense layers between.
_ADDED = ("dot",)
# Crosses of the sums of each side or of all pairs: they need vectors of one length.
_EQUAL = ("dot", "elementwise", "dot_interaction")


@keras.utils.register_keras_serializable(package="tfrecall")
class Crosses(keras.layers.Layer):
    """Crosses of the feature vectors of both sides, concatenated for dense layers.

    Args:
        crosses: any of `concat`, all vectors side by side; `dcn`, these through Deep & Cross layers;
            `elementwise`, the product of the sums of each side, number by number; `dot_interaction`, the
            inner products of all pairs of features; and `dot`, one number that no dense layer gets (the
            method `dot`).
        cross_layers: number of Deep & Cross layers, one on the other.
        cross_projection: rank of their matrices; None for full ones.

    Call arguments:
        query: float `[n, any]` for each query feature.
        candidate: float `[n, any]` for each candidate feature.

    Returns:
        Float `[n, any]`: the crosses but `dot`, side by side.

    Raises:
        ConfigError: if there is no such cross.

    Example:

    >>> user, item = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 4.0]])
    >>> Crosses(["concat", "elementwise"])([user], [item]).numpy().tolist()
    [[1.0, 2.0, 3.0, 4.0, 3.0, 8.0]]

    References:
        Wang et al., "DCN V2", WWW 2021; Naumov et al., "Deep Learning Recommendation Model for
        Personalization and Recommendation Systems", 2019.
    """

    def __init__(
        self,
        crosses: Sequence[Cross],
        cross_layers: int = 1,
        cross_projection: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.crosses = _checked(crosses)
        self.cross_layers = cross_layers
        self.cross_projection = cross_projection
        self._dcn = [
            tfrs.layers.dcn.Cross(projection_dim=cross_projection)
            for _ in range(cross_layers if "dcn" in crosses else 0)
        ]
        self._pairs = tfrs.layers.feature_interaction.DotInteraction()

    @property
    def are_deep(self) -> bool:
        """Whether dense layers get any of the crosses."""
        return any(cross not in _ADDED for cross in self.crosses)

    def check_lengths(self, lengths: dict[str, int]) -> None:
        """Refuses features of several lengths where a cross needs them equal."""
        needs = [cross for cross in self.crosses if cross in _EQUAL]
        if needs and len(set(lengths.values())) > 1:
            raise ConfigError(
                f"The crosses {', '.join(needs)} need features of one length. Received: "
                f"{', '.join(f'{name} {length}' for name, length in lengths.items())}. Give each the same "
                "`embedding_dim`; a Numeric feature has length 1: make it Bucketized."
            )

    def call(self, query: list[tf.Tensor], candidate: list[tf.Tensor]) -> tf.Tensor:
        every = [*query, *candidate]
        side_by_side = tf.concat(every, axis=1)
        parts = []
        for cross in self.crosses:
            if cross == "concat":
                parts.append(side_by_side)
            elif cross == "dcn":
                # DCN v2: each layer multiplies the vectors at the entry, x0, by a map of the last
                # output x: x0 * (W x + b) + x. So n layers cross up to n + 1 features.
                crossed = side_by_side
                for layer in self._dcn:
                    crossed = layer(side_by_side, crossed)
                parts.append(crossed)
            elif cross == "elementwise":
                parts.append(tf.add_n(query) * tf.add_n(candidate))
            elif cross == "dot_interaction":
                parts.append(self._pairs(every))
        return tf.concat(parts, axis=1)

    def dot(self, query: list[tf.Tensor], candidate: list[tf.Tensor]) -> tf.Tensor:
        """The inner product of the sums of each side, `[n]`: with ids alone, matrix factorisation."""
        return tf.reduce_sum(tf.add_n(query) * tf.add_n(candidate), axis=1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "crosses": self.crosses,
            "cross_layers": self.cross_layers,
            "cross_projection": self.cross_projection,
        }


@keras.utils.register_keras_serializable(package="tfrecall")
class Biases(keras.layers.Layer):
    """One number for each value of some categorical features, 0 at first and for unknown values.

    Args:
        sizes: number of values of each encoded feature, padding and the unknown value included.

    Call arguments:
        inputs: encoded features by name, int `[n]`, or `[n, any]` for values of several rows, padded with 0,
            whose numbers are added up; more than `sizes` names are ignored.

    Returns:
        Float `[n]` for each feature, in the order of `sizes`.

    Example:

    >>> [bias.numpy().tolist() for bias in Biases({"user": 5})({"user": tf.constant([2, 4])})]
    [[0.0, 0.0]]
    """

    def __init__(self, sizes: dict[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Read-only: Keras would track an ordinary dictionary as a part of the layer.
        self.sizes = MappingProxyType(dict(sizes))
        self._tables = {
            name: keras.layers.Embedding(size, 1, embeddings_initializer="zeros", name=f"{name}_bias")
            for name, size in sizes.items()
        }

    def call(self, inputs: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        return [_numbers(table, inputs[name]) for name, table in self._tables.items()]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sizes": dict(self.sizes)}


@keras.utils.register_keras_serializable(package="tfrecall")
class MeanSquares(keras.layers.Layer):
    """L2 regularization of activities: adds the squares of some tensors to the layer's losses.

    Squares are summed over a row and averaged over the rows, in float32.

    Args:
        weight: factor of the sum; with 0 nothing is added.

    Call arguments:
        values: float tensors `[n, ...]`; none adds nothing.

    Example:

    >>> penalty = MeanSquares(0.5)
    >>> penalty([tf.constant([[1.0, 2.0], [3.0, 4.0]])])
    >>> float(penalty.losses[0])  # .5 (1 + 4 + 9 + 16) / 2
    7.5
    """

    def __init__(self, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, values: list[tf.Tensor]) -> None:
        if self.weight and values:
            # Not `reduce_mean`: that would divide by the length of the vectors, too. At least one
            # row: an empty batch must add 0, not NaN.
            means = [
                tf.reduce_sum(tf.square(tf.cast(value, tf.float32)))
                / tf.cast(tf.maximum(tf.shape(value)[0], 1), tf.float32)
                for value in values
            ]
            self.add_loss(self.weight * tf.add_n(means))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.weight}


def _numbers(table: keras.layers.Layer, rows: tf.Tensor) -> tf.Tensor:
    numbers = table(rows)[..., 0]
    if rows.shape.rank == 1:
        return numbers
    return tf.reduce_sum(numbers * tf.cast(rows > PADDING, numbers.dtype), axis=1)


def _checked(crosses: Sequence[Cross]) -> tuple[Cross, ...]:
    valid = get_args(Cross)
    for cross in crosses:
        if cross not in valid:
            raise ConfigError(
                f"There is no cross {cross!r}.{nearest(str(cross), valid)} Choose of: {', '.join(valid)}."
            )
    if not crosses:
        raise ConfigError(f"A ranker needs one cross or more. Choose of: {', '.join(valid)}.")
    return tuple(crosses)
