"""Random numbers whose state is a weight."""

from collections.abc import Sequence
from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.core.vocabulary import UNKNOWN
from tfrecall.errors import ConfigError


@keras.utils.register_keras_serializable(package="tfrecall")
class RandomStream(keras.layers.Layer):
    """Uniform random numbers, new ones at each call.

    Keras 2 and TensorFlow's plain random operations keep their state in the running graph, where no
    checkpoint reaches it. Here all of it is one weight, so weights saved and restored go on with the
    numbers that would have come. The start is drawn as initial weights are, from Keras' seed.

    Call arguments:
        shape: shape of the numbers.

    Returns:
        Float32 in [0, 1). Replicas of one training get different numbers.

    Example:

    >>> stream = RandomStream()
    >>> first, second = stream([3]), stream([3])
    >>> bool(tf.reduce_any(first == second))
    False
    """

    def build(self, input_shape: Any) -> None:
        """Makes the state: two integers, the second of which counts the draws."""
        self.state = self.add_weight(
            "state",
            [2],
            tf.int64,
            initializer=keras.initializers.RandomUniform(0, 2**31 - 1),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(self, shape: tf.Tensor | Sequence[int]) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, self.next_seed())

    def next_seed(self, shared: bool = False) -> tf.Tensor:
        """The seed of one stateless operation, another one each time; the layer has to be built.

        Args:
            shared: whether all replicas of a training get the same seed.
        """
        # The value before this draw: the first number is the stream's own and never changes, the
        # second counts.
        seed = self.state.read_value()
        self.state.assign_add(tf.constant([0, 1], tf.int64))  # replicas take no list
        replica = tf.distribute.get_replica_context()
        if shared or replica is None or replica.num_replicas_in_sync == 1:
            return seed
        # All replicas read the same state; the replica's number makes their draws differ.
        return tf.random.fold_in(seed, replica.replica_id_in_sync_group)


class RandomShare(keras.layers.Layer):
    """Base of the layers that change a share of the values in training.

    Args:
        rate: the share, from 0 to below 1. With 0 there is no weight.

    Raises:
        ConfigError: if `rate` is not in [0, 1).
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ConfigError(f"`rate` must be from 0 to below 1. Received: {rate}.")
        self.rate = rate
        self._stream = RandomStream() if rate else None

    def build(self, input_shape: Any) -> None:
        """Makes the state of the random numbers."""
        if self._stream:
            self._stream.build(None)
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.utils.register_keras_serializable(package="tfrecall")
class Dropout(RandomShare):
    """Sets a share of the values to zero in training, and scales up the others to keep the mean.

    Like Keras' `Dropout`, but with the state of its random numbers in a weight (`RandomStream`).

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


@keras.utils.register_keras_serializable(package="tfrecall")
class RandomUnknown(RandomShare):
    """Replaces a share of the indexes by the unknown index, in training only.

    Without it the embedding of unknown values would keep its random start, because no value is
    unknown in the data that the vocabulary came from. With it the row learns an average over all
    values, so a new user or item gets a sensible vector.

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
