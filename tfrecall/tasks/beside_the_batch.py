"""Candidates that stand beside those of the batch."""

from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.layers.randomness import RandomStream
from tfrecall.tasks.memory import CandidateMemory


class BesideTheBatch(keras.layers.Layer):
    """Base of the tasks whose batches can have uniform draws and rows of past batches beside them.

    A subclass says with `_set_beside` how many.

    Attributes:
        num_uniform_negatives: drawn for each batch, with replacement.
    """

    num_uniform_negatives: int

    def _set_beside(self, num_uniform_negatives: int, memory_size: int) -> None:
        self.num_uniform_negatives = num_uniform_negatives
        self._memory = CandidateMemory(memory_size) if memory_size else None
        self._stream = RandomStream() if num_uniform_negatives else None

    def build(self, input_shape: Any) -> None:
        """Makes what is kept from step to step, for vectors of the length `input_shape[-1]`.

        All of it is weights, so a checkpoint holds it.
        """
        if self._memory is not None:
            self._memory.build(input_shape)
        if self._stream is not None:
            self._stream.build(None)
        super().build(input_shape)

    def draw_uniform(self, num_candidates: int) -> tf.Tensor:
        """Rows of a catalogue of `num_candidates`, for the next batch: int32 `[num_uniform_negatives]`."""
        if self._stream is None:
            return tf.zeros([0], tf.int32)
        shape, seed = [self.num_uniform_negatives], self._stream.next_seed()
        return tf.random.stateless_uniform(shape, seed, maxval=num_candidates, dtype=tf.int32)
