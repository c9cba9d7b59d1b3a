"""Pooling of several item or value embeddings into one vector."""

from typing import Any

from tfrecall._keras import keras, tf


@keras.utils.register_keras_serializable(package="tfrecall")
class MaskedMeanPooling(keras.layers.Layer):
    """Averages the embeddings of the values that are there.

    Padded steps add nothing to the sum and nothing to the count, so the result does not depend on how
    far a batch was padded. A row with no values gives the zero vector.

    Call arguments:
        inputs: float tensor `[batch_size, length, embedding_dim]`.
        mask: bool tensor `[batch_size, length]`, True where the step holds a value. Keras passes it
            when the embedding layer was built with `mask_zero=True`.

    Returns:
        Float tensor `[batch_size, embedding_dim]`, of the dtype of `inputs`.

    Raises:
        ValueError: if no mask reaches the layer.

    Example:

    >>> pool = MaskedMeanPooling()
    >>> history = tf.constant([[[2.0], [4.0], [9.0]]])
    >>> pool(history, mask=tf.constant([[True, True, False]])).numpy().tolist()
    [[3.0]]

    Reference:
        Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016,
        section 3.2.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        if mask is None:
            raise ValueError(
                "`MaskedMeanPooling` needs a mask to tell values from padding. Build the embedding "
                "with `mask_zero=True` or pass `mask=`. "
                f"Received: inputs.shape={inputs.shape}, mask=None."
            )
        weights = tf.cast(mask, inputs.dtype)[..., tf.newaxis]
        # divide_no_nan, not an epsilon: an epsilon would shrink short rows.
        return tf.math.divide_no_nan(
            tf.reduce_sum(inputs * weights, axis=1), tf.reduce_sum(weights, axis=1)
        )

    def compute_mask(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> None:
        return None
