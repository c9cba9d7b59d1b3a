"""An encoder of histories by self-attention."""

from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.causal import CausalEncoder, count_events, newest_cell, where_masked
from tfrecall.layers.randomness import Dropout
from tfrecall.schema import encoders

# Of layer norms. Keras' default of .001 is more than the variance of new embeddings.
_EPSILON = 1e-6


@keras.utils.register_keras_serializable(package="tfrecall")
class AttentionEncoder(CausalEncoder):
    """Causal self-attention over the events of a history (SASRec).

    Each event has the vector of its position added, counted from the oldest event of its row. So two
    rows that begin at different events of one user differ, and a row cannot have more events than there
    are positions. With `ages` each head also adds to a score a learned number for the age of the attended
    event, the number of events from it to the attending one. Positions alone have to learn each pair of
    positions.

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
        ConfigError: if a row has more events than there are positions, or the item vectors cannot be
            divided among the heads. Inside a graph, the first is an `InvalidArgumentError`.

    Differs from the paper: the layer norm comes first for keys and values, too, and dropout is left out
    of the attention weights, as in the paper's text but not in its code.

    Reference:
        Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. For the ages: Raffel et
        al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR
        2020, section 2.1.
    """

    def __init__(
        self, spec: encoders.Attention | dict[str, Any], history_length: int, **kwargs: Any
    ) -> None:
        super().__init__(spec, history_length, **kwargs)
        self.max_length = self.spec.max_length or history_length
        if self.max_length < history_length:
            raise ConfigError(
                f"Histories of {history_length} events need as many positions. Received: max_length="
                f"{self.max_length}. Make `max_length` longer, or `history_length` shorter."
            )
        options = {"dtype": self.dtype_policy}
        self._dropout = Dropout(self.spec.dropout, **options)
        self._blocks = [
            AttentionBlock(self.spec, self.max_length, **options) for _ in range(self.spec.blocks)
        ]
        self._norm = keras.layers.LayerNormalization(epsilon=_EPSILON, **options)

    def build(self, input_shape: Any) -> None:
        self._positions = self.add_weight("positions", [self.max_length, input_shape[-1]])
        super().build(input_shape)

    def _all(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        states, events = self._start(vectors, mask, training)
        bias, age = causal_bias(mask, states.dtype), ages_of_cells(mask)
        for block in self._blocks:
            states = block(states, states, bias, age, training=training)
        return where_masked(events > 0, self._norm(states))

    def _last(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        states, _ = self._start(vectors, mask, training)
        *blocks, last_block = self._blocks
        if blocks:
            bias, age = causal_bias(mask, states.dtype), ages_of_cells(mask)
        for block in blocks:
            states = block(states, states, bias, age, training=training)
        # The last block asks for the newest cell alone: one query a row instead of one a cell makes
        # attention and feed-forward as many times cheaper. Earlier blocks need all cells as keys.
        newest_at = newest_cell(mask)
        newest = tf.gather(states, newest_at, batch_dims=1)[:, tf.newaxis]
        bias, age = _bias(mask[:, tf.newaxis], states.dtype), ages_of_cells(mask, newest_at)
        newest = self._norm(last_block(newest, states, bias, age, training=training))
        return where_masked(tf.reduce_any(mask, axis=1), tf.squeeze(newest, axis=1))

    def _start(
        self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        events = self._within_positions(count_events(mask))
        # The first event has the count 1 and the position 0. Padding before it has the count 0 and
        # takes a position that the mask hides.
        positions = tf.gather(self._positions, tf.maximum(events - 1, 0))
        # Scaled by the root of the length, as in the Transformer: new embeddings are smaller than new
        # positions, which would outweigh them.
        states = vectors * vectors.shape[-1] ** 0.5 + positions
        return self._dropout(states, training=training), events

    def _within_positions(self, events: tf.Tensor) -> tf.Tensor:
        # A known number of cells within the limit needs no check; an unknown one is checked in the
        # step.
        if (events.shape[1] or self.max_length + 1) <= self.max_length:
            return events
        message = (
            f"A row has more events than the encoder has positions, which are {self.max_length}. Cut the "
            "row, or make `max_length` of `Attention` longer."
        )
        try:
            check = tf.debugging.assert_less_equal(tf.reduce_max(events), self.max_length, message)
        except tf.errors.InvalidArgumentError as error:
            raise ConfigError(f"{message} Received: {int(tf.reduce_max(events))} events.") from error
        # In a graph the look-up of positions waits for the check, or may fail before it in fewer words.
        with tf.control_dependencies([] if check is None else [check]):
            return tf.identity(events)


@keras.utils.register_keras_serializable(package="tfrecall")
class AttentionBlock(keras.layers.Layer):
    """Attention and a feed-forward layer, each with a layer norm before and a residual around.

    Args:
        spec: the specification of the encoder, or its plain form: heads, expansion, activation, dropout,
            ages.
        max_length: number of ages with a weight of their own.

    Call arguments:
        queries: float `[rows, m, dim]`, the attending states, which are changed.
        states: float `[rows, n, dim]`, the states attended to.
        bias: float `[rows, m, n]`, added to the scores.
        age: int `[rows or 1, m, n]`, number of cells from each state to the attending one.
        training: whether to drop values.

    Returns:
        Float `[rows, m, dim]`.

    Raises:
        ConfigError: if `dim` is not divisible by the heads.
    """

    def __init__(
        self, spec: encoders.Attention | dict[str, Any], max_length: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        given: Any = encoders.encoder_from_dict(spec) if isinstance(spec, dict) else spec
        self.spec = given
        self.max_length = max_length
        options = {"dtype": self.dtype_policy}
        self._norms = [keras.layers.LayerNormalization(epsilon=_EPSILON, **options) for _ in range(2)]
        self._dropouts = [Dropout(given.dropout, **options) for _ in range(2)]

    def build(self, input_shape: Any) -> None:
        dim = input_shape[-1]
        if dim % self.spec.heads:
            raise ConfigError(
                f"{self.spec.heads} heads cannot share vectors of length {dim} equally. Choose `heads` "
                "of `Attention` that divide the `embedding_dim` of the items."
            )
        options = {"dtype": self.dtype_policy}
        self._query = keras.layers.Dense(dim, **options)
        self._key_value = keras.layers.Dense(2 * dim, **options)
        self._inner = keras.layers.Dense(
            self.spec.expansion * dim, activation=self.spec.activation, **options
        )
        self._outer = keras.layers.Dense(dim, **options)
        if self.spec.ages:
            shape = [self.spec.heads, self.max_length]
            self._ages = self.add_weight("ages", shape, initializer="zeros")
        super().build(input_shape)

    def call(
        self,
        queries: tf.Tensor,
        states: tf.Tensor,
        bias: tf.Tensor,
        age: tf.Tensor,
        training: bool | None = None,
    ) -> tf.Tensor:
        norm, inner_norm = self._norms
        dropout, inner_dropout = self._dropouts
        scaled = norm(states)
        # Where every cell attends, queries and states are one tensor: its norm is computed once.
        asking = scaled if queries is states else norm(queries)
        # One bias for all heads, or one for each.
        bias = bias[:, tf.newaxis]
        if self.spec.ages:
            bias += self._of_ages(age, bias.dtype)
        attended = self._attend(self._query(asking), self._key_value(scaled), bias)
        queries = queries + dropout(attended, training=training)
        inner = self._outer(self._inner(inner_norm(queries)))
        return queries + inner_dropout(inner, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "spec": encoders.encoder_to_dict(self.spec),
            "max_length": self.max_length,
        }

    def _attend(self, query: tf.Tensor, key_value: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        key, value = tf.split(key_value, 2, axis=-1)
        heads, dim = self.spec.heads, query.shape[-1]
        if heads == 1:
            return attention(query, key, value, tf.squeeze(bias, axis=1))
        query, key, value = (_split_heads(part, heads) for part in (query, key, value))
        attended = attention(query, key, value, bias)
        return tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [-1, tf.shape(query)[2], dim])

    def _of_ages(self, age: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Numbers added to the scores by age: `[rows or 1, heads, m, n]`; arbitrary for cells out of sight."""
        # Along the second axis: the gradient of the first would be sparse, and thousands of rows long.
        found = tf.gather(self._ages, tf.clip_by_value(age, 0, self.max_length - 1), axis=1)
        return tf.cast(tf.transpose(found, [1, 0, 2, 3]), dtype)


def attention(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Means of the values, weighted by the softmax of scaled inner products plus the bias.

    Args:
        query: float `[..., m, dim]`.
        key: float `[..., n, dim]`.
        value: float `[..., n, dim]`.
        bias: float `[..., m, n]`.
    """
    # The query is scaled, not the scores: m * dim numbers instead of m * n.
    scores = tf.matmul(query * query.shape[-1] ** -0.5, key, transpose_b=True)
    return tf.matmul(tf.nn.softmax(scores + bias), value)


def causal_bias(mask: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Bias that keeps cells from attending to later ones and to padding: `[rows, cells, cells]`."""
    cells = tf.range(tf.shape(mask)[1])
    return _bias(mask[:, tf.newaxis] & (cells <= cells[:, tf.newaxis]), dtype)


def ages_of_cells(mask: tf.Tensor, newest: tf.Tensor | None = None) -> tf.Tensor:
    """Ages of all cells seen from each cell: int32 `[1, cells, cells]`, negative for later cells.

    Args:
        mask: bool `[rows, cells]`. There are no empty cells between events, so cells count as events.
        newest: int `[rows]`, the one cell of each row to count from; then the ages are `[rows, 1, cells]`.
    """
    cells = tf.range(tf.shape(mask)[1])
    of = cells if newest is None else tf.cast(newest, cells.dtype)[:, tf.newaxis]
    ages = of[..., tf.newaxis] - cells
    return ages[tf.newaxis] if newest is None else ages


def _bias(allowed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    # Half of the lowest number, so that adding a score does not overflow to -inf: a cell that may attend
    # to nothing then gets equal weights, where a row of -inf would give NaN.
    return tf.where(allowed, tf.zeros([], dtype), tf.constant(dtype.min / 2, dtype))


def _split_heads(vectors: tf.Tensor, heads: int) -> tf.Tensor:
    # [rows, n, dim] to [rows, heads, n, dim / heads]: heads join the batch axes of `matmul`.
    parts = tf.reshape(vectors, [-1, tf.shape(vectors)[1], heads, vectors.shape[-1] // heads])
    return tf.transpose(parts, [0, 2, 1, 3])
