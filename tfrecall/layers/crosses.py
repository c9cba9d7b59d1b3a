"""How the features of a query and of a candidate meet: crosses, and a number for each value."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from tfrecall._keras import keras, tf, tfrs
from tfrecall.errors import ConfigError, nearest

Cross = Literal["concat", "elementwise", "dcn", "dot_interaction", "dot"]
# Those of one number that is added to the score, without dense layers between.
_ADDED = ("dot",)
# Those of the sums of each side, or of all pairs, which need vectors of one length.
_EQUAL = ("dot", "elementwise", "dot_interaction")


class Crosses(keras.layers.Layer):
    """What dense layers get of the vectors of both sides.

    Args:
        crosses: any of `concat`, all vectors side by side; `dcn`, these through Deep & Cross layers;
            `elementwise`, the product of the sums of each side, number by number; `dot_interaction`, the
            inner products of all pairs of features; and `dot`, see `dot`.
        cross_layers: Deep & Cross layers, one on the other.
        cross_projection: rank of their matrices; None for full ones.

    Call arguments:
        query: float `[n, any]` for each query feature.
        candidate: likewise.

    Raises:
        ConfigError: if there is no such cross.

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
        self._dcn = [
            tfrs.layers.dcn.Cross(projection_dim=cross_projection)
            for _ in range(cross_layers if "dcn" in crosses else 0)
        ]
        self._pairs = tfrs.layers.feature_interaction.DotInteraction()

    @property
    def are_deep(self) -> bool:
        """Whether there is anything for dense layers."""
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


class Biases(keras.layers.Layer):
    """One number for each value of some categorical features, 0 at first and for unknown values.

    Args:
        sizes: for each encoded feature how many values it has, the two special ones included.

    Call arguments:
        inputs: encoded features.

    Returns:
        For each feature float `[n]`.
    """

    def __init__(self, sizes: dict[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._tables = {
            name: keras.layers.Embedding(size, 1, embeddings_initializer="zeros", name=f"{name}_bias")
            for name, size in sizes.items()
        }

    def call(self, inputs: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        return [table(inputs[name])[:, 0] for name, table in self._tables.items()]


class MeanSquares(keras.layers.Layer):
    """Adds the squares of some tensors to the losses: their sum over a row, the mean over the rows.

    Args:
        weight: of the sum.
    """

    def __init__(self, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, values: list[tf.Tensor]) -> None:
        if self.weight and values:
            means = [
                tf.reduce_sum(tf.square(tf.cast(value, tf.float32)))
                / tf.cast(tf.maximum(tf.shape(value)[0], 1), tf.float32)
                for value in values
            ]
            self.add_loss(self.weight * tf.add_n(means))


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
