"""Dense layers of towers and rankers: activation, batch normalisation, dropout, scaling to length one."""

from collections.abc import Callable
from typing import Any, Literal, get_args

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError, nearest
from tfrecall.layers.randomness import Dropout

Activation = Literal["relu", "leaky_relu", "tanh", "linear"]


@keras.utils.register_keras_serializable(package="tfrecall")
class HiddenLayer(keras.layers.Layer):
    """A dense layer with an activation, then batch normalisation and dropout.

    Args:
        units: length of the vectors it gives.
        activation: `relu`, `leaky_relu`, `tanh` or `linear`.
        dropout: share of the values dropped in training, from 0 to below 1.
        batch_normalization: whether values are normalised before some are dropped.

    Call arguments:
        inputs: float tensor `[..., any]`.
        training: whether to drop values, and to normalise by the batch.

    Returns:
        Float tensor `[..., units]`, of the dtype the layer computes in.

    Raises:
        ConfigError: if there is no such activation, or `dropout` is not in [0, 1).

    Example:

    >>> HiddenLayer(3, "relu")(tf.zeros([2, 4])).shape.as_list()
    [2, 3]
    """

    def __init__(
        self,
        units: int,
        activation: Activation = "relu",
        dropout: float = 0.0,
        batch_normalization: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        self.dropout = dropout
        self.batch_normalization = batch_normalization
        self._dense = keras.layers.Dense(units, activation_function(activation))
        self._normalization = keras.layers.BatchNormalization() if batch_normalization else None
        self._dropout = Dropout(dropout)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        vector = self._dense(inputs)
        if self._normalization:
            vector = self._normalization(vector, training=training)
        # Dropped after the normalization, whose means the zeros would shift.
        return self._dropout(vector, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "dropout": self.dropout,
            "batch_normalization": self.batch_normalization,
        }


def activation_function(activation: Activation) -> Callable[[tf.Tensor], tf.Tensor] | str:
    """The activation as Keras takes it; a leaky ReLU has the slope .2 below 0."""
    if activation not in get_args(Activation):
        raise ConfigError(
            f"There is no activation {activation!r}.{nearest(str(activation), get_args(Activation))} "
            f"Choose one of: {', '.join(get_args(Activation))}."
        )
    return tf.nn.leaky_relu if activation == "leaky_relu" else activation


@keras.utils.register_keras_serializable(package="tfrecall")
class L2Normalization(keras.layers.Layer):
    """Divides each vector by its Euclidean length, so that inner products are cosines.

    Divides by the norm, not by the squared norm, which would turn long vectors into short ones. The
    zero vector stays zero. Use it on both towers together with a temperature of .02 to .1: a cosine
    alone cannot make a softmax sharp.

    Call arguments:
        inputs: float tensor `[..., embedding_dim]`.
        mask: bool tensor `[...]`, if some vectors are padding: those become zero.

    Returns:
        Float tensor of the same shape. The mask passes through.

    Example:

    >>> L2Normalization()(tf.constant([[3.0, 4.0]])).numpy().round(1).tolist()
    [[0.6..., 0.8...]]

    Reference:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations",
        RecSys 2019, section 4.2.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        scaled = tf.math.l2_normalize(inputs, axis=-1)
        # An embedding's padding row is initialised like any other, so only the mask makes it zero.
        return scaled if mask is None else scaled * tf.cast(mask, scaled.dtype)[..., tf.newaxis]
