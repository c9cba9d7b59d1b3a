"""Candidates of past batches, kept to stand as negatives."""

from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.tasks.candidates import Candidates


@keras.utils.register_keras_serializable(package="tfrecall")
class CandidateMemory(keras.layers.Layer):
    """A ring buffer of the candidates of the last `size` training rows.

    Embeddings drift slowly compared with the batches that pass, so vectors that are some steps old are
    still good negatives, at the price of a multiplication. No gradient flows into them. It keeps *rows*
    and not distinct candidates: what it holds is then what `size` further draws from the log would
    give, and its inclusion probability is that of a batch larger by as many rows.

    Args:
        size: rows kept.

    Reference:
        Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020, section 3.2; for two
        towers, Wang et al., "Cross-Batch Negative Sampling for Training Two-Tower Recommenders",
        SIGIR 2021.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if size < 1:
            raise ConfigError(f"`size` must be 1 or more. Received: {size}.")
        self.size = size

    def build(self, input_shape: Any) -> None:
        """Makes the buffer for vectors of the length `input_shape[-1]`."""
        self.ids = self._state("ids", [self.size], tf.int64)
        self.embeddings = self._state("embeddings", [self.size, input_shape[-1]], tf.float32)
        self.share = self._state("share", [self.size], tf.float32)
        self.pushed = self._state("pushed", [], tf.int64)
        super().build(input_shape)

    def _state(self, name: str, shape: list[int], dtype: tf.DType) -> tf.Variable:
        return self.add_weight(
            name,
            shape,
            dtype,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    @property
    def filled(self) -> tf.Tensor:
        """Rows held: `size` at most, 0 at first. int64."""
        return tf.minimum(self.pushed.read_value(), self.size)

    def read(self) -> Candidates:
        """The rows held, the newest first; empty places are none."""
        age = tf.range(self.filled, dtype=tf.int64)
        slots = tf.math.floormod(self.pushed - 1 - age, self.size)
        return Candidates(
            *(tf.gather(state, slots) for state in (self.ids, self.embeddings, self.share))
        )

    def push(self, candidates: Candidates) -> None:
        """Takes in the rows of a batch, the last of which count as the newest; the oldest give way."""
        newest = Candidates(*(values[-self.size :] for values in candidates))
        skipped = tf.shape(candidates.ids, tf.int64)[0] - tf.shape(newest.ids, tf.int64)[0]
        places = self.pushed + skipped + tf.range(tf.shape(newest.ids, tf.int64)[0])
        slots = tf.math.floormod(places, self.size)
        for state, values in zip((self.ids, self.embeddings, self.share), newest, strict=True):
            state.scatter_update(tf.IndexedSlices(tf.cast(values, state.dtype), slots))
        self.pushed.assign_add(tf.shape(candidates.ids, tf.int64)[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}
