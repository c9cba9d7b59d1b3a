"""The fused Adam against Keras' and against the paper's formula."""

import numpy as np
import pytest

from tests.training.stepping import START, check_replicas, slices, trained
from tfrecall._keras import keras, tf
from tfrecall.training.optimizers import FusedAdam, make_optimizer


def test_a_first_step_goes_as_far_as_the_learning_rate():
    # m = .1 g and v = .001 g^2, corrected g and g^2: the step is lr * g / (|g| + eps). Row 3 has
    # g = 2 + 1, as it occurs twice; the other rows have no gradient yet and stay.
    table = tf.Variable(START)
    gradient = slices([[2.0, -1.0], [1.0, -1.0]], [3, 3])
    FusedAdam(0.01).apply_gradients([(gradient, table)])
    expected = START.copy()
    expected[3] += [-0.01, 0.01]
    np.testing.assert_allclose(table, expected, atol=1e-6)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_weights_are_those_of_keras(clip_norm):
    clipped = {} if clip_norm is None else {"global_clipnorm": clip_norm}

    class Keras(keras.optimizers.Adam):
        def _clip_gradients(self, gradients):
            return super()._clip_gradients(self._deduplicate_sparse_grad(gradients))

    ours = trained(make_optimizer("adam", 0.01, clip_norm))
    for mine, theirs in zip(ours, trained(Keras(0.01, **clipped)), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    # A row that only the first step used goes on with its momentum, and one never used stays.
    assert not np.allclose(ours[0][2], trained(FusedAdam(0.01), steps=1)[0][2])
    np.testing.assert_array_equal(ours[0][5], START[5])


def test_a_learning_rate_that_changes_is_followed():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.01, 0.0])
    np.testing.assert_array_equal(
        trained(FusedAdam(schedule), steps=3)[0], trained(FusedAdam(schedule), steps=5)[0]
    )


def test_the_configuration_survives():
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(FusedAdam(0.02, beta_1=0.8)))
    assert isinstance(optimizer, FusedAdam)
    assert float(optimizer.beta_1) == 0.8


@pytest.mark.slow
def test_each_replica_takes_the_same_step():
    check_replicas("from tfrecall.training.optimizers import FusedAdam", "FusedAdam(0.5)", "-0.5")
