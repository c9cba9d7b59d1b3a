"""The fused Adam against Keras' and against the paper's formula."""

import subprocess
import sys

import numpy as np
import pytest

from tfrecall._keras import keras, tf
from tfrecall.training.adam import FusedAdam
from tfrecall.training.optimizers import make_optimizer

START = np.arange(12, dtype=np.float32).reshape(6, 2) / 10


def slices(values, rows):
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(rows), tf.constant([6, 2]))


def trained(optimizer, steps=5):
    """A table whose rows 1 and 4 are used, one of them twice in a step, and a dense weight."""
    table, weight = tf.Variable(START), tf.Variable([1.0, -2.0])
    random = np.random.default_rng(0)
    for step in range(steps):
        rows = slices(random.normal(size=(3, 2)), [1, 4, 4] if step else [1, 1, 2])
        dense = tf.constant(random.normal(size=2), tf.float32)
        optimizer.apply_gradients([(rows, table), (dense, weight)])
    return table.numpy(), weight.numpy()


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


REPLICAS = """
import numpy as np
from tfrecall._keras import tf
from tfrecall.training.adam import FusedAdam
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    table, optimizer = tf.Variable(tf.zeros([3, 1])), FusedAdam(0.5)
    optimizer.build([table])
@tf.function
def step():
    def replica():
        gradient = tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([1]), tf.constant([3, 1]))
        optimizer.apply_gradients([(gradient, table)])
    strategy.run(replica)
step()
for part in strategy.experimental_local_results(table):
    np.testing.assert_allclose(part.numpy().ravel(), [0.0, -0.5, 0.0], atol=1e-5)
print("alike")
"""


@pytest.mark.slow
def test_each_replica_takes_the_same_step():
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("alike"), done.stderr[-2000:]
