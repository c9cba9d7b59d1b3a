"""A recurrent encoder of histories."""

from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.layers.encoders.causal import CausalEncoder
from tfrecall.layers.randomness import Dropout
from tfrecall.schema import encoders


@keras.utils.register_keras_serializable(package="tfrecall")
class GRUEncoder(CausalEncoder):
    """The state of a recurrent network after each event.

    Cells without an event leave the state as it is. A history may be longer than `history_length`.

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

    Differs from the paper: batches hold whole histories, not pieces of running sessions, and the loss
    is the task's.

    Reference:
        Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016.
    """

    def __init__(self, spec: encoders.GRU | dict[str, Any], history_length: int, **kwargs: Any) -> None:
        super().__init__(spec, history_length, **kwargs)
        of_all = {"return_sequences": True, "dtype": self.dtype_policy}
        self._recurrent = [keras.layers.GRU(self.spec.units, **of_all) for _ in range(self.spec.layers)]
        self._dropouts = [Dropout(self.spec.dropout, dtype=self.dtype_policy) for _ in self._recurrent]

    def output_dim(self, dim: int) -> int:
        return self.spec.units

    def _all(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        for dropout, layer in zip(self._dropouts, self._recurrent, strict=True):
            vectors = layer(dropout(vectors, training=training), mask=mask)
        return vectors

    def _last(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool | None) -> tf.Tensor:
        # Masked cells carry the state along, so the last cell has that of the last event. The recurrence
        # passes every cell anyway: stopping early would save nothing.
        return self._all(vectors, mask, training)[:, -1]
