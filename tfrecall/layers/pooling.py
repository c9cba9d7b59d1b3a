"""Pooling of several item or value embeddings into one vector."""

from typing import Any

from tfrecall._keras import keras, tf


class MaskedPooling(keras.layers.Layer):
    """Base of the layers that make one vector of those of the values that are there.

    Padded steps count for nothing, so the result does not depend on how far a batch was padded. What is
    padding is said by the mask, or by the row lengths of a ragged batch; a value whose vector is zero
    counts. A row with no values gives the zero vector.

    Call arguments:
        inputs: float tensor `[batch_size, length, embedding_dim]`, padded or ragged in `length`.
        mask: bool tensor `[batch_size, length]`, True where the step holds a value. Keras passes it
            when the embedding layer was built with `mask_zero=True`. Ragged inputs need none.

    Returns:
        Float tensor `[batch_size, embedding_dim]`, of the dtype of `inputs`; sums are float32.

    Raises:
        ValueError: if no mask reaches the layer and the inputs are not ragged.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self._supports_ragged_inputs = True  # so Keras 2 asks for ragged `keras.Input`

    def call(self, inputs: tf.Tensor | tf.RaggedTensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        if isinstance(inputs, tf.RaggedTensor):
            sums, counts = _ragged_sums(
                inputs if mask is None else tf.ragged.boolean_mask(inputs, mask)
            )
        elif mask is not None:
            weights = tf.cast(mask, tf.float32)[..., tf.newaxis]
            sums = tf.reduce_sum(tf.cast(inputs, tf.float32) * weights, axis=1)
            counts = tf.reduce_sum(weights, axis=1)
        else:
            raise ValueError(
                f"`{type(self).__name__}` needs a mask to tell values from padding. Build the embedding "
                "with `mask_zero=True`, pass `mask=`, or ragged inputs. "
                f"Received: inputs.shape={inputs.shape}, mask=None."
            )
        return tf.cast(self._pool(sums, counts), inputs.dtype)

    def _pool(self, sums: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def compute_mask(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> None:
        return None


@keras.utils.register_keras_serializable(package="tfrecall")
class MaskedMeanPooling(MaskedPooling):
    """Averages the embeddings of the values that are there; see `MaskedPooling`.

    Example:

    >>> pool = MaskedMeanPooling()
    >>> history = tf.constant([[[2.0], [4.0], [9.0]]])
    >>> pool(history, mask=tf.constant([[True, True, False]])).numpy().tolist()
    [[3.0]]

    Reference:
        Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016,
        section 3.2.
    """

    def _pool(self, sums: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        # divide_no_nan, not an epsilon: an epsilon would shrink short rows.
        return tf.math.divide_no_nan(sums, counts)


@keras.utils.register_keras_serializable(package="tfrecall")
class MaskedSumPooling(MaskedPooling):
    """Adds up the embeddings of the values that are there; see `MaskedPooling`.

    Example:

    >>> MaskedSumPooling()(tf.ragged.constant([[[2.0], [4.0]], []], ragged_rank=1)).numpy().tolist()
    [[6.0], [0.0]]
    """

    def _pool(self, sums: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        return sums


def _ragged_sums(inputs: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    rows, count = inputs.value_rowids(), inputs.nrows()
    sums = tf.math.unsorted_segment_sum(tf.cast(inputs.values, tf.float32), rows, count)
    return sums, tf.cast(inputs.row_lengths(), tf.float32)[:, tf.newaxis]
