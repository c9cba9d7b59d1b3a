"""Scaling to length one and random unknowns."""

import numpy as np
import pytest

from tfrecall._keras import keras, tf
from tfrecall.layers.dense import L2Normalization
from tfrecall.layers.randomness import RandomUnknown


def test_vectors_get_length_one_and_keep_their_direction():
    # 3, 4 has length 5.
    scaled = L2Normalization()(tf.constant([[3.0, 4.0], [30.0, 40.0]]))
    np.testing.assert_allclose(scaled, [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6, atol=1e-7)


def test_padding_is_zero_after_scaling():
    # The vector of index 0 in a table is not zero, and would get length one.
    table = keras.layers.Embedding(3, 2, mask_zero=True)
    scaled = L2Normalization()(table(tf.constant([[0, 1, 2]])))
    np.testing.assert_allclose(tf.norm(scaled, axis=-1), [[0, 1, 1]], rtol=1e-6, atol=1e-7)
    assert scaled._keras_mask.numpy().tolist() == [[False, True, True]]


def test_the_zero_vector_stays_zero_and_has_a_finite_gradient():
    zero = tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        scaled = L2Normalization()(zero)
    assert scaled.numpy().tolist() == [[0.0, 0.0]]
    assert np.isfinite(tape.gradient(scaled, zero)).all()


def test_the_declared_share_becomes_unknown():
    tf.random.set_seed(1)
    out = RandomUnknown(0.1)(tf.fill([100, 100], 7), training=True).numpy()
    assert set(np.unique(out)) == {1, 7}
    # 10,000 draws of 0.1: mean 1000, standard deviation 30; five of them either side.
    assert 850 < (out == 1).sum() < 1150


def test_padding_and_unknown_are_left_alone():
    inputs = tf.constant([[0, 1]] * 1000)
    np.testing.assert_array_equal(RandomUnknown(0.9)(inputs, training=True), inputs)


def test_nothing_is_replaced_outside_training_or_at_rate_0():
    inputs = tf.fill([1000], 7)
    np.testing.assert_array_equal(RandomUnknown(0.9)(inputs), inputs)
    np.testing.assert_array_equal(RandomUnknown(0.0)(inputs, training=True), inputs)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match=f"Received: {rate}"):
        RandomUnknown(rate)
