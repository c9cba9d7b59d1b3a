"""The fused Adagrad against Keras' and against the paper's formula."""

import numpy as np
import pytest

from tests.training.stepping import START, check_replicas, slices, trained
from tfrecall._keras import keras, tf
from tfrecall.training.optimizers import FusedAdagrad, make_optimizer


def test_two_steps_by_hand():
    # Row 3 has g = 2 + 1 in both steps, as it occurs twice. The accumulator is 7 + 9 = 16, then 25; the
    # steps are .1 * 3 / 4 and .1 * 3 / 5. The other column has g = -4 and 7 + 16 = 23, then 39.
    table, optimizer = tf.Variable(START), FusedAdagrad(0.1, initial_accumulator_value=7.0)
    for _ in range(2):
        optimizer.apply_gradients([(slices([[2.0, -1.0], [1.0, -3.0]], [3, 3]), table)])
    expected = START.copy()
    expected[3] += [-0.3 / 4 - 0.3 / 5, 0.4 / 23**0.5 + 0.4 / 39**0.5]
    np.testing.assert_allclose(table, expected, atol=1e-6)


# With nothing in the accumulator epsilon is what keeps a zero gradient from 0 / 0.
@pytest.mark.parametrize("initial", [0.1, 0.0])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_weights_are_those_of_keras(clip_norm, initial):
    clipped = {} if clip_norm is None else {"global_clipnorm": clip_norm}

    class Keras(keras.optimizers.Adagrad):
        def _clip_gradients(self, gradients):
            return super()._clip_gradients(self._deduplicate_sparse_grad(gradients))

    ours, theirs = make_optimizer("adagrad", 0.1, clip_norm), Keras(0.1, **clipped)
    for optimizer in (ours, theirs):
        optimizer.initial_accumulator_value = initial
    ours, theirs = trained(ours), trained(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)
    # Rows that no step uses stay, bit for bit.
    np.testing.assert_array_equal(ours[0][[0, 3, 5]], START[[0, 3, 5]])


def test_a_gradient_of_zero_is_no_step():
    table, optimizer = tf.Variable(START), FusedAdagrad(0.1, initial_accumulator_value=0.0)
    optimizer.apply_gradients([(slices([[0.0, 0.0]], [3]), table)])
    np.testing.assert_array_equal(table, START)


def test_a_learning_rate_that_changes_is_followed():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.0])
    np.testing.assert_array_equal(
        trained(FusedAdagrad(schedule), steps=3)[0], trained(FusedAdagrad(schedule), steps=5)[0]
    )


def test_the_configuration_survives():
    made = FusedAdagrad(0.02, initial_accumulator_value=0.5)
    made.build([tf.Variable(START)])
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert isinstance(optimizer, FusedAdagrad)
    assert optimizer.initial_accumulator_value == 0.5


@pytest.mark.slow
def test_each_replica_takes_the_same_step():
    # The replicas' gradients add up: g = 2, accumulator 5 + 4 = 9, step .5 * 2 / 3.
    check_replicas(
        "from tfrecall.training.optimizers import FusedAdagrad",
        "FusedAdagrad(0.5, initial_accumulator_value=5.0)",
        "-1 / 3",
    )
