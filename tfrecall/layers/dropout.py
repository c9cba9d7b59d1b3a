"""Dropout that a checkpoint can take up again."""

from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.layers.randomness import RandomShare


@keras.utils.register_keras_serializable(package="tfrecall")
class Dropout(RandomShare):
    """Sets a share of the values to zero in training, and scales up the others to keep the mean.

    As Keras' `Dropout`, but what is dropped follows from a weight (`RandomStream`).

    Args:
        rate: share of the values to drop, in [0, 1). With 0 there is no weight.

    Call arguments:
        inputs: float tensor of any shape.
        training: whether to drop at all.

    Returns:
        Float tensor of the same shape and dtype. The mask passes through.

    Example:

    >>> Dropout(0.5)(tf.ones([2]), training=False).numpy().tolist()
    [1.0, 1.0]

    Reference:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        JMLR 15, 2014.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.supports_masking = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training or self._stream is None:
            return inputs
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, self._stream.next_seed())
