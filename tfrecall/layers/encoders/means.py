"""Sums and means over the newest events of a history."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.causal import CausalEncoder, count_events, where_masked
from tfrecall.schema import encoders

# Pooling reads each cell `length` times, doubling log2(length) times at three times the cost: equal
# near 150 on two cores.
_LONGEST_POOLING = 128


class Window(NamedTuple):
    """Some events in a row, counted from the newest, and their weights.

    Attributes:
        length: number of events.
        lag: number of newer events that are left out.
        rate: ratio of the weight of an event to that of the next newer one.
        power: the weighted sum is divided by the sum of the weights to this power: 1 makes a mean, 0 leaves
            the sum.
    """

    length: int
    lag: int = 0
    rate: float = 1.0
    power: float = 1.0

    def weights(self, age: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """The weight of each event, given the number of newer ones: float32, of the shape of `age`."""
        inside = mask & (age >= self.lag) & (age < self.lag + self.length)
        weights = tf.cast(inside, tf.float32)
        if self.rate != 1:
            # Outside, ages may be negative and powers beyond all bounds.
            weights *= tf.pow(self.rate, tf.cast(tf.where(inside, age - self.lag, 0), tf.float32))
        return weights / self.total(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1, keepdims=True))

    def total(self, events: tf.Tensor) -> tf.Tensor:
        """Divisor of the weighted sum over a number of events: float32, of the shape of `events`."""
        # A lag comes with windows of one event only, whose mean is that event.
        if not self.power or self.lag:
            return tf.ones_like(events, tf.float32)
        # At least one: an empty history has a sum of zero, whatever it is divided by.
        count = tf.cast(tf.clip_by_value(events, 1, self.length), tf.float32)
        # The geometric series 1 + rate + ... + rate^(count - 1).
        total = count if self.rate == 1 else (1 - tf.pow(self.rate, count)) / (1 - self.rate)
        return total if self.power == 1 else tf.pow(total, self.power)


class WindowEncoder(CausalEncoder):
    """Base of the encoders that concatenate weighted sums over windows; they have no weights to train.

    Sums are float32, whatever the layer computes in.
    """

    @property
    def windows(self) -> Sequence[Window]:
        """The windows, in the order of the output."""
        raise NotImplementedError

    def output_dim(self, dim: int) -> int:
        return dim * len(self.windows)

    def _all(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        events = count_events(mask)[..., tf.newaxis]
        values = where_masked(mask, tf.cast(vectors, tf.float32))
        parts = [windowed_sum(values, w.length, w.rate, w.lag) / w.total(events) for w in self.windows]
        return tf.cast(tf.concat(parts, axis=-1), vectors.dtype)

    def _last(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        age = tf.cumsum(tf.cast(mask, tf.int32), axis=1, exclusive=True, reverse=True)
        weights = tf.stack([w.weights(age, mask) for w in self.windows], axis=1)
        sums = tf.matmul(weights, tf.cast(vectors, tf.float32))
        out = tf.reshape(sums, [-1, self.output_dim(vectors.shape[-1])])
        return tf.cast(out, vectors.dtype)


@keras.utils.register_keras_serializable(package="tfrecall")
class MeanEncoder(WindowEncoder):
    """The mean of the last `history_length` events.

    Args:
        spec: the specification (`tfrecall.encoders`), or its plain form.
        history_length: number of events of a history at most.

    Call arguments:
        vectors: float `[rows, cells, dim]`, the oldest event first.
        mask: bool `[rows, cells]`, True where the cell holds an event.
        training: whether to drop values.
        last_only: whether to give the last cell alone, which is cheaper.

    Returns:
        Float `[rows, cells, output_dim]`, or `[rows, output_dim]` of the last cell.

    Example:

    >>> encode = MeanEncoder(encoders.Mean(), history_length=2)
    >>> vectors, mask = tf.constant([[[9.0], [2.0], [4.0], [6.0]]]), tf.constant([[False, True, True, True]])
    >>> encode(vectors, mask).numpy().ravel().tolist()
    [0.0, 2.0, 3.0, 5.0]
    >>> encode.last(vectors, mask).numpy().tolist()
    [[5.0]]

    Reference:
        Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 3.2.
    """

    @property
    def windows(self) -> Sequence[Window]:
        return (Window(self.history_length),)


@keras.utils.register_keras_serializable(package="tfrecall")
class SumEncoder(WindowEncoder):
    """The sum of the last `history_length` events.

    Args:
        spec: the specification (`tfrecall.encoders`), or its plain form.
        history_length: number of events of a history at most.

    Call arguments:
        vectors: float `[rows, cells, dim]`, the oldest event first.
        mask: bool `[rows, cells]`, True where the cell holds an event.
        training: whether to drop values.
        last_only: whether to give the last cell alone, which is cheaper.

    Returns:
        Float `[rows, cells, output_dim]`, or `[rows, output_dim]` of the last cell.
    """

    @property
    def windows(self) -> Sequence[Window]:
        return (Window(self.history_length, power=0.0),)


@keras.utils.register_keras_serializable(package="tfrecall")
class RootSumEncoder(WindowEncoder):
    """The sum of the last `history_length` events over the root of their number.

    Args:
        spec: the specification (`tfrecall.encoders`), or its plain form.
        history_length: number of events of a history at most.

    Call arguments:
        vectors: float `[rows, cells, dim]`, the oldest event first.
        mask: bool `[rows, cells]`, True where the cell holds an event.
        training: whether to drop values.
        last_only: whether to give the last cell alone, which is cheaper.

    Returns:
        Float `[rows, cells, output_dim]`, or `[rows, output_dim]` of the last cell.

    Reference:
        Koren, "Factorization Meets the Neighborhood", KDD 2008, section 4.
    """

    @property
    def windows(self) -> Sequence[Window]:
        return (Window(self.history_length, power=0.5),)


@keras.utils.register_keras_serializable(package="tfrecall")
class DecayEncoder(WindowEncoder):
    """A mean of the last `history_length` events that weighs the newest most.

    Args:
        spec: the specification (`tfrecall.encoders`), or its plain form.
        history_length: number of events of a history at most.

    Call arguments:
        vectors: float `[rows, cells, dim]`, the oldest event first.
        mask: bool `[rows, cells]`, True where the cell holds an event.
        training: whether to drop values.
        last_only: whether to give the last cell alone, which is cheaper.

    Returns:
        Float `[rows, cells, output_dim]`, or `[rows, output_dim]` of the last cell.
    """

    @property
    def windows(self) -> Sequence[Window]:
        return (Window(self.history_length, rate=self.spec.rate),)


@keras.utils.register_keras_serializable(package="tfrecall")
class WindowsEncoder(WindowEncoder):
    """The means of several windows, then the newest events one by one.

    An event that the history does not have gives the zero vector.

    Args:
        spec: the specification (`tfrecall.encoders`), or its plain form.
        history_length: number of events of a history at most.

    Call arguments:
        vectors: float `[rows, cells, dim]`, the oldest event first.
        mask: bool `[rows, cells]`, True where the cell holds an event.
        training: whether to drop values.
        last_only: whether to give the last cell alone, which is cheaper.

    Returns:
        Float `[rows, cells, output_dim]`, or `[rows, output_dim]` of the last cell.

    Raises:
        ConfigError: if a window is longer than `history_length`.
    """

    def __init__(
        self, spec: encoders.Windows | dict[str, Any], history_length: int, **kwargs: Any
    ) -> None:
        super().__init__(spec, history_length, **kwargs)
        longest = max(*self.spec.sizes, self.spec.last)
        if longest > history_length:
            raise ConfigError(
                f"A window over {longest} events needs histories of so many. Received: "
                f"sizes={list(self.spec.sizes)}, last={self.spec.last}, history_length={history_length}. "
                "Make the windows shorter, or `history_length` longer."
            )

    @property
    def windows(self) -> Sequence[Window]:
        means = [Window(size) for size in self.spec.sizes]
        return (*means, *(Window(1, lag=lag) for lag in range(self.spec.last)))


def windowed_sum(values: tf.Tensor, length: int, rate: float = 1.0, lag: int = 0) -> tf.Tensor:
    """The sum over each cell and the `length - 1` before it, weighted by `rate` to the distance.

    Args:
        values: float32 `[rows, cells, dim]`.
        length: number of cells of the window.
        rate: ratio of the weight of a cell to that of the next one, in (0, 1].
        lag: number of cells between the end of a cell's window and the cell itself.

    Nothing is subtracted, so a small sum behind large values keeps its digits, which a difference of
    cumulative sums does not.
    """

    @tf.custom_gradient
    def run(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
        # The gradient is the same sum, read from the other end; TensorFlow's own would be slower.
        def sums(values: tf.Tensor, back: bool) -> tf.Tensor:
            return _sums(_shifted(values, lag, back), length, rate, back)

        return sums(values, back=False), lambda upstream: sums(upstream, back=True)

    return run(values) if length > 1 or lag else values


def _sums(values: tf.Tensor, length: int, rate: float, back: bool) -> tf.Tensor:
    if length == 1:
        return values
    if rate == 1 and length <= _LONGEST_POOLING:
        # TensorFlow has no pooling that sums: a mean times its length. The zeros in front give the
        # first cells a whole window, so all are divided by the same length.
        padding = [0, length - 1] if back else [length - 1, 0]
        padded = tf.pad(values, [[0, 0], padding, [0, 0]])
        return length * tf.nn.avg_pool1d(padded, length, 1, "VALID")
    return _doubled_sums(values, length, rate, back)


def _doubled_sums(values: tf.Tensor, length: int, rate: float, back: bool) -> tf.Tensor:
    """Sums windows of 1, 2, 4, ... cells, each the sum of two of the size before."""
    # The binary digits of the length choose the windows. 6 = 2 + 4: the window of 2 that ends at the
    # cell, then that of 4 that ends 2 cells before it, weighted by rate^2.
    total, covered = None, 0
    size = 1
    while True:
        if length & size:
            part = _shifted(values, covered, back)
            total = part if total is None else total + rate**covered * part
            covered += size
        if covered == length:
            return total
        values = values + rate**size * _shifted(values, size, back)
        size *= 2


def _shifted(values: tf.Tensor, cells: int, back: bool) -> tf.Tensor:
    """Moves the values to later cells, or `back` to earlier ones; zeros move in."""
    if cells == 0:
        return values
    if back:
        return tf.pad(values, [[0, 0], [0, cells], [0, 0]])[:, cells:]
    return tf.pad(values, [[0, 0], [cells, 0], [0, 0]])[:, : tf.shape(values)[1]]
