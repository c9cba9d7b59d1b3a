"""Scaling of vectors: to length one, to mean 0 and variance 1."""

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
        if mask is None:
            return scaled
        # The row of an embedding that stands for padding is a vector like any other.
        return tf.where(mask[..., tf.newaxis], scaled, tf.zeros([], scaled.dtype))


@keras.utils.register_keras_serializable(package="tfrecall")
class LayerNormalization(keras.layers.Layer):
    """Shifts and scales each vector to mean 0 and variance 1, then by weights of its coordinates.

    As Keras' layer, which goes through the kernel of batch normalization and takes three times as long
    on a CPU. Moments are float32, whatever the layer computes in.

    Args:
        epsilon: added to the variance.

    Call arguments:
        inputs: float tensor `[..., dim]`.

    Returns:
        Float tensor of the same shape and dtype. The mask passes through.

    Example:

    >>> LayerNormalization()(tf.constant([[1.0, 3.0, 1.0, 3.0]])).numpy().round(2).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]

    Reference:
        Ba et al., "Layer Normalization", 2016.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        self.gamma = self.add_weight("gamma", input_shape[-1:], initializer="ones")
        self.beta = self.add_weight("beta", input_shape[-1:], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        values = tf.cast(inputs, tf.float32)
        centred = values - tf.reduce_mean(values, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        scaled = tf.cast(centred * tf.math.rsqrt(variance + self.epsilon), inputs.dtype)
        return scaled * self.gamma + self.beta

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
