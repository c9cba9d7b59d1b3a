"""Several replicas train like one."""

import pytest

from tests.processes import Forked

CODE = """
import numpy as np
from tfrecall._keras import keras, tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfrecall.data import synthetic
from tfrecall.data.batches import examples
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema
from tfrecall.tasks.full_softmax import FullSoftmax

data = synthetic(n_users=30, n_items=20, n_rows=400)
schema = Schema(
    query=[Categorical("user_id", 4, unknown_rate=0)],
    candidate=[Categorical("item_id", 4, unknown_rate=0)],
)
weights, metrics = None, []
for strategy in (tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), tf.distribute.get_strategy()):
    with strategy.scope():
        model = TwoTower(schema, [4], task=FullSoftmax())
        model.adapt(data)
        model.compile(keras.optimizers.SGD(0.01))
    dataset = examples(data, 100, shuffle=False)
    model.evaluate(dataset, verbose=0)
    weights = weights or model.get_weights()
    model.set_weights(weights)
    history = model.fit(dataset, validation_data=dataset, epochs=2, verbose=0).history
    metrics.append([history["loss"][-1], history["val_loss"][-1], *model.retriever().scores(data.queries)[0]])
np.testing.assert_allclose(*metrics, rtol=1e-4)
print("alike")
"""


@pytest.mark.slow
def test_two_mirrored_replicas_train_like_one():
    _, told, errors = Forked(CODE).ended()
    assert told.strip().endswith("alike"), errors[-2000:]


STATEFUL = """
import numpy as np
from tfrecall._keras import keras, tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfrecall.data import synthetic
from tfrecall.data.batches import examples
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema
from tfrecall.tasks.in_batch import InBatchSoftmax

data = synthetic(n_users=30, n_items=20, n_rows=400)
schema = Schema(query=[Categorical("user_id", 4)], candidate=[Categorical("item_id", 4)])
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    task = InBatchSoftmax(num_uniform_negatives=5, memory_size=50, frequency="streaming")
    model = TwoTower(schema, [4], task=task, dropout=0.1)
    model.adapt(data)
    model.compile(keras.optimizers.SGD(0.01))
losses = model.fit(examples(data, 100), epochs=3, verbose=0).history["loss"]
assert np.isfinite(losses).all(), losses
# Twelve steps, in each of which the first replica saw 50 rows.
assert task.frequency == "streaming" and task._streaming.step.numpy() == 12
assert task._memory.pushed.numpy() == 600
print("kept")
"""


@pytest.mark.slow
def test_what_a_task_keeps_from_step_to_step_is_that_of_the_first_replica():
    _, told, errors = Forked(STATEFUL).ended()
    assert told.strip().endswith("kept"), errors[-2000:]
