"""`fit` on two devices of one machine gives the model and the history that it gives on one."""

import pytest

from tests.processes import Forked

CODE = """
import numpy as np
from tfrecall._keras import keras, tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfrecall.data import split_leave_last_out, synthetic
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.training import fit

train, validation, _ = split_leave_last_out(synthetic(n_users=25, n_items=20, n_rows=300, seed=1))
item = Categorical("item_id", 4, unknown_rate=0)
schema = Schema(query=[History("history", item, 5)], candidate=[item])
found = []
for strategy in ("mirrored", "none"):
    model = TwoTower(schema, [4])
    fitted = fit(
        model, train, validation, strategy=strategy, optimizer="sgd", learning_rate=0.05, epochs=3,
        batch_size=100, monitor="loss", verbose=0, histories=HistoriesConfig(form="sequences"),
    )
    assert model.distribute_strategy.num_replicas_in_sync == 1
    assert int(model.optimizer.iterations) == 9, int(model.optimizer.iterations)
    found.append((fitted, model))
(two, model), (one, other) = found
assert two.best_epoch == one.best_epoch
for name, values in one.history.items():
    np.testing.assert_allclose(two.history[name], values, rtol=1e-5, err_msg=name)
for variable, expected in zip(model.trainable_variables, other.trainable_variables):
    np.testing.assert_allclose(variable.numpy(), expected.numpy(), atol=1e-6)
np.testing.assert_allclose(model.embed_candidates(), other.embed_candidates(), atol=1e-6)
print("alike")
"""


@pytest.mark.slow
def test_sequences_are_learned_alike_by_two_replicas():
    _, told, errors = Forked(CODE).ended()
    assert told.strip().endswith("alike"), errors[-2000:]
