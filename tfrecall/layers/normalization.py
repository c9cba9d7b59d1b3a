"""Scaling of vectors to length one."""

from typing import Any

from tfrecall._keras import keras, tf


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
        # The row of an embedding that stands for padding is a vector like any other.
        return scaled if mask is None else scaled * tf.cast(mask, scaled.dtype)[..., tf.newaxis]
