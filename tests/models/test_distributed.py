"""Several replicas train like one."""

import pytest

from tests.processes import Forked

CODE = """
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
weights_of_rows = np.arange(207) % 4
data = tr.data.Interactions.from_frame(data.log.with_columns(weight=weights), items=data.items)
schema = tr.Schema(
    query=[tr.Categorical("user_id", 4, unknown_rate=0)],
    candidate=[tr.Categorical("item_id", 4, unknown_rate=0), tr.Text("title", 50, 4)],
)
squares = {"embedding_regularization": 0.01}
# What a task keeps from step to step: draws, a memory of candidates and frequencies.
kept = dict(
    num_uniform_negatives=5, memory_size=50, frequency="streaming", correction="without_positive"
)
cases = {
    "hard": (tr.InBatchSoftmax(temperature=0.5, num_hard_negatives=5), squares, "sgd", 0.5),
    "kept": (tr.InBatchSoftmax(**kept), {}, "adagrad", None),
    "full": (tr.FullSoftmax(), squares, "sgd", None),
    "sampled": (tr.SampledSoftmax(7), squares, "sgd", None),
    "pairs": (tr.BPR("cross_batch"), squares, "sgd", None),
}
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def trained(strategy, task, settings, optimizer, clip_norm, start=None, **options):
    with strategy.scope():
        model = tr.TwoTower(schema, [4], task=type(task).from_config(task.get_config()), **settings)
        model.adapt(data)
        model.compile(make_optimizer(optimizer, 0.01, clip_norm))
        model.create_weights()
    begin = start or model.get_weights()
    model.set_weights(begin)
    logs = model.fit(examples(data, 100), epochs=2, verbose=0, **options).history
    return model, logs, begin

for name in sys.argv[1:]:
    task, *settings = cases[name]
    # One case with validation is enough: its steps do not depend on the task.
    options = {"validation_data": examples(data, 100, shuffle=False)} if name == "full" else {}
    model, logs, start = trained(two, task, *settings, **options)
    one, one_logs, _ = trained(tf.distribute.get_strategy(), task, *settings, start=start, **options)
    assert ("val_loss" in logs) == (name == "full")
    assert logs.keys() == one_logs.keys()
    for key, values in one_logs.items():
        np.testing.assert_allclose(logs[key], values, rtol=1e-5, atol=1e-7, err_msg=f"{name}: {key}")
    for variable, other in zip(model.trainable_variables, one.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), atol=1e-6, err_msg=name)
        assert np.isfinite(other.numpy()).all()
    scores = [m.retriever().scores(data.queries[:1]) for m in (model, one)]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-6)
    moved = [np.abs(old - new.numpy()).max() for old, new in zip(start, one.trainable_variables)]
    assert max(moved) > 1e-3, moved
    if name == "kept":
        task, alone = model.task, one.task
        # Two epochs of three steps; a row of weight 0 is no candidate. Of each batch a replica has a part of
        # the rows, and both remember all of them.
        assert task.frequency == "streaming" and task._streaming.step.numpy() == 6
        assert task._memory.pushed.numpy() == 2 * (weights_of_rows > 0).sum() == 310
        for part in ("_memory.pushed", "_memory.ids", "_streaming.step"):
            owner, field = part.split(".")
            variable = getattr(getattr(task, owner), field)
            first, second = variable.values
            np.testing.assert_array_equal(first.numpy(), second.numpy())
            other = getattr(getattr(alone, owner), field)
            np.testing.assert_array_equal(first.numpy(), other.numpy(), err_msg=part)
print("alike")
"""


@pytest.mark.slow
@pytest.mark.parametrize("names", [("hard", "kept"), ("full", "sampled", "pairs")], ids="-".join)
def test_two_replicas_learn_from_a_batch_what_one_learns(names):
    _, told, errors = Forked(CODE, *names).ended()
    assert told.strip().endswith("alike"), errors[-2000:]
