"""The ring buffer against a list."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.tasks.candidates import CandidateMemory, Candidates, distinct_columns


def rows(ids, scale=1.0):
    """Candidates whose vector and share tell which they are."""
    numbers = np.asarray(ids, dtype=np.float32)
    return Candidates(
        tf.constant(ids, tf.int64),
        tf.constant(scale * numbers[:, np.newaxis] * [1.0, -1.0], tf.float32),
        tf.constant(numbers / 1000),
    )


def built(size):
    memory = CandidateMemory(size)
    memory.build([None, 2])
    return memory


def test_an_empty_memory_has_no_rows():
    held = built(4).read()
    assert [len(values) for values in held] == [0, 0, 0]
    assert held.embeddings.shape == (0, 2)


def test_the_newest_come_first_and_the_oldest_give_way():
    memory = built(4)
    memory.push(rows([1, 2, 3]))
    assert memory.read().ids.numpy().tolist() == [3, 2, 1]
    memory.push(rows([4, 5]))
    held = memory.read()
    assert held.ids.numpy().tolist() == [5, 4, 3, 2]
    np.testing.assert_array_equal(held.embeddings[0], [5, -5])
    np.testing.assert_allclose(held.share, [0.005, 0.004, 0.003, 0.002])


@pytest.mark.slow
@examples(25)
@given(st.integers(1, 6), st.lists(st.integers(0, 15), max_size=6))
def test_it_holds_the_last_rows_whatever_the_batches(size, lengths):
    memory, expected, passed = built(size), deque(maxlen=size), 0
    for length in lengths:
        batch = list(range(passed, passed + length))
        memory.push(rows(batch))
        expected.extend(batch)
        passed += length
        held = memory.read()
        assert held.ids.numpy().tolist() == list(expected)[::-1]
        np.testing.assert_array_equal(held.embeddings[:, 0], list(expected)[::-1])
        assert memory.filled == len(expected)


def test_all_of_it_is_weights_that_are_not_trained():
    memory = built(3)
    memory.push(rows([7, 8]))
    copy = keras.layers.deserialize(keras.layers.serialize(memory))
    copy.build([None, 2])
    copy.set_weights(memory.get_weights())
    assert copy.read().ids.numpy().tolist() == [8, 7]
    assert not memory.trainable_weights


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="Received: 0"):
        CandidateMemory(0)


def test_columns_are_distinct_and_as_in_the_first_group():
    # Row 1 of the batch (id 6) does not stand, but 6 is in memory, too: it stands, with the vector of
    # the batch. 8 is in both groups, 9 in memory twice; 4 stands nowhere.
    columns, labels, standing = distinct_columns(
        [rows([8, 6, 4, 8]), rows([9, 8, 6, 9], scale=100.0)], tf.constant([True, False, False, True])
    )
    assert columns.ids.numpy().tolist() == [8, 6, 4, 9]
    assert columns.embeddings[:, 0].numpy().tolist() == [8, 6, 4, 900]
    assert labels.numpy().tolist() == [0, 1, 2, 0]
    assert standing.numpy().tolist() == [True, True, False, True]
