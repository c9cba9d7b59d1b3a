"""The cross entropy against arithmetic and TensorFlow's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import tf
from tfrecall.tasks.in_batch import sparse_cross_entropy


def value_and_gradient(function, logits, labels, weights):
    logits = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = function(logits, tf.constant(labels))
        total = tf.reduce_sum(losses * tf.constant(weights, tf.float32))
    return losses.numpy(), tape.gradient(total, logits).numpy()


def tensorflows(logits, labels):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def test_a_hand_worked_row():
    # Probabilities 1/6, 2/6, 3/6; the true one is the second: ln 3. Weight 2: the gradient is twice
    # the probabilities, less 2 at the true one.
    losses, gradient = value_and_gradient(
        sparse_cross_entropy, [[0.0, np.log(2), np.log(3)]], [1], [2.0]
    )
    np.testing.assert_allclose(losses, [np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[1 / 3, 2 / 3 - 2, 1.0]], rtol=1e-6)


@examples(30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000), st.sampled_from([1.0, 30.0, 1e4]))
def test_value_and_gradient_are_those_of_tensorflow(rows, columns, seed, scale):
    random = np.random.default_rng(seed)
    batch = (
        random.normal(0, scale, (rows, columns)),
        random.integers(columns, size=rows),
        random.uniform(0, 2, rows),
    )
    losses, gradient = value_and_gradient(sparse_cross_entropy, *batch)
    expected, expected_gradient = value_and_gradient(tensorflows, *batch)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("masked", [-1e9, float("-inf")])
def test_masked_columns_add_nothing(masked):
    losses, gradient = value_and_gradient(sparse_cross_entropy, [[0.0, masked, 0.0]], [0], [1.0])
    np.testing.assert_allclose(losses, [np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.5, 0.0, 0.5]], rtol=1e-6)


def test_a_nan_shows():
    losses, _ = value_and_gradient(sparse_cross_entropy, [[0.0, float("nan")]], [0], [1.0])
    assert np.isnan(losses).all()
