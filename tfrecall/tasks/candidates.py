"""Candidates of the batch, of uniform draws and of past batches, as columns of one score matrix."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.layers.randomness import RandomStream

# Stands for scores that do not count: its exp() is 0, and a sum with it does not overflow.
MASKED = -1e9


class Candidates(NamedTuple):
    """Candidates with their vectors, one a row; an id may occur more than once.

    Attributes:
        ids: int64 `[n]`.
        embeddings: float `[n, embedding_dim]`.
        share: float32 `[n]`, the share of the training rows that hold the candidate.
    """

    ids: tf.Tensor
    embeddings: tf.Tensor
    share: tf.Tensor


def distinct_columns(
    groups: Sequence[Candidates], stands: tf.Tensor
) -> tuple[Candidates, tf.Tensor, tf.Tensor]:
    """Removes duplicates: each candidate once, from the first group that has it.

    Args:
        groups: groups of candidates, the batch first.
        stands: bool `[batch_size]`, whether a row makes its candidate a negative of others. Candidates of
            later groups always do.

    Returns:
        The distinct candidates; the column of each row of the batch among them, int32 `[batch_size]`; and
        whether each of them is a negative at all, bool `[columns]`.
    """
    both = Candidates(*(tf.concat(values, axis=0) for values in zip(*groups, strict=True)))
    distinct, places = tf.unique(both.ids)
    count = tf.size(distinct)
    # Example: the ids [7, 8, 7] of the batch and [9, 8] drawn have the distinct [7, 8, 9], the places
    # [0, 1, 0, 2, 1] and the first occurrences [0, 1, 3], where the vectors are taken from.
    first = tf.math.unsorted_segment_min(tf.range(tf.size(places)), places, count)
    others = tf.ones([tf.size(places) - tf.size(stands)], tf.int32)
    standing = tf.concat([tf.cast(stands, tf.int32), others], axis=0)
    return (
        Candidates(distinct, tf.gather(both.embeddings, first), tf.gather(both.share, first)),
        places[: tf.size(stands)],
        # One occurrence that stands is enough.
        tf.math.unsorted_segment_max(standing, places, count) > 0,
    )


@keras.utils.register_keras_serializable(package="tfrecall")
class CandidateMemory(keras.layers.Layer):
    """Cross-batch memory: a FIFO queue of the candidates of the last `size` training rows.

    Embeddings drift slowly compared with the batches that pass, so vectors some steps old are still good
    negatives, at the price of a multiplication. No gradient flows into them. The queue keeps *rows*, not
    distinct candidates: it is then like `size` further draws from the log, and its inclusion probability
    is that of a batch larger by as many rows.

    Args:
        size: number of rows kept.

    Raises:
        ConfigError: if `size` is below 1.

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
        # float32 and int64 whatever the layer computes in. Replicas may assign only with an
        # aggregation; the first one's value is kept.
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
        """Number of rows held: `size` at most, 0 at first. int64."""
        return tf.minimum(self.pushed.read_value(), self.size)

    def read(self) -> Candidates:
        """The rows held, the newest first, without empty places."""
        # Row number i of all rows pushed so far lies in the slot i mod size, so the newest is number
        # pushed - 1. The newest come first: of a repeated id `distinct_columns` keeps the first, the
        # newest vector.
        age = tf.range(self.filled, dtype=tf.int64)
        slots = tf.math.floormod(self.pushed - 1 - age, self.size)
        return Candidates(
            *(tf.gather(state, slots) for state in (self.ids, self.embeddings, self.share))
        )

    def push(self, candidates: Candidates) -> None:
        """Appends a batch to the queue, overwriting the oldest rows; the last row is the newest."""
        newest = Candidates(*(values[-self.size :] for values in candidates))
        # Of a batch longer than the queue only the last rows are written, but all count as pushed.
        skipped = tf.shape(candidates.ids, tf.int64)[0] - tf.shape(newest.ids, tf.int64)[0]
        places = self.pushed + skipped + tf.range(tf.shape(newest.ids, tf.int64)[0])
        slots = tf.math.floormod(places, self.size)
        for state, values in zip((self.ids, self.embeddings, self.share), newest, strict=True):
            state.scatter_update(tf.IndexedSlices(tf.cast(values, state.dtype), slots))
        self.pushed.assign_add(tf.shape(candidates.ids, tf.int64)[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class ExtraNegatives(keras.layers.Layer):
    """Base of the tasks that add uniform draws and a cross-batch memory to the candidates of a batch.

    Subclasses call `_set_extra_negatives` with the numbers.

    Attributes:
        num_uniform_negatives: items drawn for each batch, with replacement.
    """

    num_uniform_negatives: int

    def _set_extra_negatives(self, num_uniform_negatives: int, memory_size: int) -> None:
        self.num_uniform_negatives = num_uniform_negatives
        self._memory = CandidateMemory(memory_size) if memory_size else None
        self._stream = RandomStream() if num_uniform_negatives else None

    def build(self, input_shape: Any) -> None:
        """Makes the state kept from step to step, for vectors of the length `input_shape[-1]`.

        All of it is weights, so a checkpoint holds it.
        """
        if self._memory is not None:
            self._memory.build(input_shape)
        if self._stream is not None:
            self._stream.build(None)
        super().build(input_shape)

    def draw_uniform(self, num_candidates: int) -> tf.Tensor:
        """Rows of a catalogue of `num_candidates`, for the next batch: int32 `[num_uniform_negatives]`.

        All replicas draw the same, as they share the batch.
        """
        if self._stream is None:
            return tf.zeros([0], tf.int32)
        # Stateless, with the seed from a weight: a resumed training draws as if it had not stopped.
        shape, seed = [self.num_uniform_negatives], self._stream.next_seed(shared=True)
        return tf.random.stateless_uniform(shape, seed, maxval=num_candidates, dtype=tf.int32)
