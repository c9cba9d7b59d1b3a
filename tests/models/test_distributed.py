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
# Twelve steps of 100 rows, 50 of each replica: both see all of them.
assert task.frequency == "streaming" and task._streaming.step.numpy() == 12
assert task._memory.pushed.numpy() == 1200
for variable in (task._memory.pushed, task._memory.ids, task._streaming.step):
    first, second = variable.values
    np.testing.assert_array_equal(first.numpy(), second.numpy())
print("kept")
"""


@pytest.mark.slow
def test_what_a_task_keeps_from_step_to_step_is_of_the_whole_batch_on_all_replicas():
    _, told, errors = Forked(STATEFUL).ended()
    assert told.strip().endswith("kept"), errors[-2000:]


TASKS = """
import sys
import numpy as np
import polars as pl
from tfrecall._keras import keras, tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import tfrecall as tr
from tfrecall.data.batches import examples
from tfrecall.training import make_optimizer

# Rows of weight 0 to 3, users and items that come several times a batch, and a last batch of 7 rows.
data = tr.data.synthetic(n_users=30, n_items=20, n_rows=207, seed=1)
weights = (pl.int_range(pl.len()) % 4).cast(pl.Float64)
data = tr.data.Interactions.from_frame(data.log.with_columns(weight=weights), items=data.items)
schema = tr.Schema(
    query=[tr.Categorical("user_id", 4, unknown_rate=0)],
    candidate=[tr.Categorical("item_id", 4, unknown_rate=0), tr.Text("title", 50, 4)],
)
squares = {"embedding_regularization": 0.01}
cases = {
    "in_batch": (tr.InBatchSoftmax(temperature=0.5), {}, "sgd", None),
    "hard": (tr.InBatchSoftmax(num_hard_negatives=5), squares, "sgd", 0.5),
    "mixed": (tr.InBatchSoftmax(num_uniform_negatives=5, memory_size=50), {}, "adagrad", None),
    "streaming": (tr.InBatchSoftmax(frequency="streaming", correction="without_positive"), {}, "sgd", None),
    "full": (tr.FullSoftmax(), squares, "sgd", None),
    "sampled": (tr.SampledSoftmax(7), squares, "sgd", None),
    "pairs": (tr.BPR("cross_batch"), squares, "sgd", None),
}
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for name in sys.argv[1:]:
    task, settings, optimizer, clip_norm = cases[name]
    found, start = [], None
    for strategy in (two, tf.distribute.get_strategy()):
        with strategy.scope():
            model = tr.TwoTower(
                schema, [4], task=type(task).from_config(task.get_config()), **settings
            )
            model.adapt(data)
            model.compile(make_optimizer(optimizer, 0.01, clip_norm))
            model.create_weights()
        start = start or model.get_weights()
        model.set_weights(start)
        model.fit(examples(data, 100), epochs=2, verbose=0)
        logs = model.history.history
        found.append(([logs[key] for key in sorted(logs)], model.trainable_variables))
    (logs, variables), (one_logs, one_variables) = found
    np.testing.assert_allclose(logs, one_logs, rtol=1e-5, atol=1e-7, err_msg=name)
    for variable, one in zip(variables, one_variables):
        np.testing.assert_allclose(variable.numpy(), one.numpy(), atol=1e-6, err_msg=name)
        assert np.isfinite(one.numpy()).all()
    moved = [np.abs(old - new.numpy()).max() for old, new in zip(start, one_variables)]
    assert max(moved) > 1e-3, moved
print("alike")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [("in_batch", "hard", "mixed", "streaming"), ("full", "sampled", "pairs")], ids="-".join
)
def test_two_replicas_learn_from_a_batch_what_one_learns(names):
    _, told, errors = Forked(TASKS, *names).ended()
    assert told.strip().endswith("alike"), errors[-2000:]
