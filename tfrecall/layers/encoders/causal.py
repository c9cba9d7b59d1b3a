"""Base of the encoders of histories: causal over a sequence, the same for its last event alone."""

from typing import Any

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.errors import ConfigError
from tfrecall.schema import encoders


class CausalEncoder(keras.layers.Layer):
    """Base of the encoders: from the vectors of events to a vector of the history after each event.

    Cell `j` gets the vector of the history that ends there: it depends on the cells up to `j` only.
    Cells without an event count for nothing, wherever they stand; behind the last event they repeat its
    vector, and a cell that no event has come before gives the zero vector. So neither the padding of a
    row nor its other rows change anything.

    Args:
        spec: the specification from `tfrecall.schema.encoders`, or its plain form.
        history_length: number of events of a history at most.

    Call arguments:
        vectors: float tensor `[rows, cells, dim]`, the oldest event first; cells without one may hold
            any finite numbers.
        mask: bool tensor `[rows, cells]`, True where the cell holds an event. Between the events of a
            row there are no empty cells.
        training: whether to drop values.
        last_only: whether to give the last cell alone, which is cheaper.
        moments: times of events and requests, for an encoder that reads them (`Gated`).

    Returns:
        Float tensor `[rows, cells, output_dim]`, or `[rows, output_dim]` of the last cell.

    Raises:
        ConfigError: if `history_length` is below 1, or no mask reaches the layer.
    """

    def __init__(
        self, spec: encoders.Encoder | dict[str, Any], history_length: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if history_length < 1:
            raise ConfigError(f"`history_length` must be 1 or more. Received: {history_length}.")
        self.spec: Any = encoders.encoder_from_dict(spec) if isinstance(spec, dict) else spec
        self.history_length = history_length
        self.supports_masking = True

    @property
    def interests(self) -> int:
        """Number of vectors of equal length side by side in the output; 1 but for `Interests`."""
        return 1

    def output_dim(self, dim: int) -> int:
        """Length of the vectors that come from vectors of length `dim`."""
        return dim

    def last(
        self,
        vectors: tf.Tensor,
        mask: tf.Tensor,
        training: bool | None = None,
        **moments: tf.Tensor,
    ) -> tf.Tensor:
        """The vector of each whole history: `[rows, output_dim]`."""
        return self(vectors, mask, training=training, last_only=True, **moments)

    @without_autograph
    def call(
        self,
        vectors: tf.Tensor,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
        last_only: bool = False,
        **moments: tf.Tensor,
    ) -> tf.Tensor:
        if mask is None:
            raise ConfigError(
                f"`{type(self).__name__}` needs a mask to tell events from padding. Pass `mask=`. "
                f"Received: vectors.shape={vectors.shape}, mask=None."
            )
        mask = tf.convert_to_tensor(mask, tf.bool)
        if last_only:
            return self._last(vectors, mask, training, **moments)
        return repeat_last(self._all(vectors, mask, training, **moments), mask)

    def _all(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        """The vectors of all cells; those behind the last event may hold anything."""
        raise NotImplementedError

    def _last(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        raise NotImplementedError

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "spec": encoders.encoder_to_dict(self.spec),
            "history_length": self.history_length,
        }


def count_events(mask: tf.Tensor) -> tf.Tensor:
    """Number of events up to each cell, itself included: int32, of the shape of `mask`."""
    return tf.cumsum(tf.cast(mask, tf.int32), axis=1)


def where_masked(mask: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """The vectors where the mask is true, zeros elsewhere."""
    # A product is several times as fast as `tf.where`, which broadcasts slowly on a CPU.
    return vectors * tf.cast(mask, vectors.dtype)[..., tf.newaxis]


def newest_cell(mask: tf.Tensor) -> tf.Tensor:
    """The cell of each row's last event, int64; the first cell where there is none."""
    # `argmax` gives the first of equal counts: mask [0, 1, 1, 0] has the counts [0, 1, 2, 2], cell 2.
    return tf.argmax(count_events(mask), axis=1)


def repeat_last(vectors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Puts the vector of the last event into the cells behind it."""
    behind = ~mask & (count_events(mask) > 0)

    def repeated() -> tf.Tensor:
        newest = tf.gather(vectors, newest_cell(mask), batch_dims=1)
        return tf.where(behind[..., tf.newaxis], newest[:, tf.newaxis], vectors)

    # Most batches are padded in front, with nothing behind the last event: these are not copied.
    return tf.cond(tf.reduce_any(behind), repeated, lambda: vectors)
