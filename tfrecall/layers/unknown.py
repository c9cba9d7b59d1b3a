"""Training of the row that stands for every unknown value."""

from tfrecall._keras import keras, tf
from tfrecall.data.vocabulary import UNKNOWN
from tfrecall.layers.randomness import RandomShare


@keras.utils.register_keras_serializable(package="tfrecall")
class RandomUnknown(RandomShare):
    """Replaces a share of the indexes by the unknown index, in training only.

    Without it the embedding of unknown values would keep its random start, because no value is
    unknown in the data that the vocabulary came from. With it the row learns what is true of values
    in general, so a new user or item gets a sensible vector.

    Args:
        rate: share of the indexes to replace, in [0, 1). With 0 there is no weight.

    Call arguments:
        inputs: int tensor of any shape. Padding (0) stays padding.
        training: whether to replace at all.

    Returns:
        Int tensor of the same shape and dtype.

    Example:

    >>> RandomUnknown(0.5)(tf.constant([5, 6, 0]), training=False).numpy().tolist()
    [5, 6, 0]
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training or self._stream is None:
            return inputs
        replaced = (self._stream(tf.shape(inputs)) < self.rate) & (inputs > UNKNOWN)
        return tf.where(replaced, tf.cast(UNKNOWN, inputs.dtype), inputs)
