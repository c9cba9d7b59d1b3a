"""An encoder of histories by gated attention that knows times."""

from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.core.vocabulary import UNKNOWN
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.attention import ages_of_cells
from tfrecall.layers.encoders.causal import CausalEncoder, count_events, newest_cell, where_masked
from tfrecall.layers.encoders.elapsed import TIME_BUCKETS, asking_times, by_bucket, time_bucket
from tfrecall.layers.randomness import Dropout, RandomStream
from tfrecall.schema import encoders

# Of layer norms. Keras' default of .001 is more than the variance of attended values.
_EPSILON = 1e-6
# Added to the score of a pair of cells that may not attend; both weights of attention become 0.
_NEVER = -1e9


@keras.utils.register_keras_serializable(package="tfrecall")
class GatedEncoder(CausalEncoder):
    """Causal gated attention over the events of a history (HSTU).

    With `time`, the vector of a cell is that of the history which ends there and of the moment for which
    the answer is asked: the time of the next event, and for the newest event that of the request. A row
    without the time of its request is read as of each event, with numbers of its own.

    Args:
        spec: the specification (`tfrecall.encoders`), or its plain form.
        history_length: number of events of a history at most; weights of positions are as many.

    Call arguments:
        vectors: float `[rows, cells, dim]`, the oldest event first.
        mask: bool `[rows, cells]`, True where the cell holds an event.
        training: whether to drop values, and to hide requests.
        last_only: whether to give the last cell alone, which is cheaper.
        times: with `time`, int32 `[rows, cells]`: seconds of each event; 1 is not known.
        asked: with `time`, int32 `[rows]`: seconds of the request; 1 is not known.

    Returns:
        Float `[rows, cells, output_dim]`, or `[rows, output_dim]` of the last cell.

    Raises:
        ConfigError: if the item vectors cannot be divided among the heads, or times are missing.

    Differs from the paper: times from each event to the request take the place of those between events, as
    in RecTools; they also add a vector to each event; weights are not divided by the length of the row,
    which the layer norm behind them undoes.

    Reference:
        Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
        Generative Recommendations", ICML 2024, section 3.
    """

    def __init__(
        self, spec: encoders.Gated | dict[str, Any], history_length: int, **kwargs: Any
    ) -> None:
        super().__init__(spec, history_length, **kwargs)
        options = {"dtype": self.dtype_policy}
        self._dropout = Dropout(self.spec.dropout, **options)
        self._blocks = [
            GatedBlock(self.spec, history_length, **options) for _ in range(self.spec.blocks)
        ]
        self._norm = keras.layers.LayerNormalization(epsilon=_EPSILON, **options)
        self._stream = RandomStream() if self.spec.hidden_requests else None

    def build(self, input_shape: Any) -> None:
        if self.spec.time:
            shape = [2 * TIME_BUCKETS, input_shape[-1]]
            self._since_newest = self.add_weight("since_newest", shape, initializer="zeros")
        if self._stream:
            self._stream.build(None)
        super().build(input_shape)

    def _all(
        self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None, **moments: tf.Tensor
    ) -> tf.Tensor:
        states, pairs = self._start(vectors, mask, training, **moments)
        ages = ages_of_cells(mask)
        for block in self._blocks:
            states = block(states, states, pairs, ages, training=training)
        return where_masked(count_events(mask) > 0, self._norm(states))

    def _last(
        self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None, **moments: tf.Tensor
    ) -> tf.Tensor:
        states, pairs = self._start(vectors, mask, training, **moments)
        *blocks, last_block = self._blocks
        ages = ages_of_cells(mask)
        for block in blocks:
            states = block(states, states, pairs, ages, training=training)
        # The last block asks for the newest cell alone, as that of `AttentionEncoder` does.
        newest_at = newest_cell(mask)
        newest, pairs = (tf.gather(x, newest_at, batch_dims=1)[:, tf.newaxis] for x in (states, pairs))
        ages = ages_of_cells(mask, newest_at)
        newest = self._norm(last_block(newest, states, pairs, ages, training=training))
        return where_masked(tf.reduce_any(mask, axis=1), tf.squeeze(newest, axis=1))

    def _start(
        self,
        vectors: tf.Tensor,
        mask: tf.Tensor,
        training: bool | None,
        times: tf.Tensor | None = None,
        asked: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Input of the first block, and the bucket of each pair of cells: int32 `[rows, cells, cells]`."""
        # Scaled by the root of the length, as in the Transformer.
        states = vectors * vectors.shape[-1] ** 0.5
        cells = tf.range(tf.shape(mask)[1])
        allowed = mask[:, tf.newaxis] & (cells <= cells[:, tf.newaxis])
        if not self.spec.time:
            return self._dropout(states, training=training), tf.where(allowed, 0, 1)
        if times is None or asked is None:
            raise ConfigError(
                "`Gated` with `time` reads the times of events and of the request. Pass `times=` and "
                "`asked=`, or set `time` to false."
            )
        asked = self._hide(asked, training)
        told = asked[:, tf.newaxis] > UNKNOWN
        until = tf.where(told, asking_times(times, asked, mask), times)
        # Numbers of their own for rows that are not told the time of their request.
        shift = tf.where(told, 0, TIME_BUCKETS)
        own = time_bucket(times, until) + shift
        states += tf.cast(tf.gather(self._since_newest, own), states.dtype)
        pairs = time_bucket(times[:, tf.newaxis], until[..., tf.newaxis]) + shift[..., tf.newaxis]
        # One bucket more, for pairs that may not attend: no product with a mask in each block.
        return self._dropout(states, training=training), tf.where(allowed, pairs, 2 * TIME_BUCKETS)

    def _hide(self, asked: tf.Tensor, training: bool | None) -> tf.Tensor:
        if not training or self._stream is None:
            return asked
        return tf.where(self._stream(tf.shape(asked)) < self.spec.hidden_requests, UNKNOWN, asked)


@keras.utils.register_keras_serializable(package="tfrecall")
class GatedBlock(keras.layers.Layer):
    """Attention whose values are gated, with a layer norm before, another behind, and a residual around.

    Args:
        spec: the specification of the encoder, or its plain form.
        max_length: number of ages with a weight of their own; older ones share the last.

    Call arguments:
        queries: float `[rows, m, dim]`, the attending states, which are changed.
        states: float `[rows, n, dim]`, the states attended to.
        pairs: int32 `[rows, m, n]`, the bucket of each pair; the last bucket is for pairs that may not
            attend. With `time` there are `2 * TIME_BUCKETS` before it, else one.
        ages: int32 `[rows or 1, m, n]`, number of cells from each state to the attending one.
        training: whether to drop values.

    Returns:
        Float `[rows, m, dim]`.

    Raises:
        ConfigError: if `dim` is not divisible by the heads.
    """

    def __init__(self, spec: encoders.Gated | dict[str, Any], max_length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given: Any = encoders.encoder_from_dict(spec) if isinstance(spec, dict) else spec
        self.spec = given
        self.max_length = max_length
        options = {"dtype": self.dtype_policy}
        self._norms = [keras.layers.LayerNormalization(epsilon=_EPSILON, **options) for _ in range(2)]
        self._drop = Dropout(given.dropout, **options)

    def build(self, input_shape: Any) -> None:
        dim, spec = input_shape[-1], self.spec
        if dim % spec.heads:
            raise ConfigError(
                f"{spec.heads} heads cannot share vectors of length {dim} equally. Choose `heads` of `Gated` "
                "that divide the `embedding_dim` of the items."
            )
        options = {"dtype": self.dtype_policy}
        self._attending = keras.layers.Dense((1 + spec.products) * dim, activation="swish", **options)
        self._attended = keras.layers.Dense((1 + spec.products) * dim, activation="swish", **options)
        self._output = keras.layers.Dense(dim, **options)
        # Without products weights of 0 would attend to nothing, and the norm behind divide by it.
        start = "zeros" if spec.products else "ones"
        if spec.time:
            self._times = self.add_weight("times", [2 * TIME_BUCKETS], initializer=start)
        if spec.positions:
            self._ages = self.add_weight("ages", [self.max_length], initializer=start)
        super().build(input_shape)

    def call(
        self,
        queries: tf.Tensor,
        states: tf.Tensor,
        pairs: tf.Tensor,
        ages: tf.Tensor,
        training: bool | None = None,
    ) -> tf.Tensor:
        norm, norm_behind = self._norms
        scaled = norm(states)
        asking = scaled if queries is states else norm(queries)
        attending, attended = self._attending(asking), self._attended(scaled)
        bias = self._bias(pairs, ages, attended.dtype)
        if self.spec.products:
            gate, query = tf.split(attending, 2, axis=-1)
            value, key = tf.split(attended, 2, axis=-1)
            mixed = self._mixed(value, bias, query, key)
        else:
            gate, mixed = attending, self._mixed(attended, bias)
        return queries + self._output(self._drop(gate * norm_behind(mixed), training=training))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "spec": encoders.encoder_to_dict(self.spec),
            "max_length": self.max_length,
        }

    def _bias(self, pairs: tf.Tensor, ages: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Numbers added to the scores: `[rows, m, n]`."""
        times = tf.cast(self._times, dtype) if self.spec.time else tf.zeros([1], dtype)
        bias = by_bucket(tf.concat([times, tf.constant([_NEVER], dtype)], axis=0), pairs)
        if self.spec.positions:
            ages = tf.clip_by_value(ages, 0, self.max_length - 1)
            bias += by_bucket(tf.cast(self._ages, dtype), ages)
        return bias

    def _mixed(
        self,
        value: tf.Tensor,
        bias: tf.Tensor,
        query: tf.Tensor | None = None,
        key: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Sums of the values, weighted by the scores: `[rows, m, dim]`."""
        heads, dim, softmax = self.spec.heads, value.shape[-1], self.spec.attention == "softmax"
        scores = bias
        if query is not None:
            if softmax:
                query *= (dim / heads) ** -0.5
            scores = tf.matmul(_split_heads(query, heads), _split_heads(key, heads), transpose_b=True)
            scores += bias if heads == 1 else bias[:, tf.newaxis]
        elif heads > 1:
            scores = bias[:, tf.newaxis]
        weights = tf.nn.softmax(scores) if softmax else tf.nn.silu(scores)
        return _join_heads(tf.matmul(weights, _split_heads(value, heads)), heads)


def _split_heads(vectors: tf.Tensor, heads: int) -> tf.Tensor:
    if heads == 1:
        return vectors
    parts = tf.reshape(vectors, [-1, tf.shape(vectors)[1], heads, vectors.shape[-1] // heads])
    return tf.transpose(parts, [0, 2, 1, 3])


def _join_heads(vectors: tf.Tensor, heads: int) -> tf.Tensor:
    if heads == 1:
        return vectors
    together = tf.transpose(vectors, [0, 2, 1, 3])
    return tf.reshape(together, [-1, tf.shape(together)[1], heads * vectors.shape[-1]])
