"""Steps of an optimizer on a table of which some rows are used, and on a dense weight."""

import numpy as np

from tests.processes import Forked
from tfrecall._keras import tf

START = np.arange(12, dtype=np.float32).reshape(6, 2) / 10

# A table of three rows on two replicas, `optimizer` and `expected` to be said before.
_REPLICAS = """
import numpy as np
from tfrecall._keras import tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    table = tf.Variable(tf.zeros([3, 1]))
    optimizer = {optimizer}
    optimizer.build([table])
@tf.function
def step():
    def replica():
        gradient = tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([1]), tf.constant([3, 1]))
        optimizer.apply_gradients([(gradient, table)])
    strategy.run(replica)
step()
for part in strategy.experimental_local_results(table):
    np.testing.assert_allclose(part.numpy().ravel(), [0.0, {expected}, 0.0], atol=1e-5)
print("alike")
"""


def slices(values, rows):
    """A gradient of some rows of the table."""
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


def check_replicas(imported, optimizer, expected):
    """Both of two replicas, each with a gradient of 1, end with `expected` in the row that is used."""
    script = imported + _REPLICAS.format(optimizer=optimizer, expected=expected)
    _, told, errors = Forked(script).ended()
    assert told.strip().endswith("alike"), errors[-2000:]
