"""Dense layers as every model has them: an activation, normalisation and dropout."""

from collections.abc import Callable
from typing import Literal, get_args

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError, nearest
from tfrecall.layers.dropout import Dropout

Activation = Literal["relu", "leaky_relu", "tanh", "linear"]


class HiddenLayer(keras.layers.Layer):
    """A dense layer with an activation, what it gives normalised, some of it dropped."""

    def __init__(
        self, units: int, activation: Activation, dropout: float, batch_normalization: bool
    ) -> None:
        super().__init__()
        self._dense = keras.layers.Dense(units, activation_function(activation))
        self._normalization = keras.layers.BatchNormalization() if batch_normalization else None
        self._dropout = Dropout(dropout)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        vector = self._dense(inputs)
        if self._normalization:
            vector = self._normalization(vector, training=training)
        return self._dropout(vector, training=training)


def activation_function(activation: Activation) -> Callable[[tf.Tensor], tf.Tensor] | str:
    """What Keras takes as an activation; below 0 a leaky ReLU has the slope .2."""
    if activation not in get_args(Activation):
        raise ConfigError(
            f"There is no activation {activation!r}.{nearest(str(activation), get_args(Activation))} "
            f"Choose one of: {', '.join(get_args(Activation))}."
        )
    return tf.nn.leaky_relu if activation == "leaky_relu" else activation
