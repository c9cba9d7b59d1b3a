"""AutoGraph, which rewrites Python for tensors: none of the package is rewritten, own parts of users are."""

import numpy as np
import polars as pl
import pytest
from tensorflow.python.autograph.pyct.transpiler import PyToPy

import tfrecall as tr
from tests.tiny import SCHEMA as EVERY_FEATURE
from tests.tiny import tiny_interactions
from tests.tiny_histories import SCHEMA as HISTORIES
from tests.tiny_histories import history_interactions
from tests.tiny_ratings import rating_interactions, untrained_ranker
from tfrecall._keras import keras, tf


@keras.utils.register_keras_serializable(package="tests")
class Branching(keras.layers.Layer):
    """A network with an `if` over tensors: rows of a batch of any height are doubled."""

    def call(self, inputs):
        if tf.shape(inputs)[0] >= 0:  # noqa: SIM108
            outputs = inputs * 2.0
        else:
            outputs = inputs
        return outputs

    def compute_output_shape(self, shape):
        return shape


@keras.utils.register_keras_serializable(package="tests")
class Looping(tr.CustomFeature):
    """A feature with a `for` over tensors in both halves: 1 + 2 + 3 is added twice."""

    unknown = 0.0

    def preprocess(self, values):
        encoded = tf.cast(values, tf.float32)[:, tf.newaxis]
        for number in tf.range(1.0, 4.0):
            encoded += number
        return encoded

    def call(self, inputs):
        for number in tf.range(1.0, 4.0):
            inputs += number
        return inputs


class BranchingTask(tr.InBatchSoftmax):
    """A task with an `if` over tensors."""

    def call(self, *args, **kwargs):
        loss = super().call(*args, **kwargs)
        if tf.reduce_sum(loss) < 0:
            loss = -loss
        return loss


def two_tower(schema):
    return tr.TwoTower(schema, layer_sizes=[8])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "log", "write"),
    [
        (lambda: two_tower(EVERY_FEATURE), tiny_interactions, tr.export),
        (lambda: two_tower(HISTORIES), history_interactions, tr.export),
        (untrained_ranker, rating_interactions, tr.export_ranker),
    ],
    ids=["features", "histories", "ranker"],
)
def test_no_function_of_the_package_is_rewritten(make, log, write, tmp_path, monkeypatch):
    rewritten = []
    rewrite = PyToPy.transform_function

    def recorded(self, function, context):
        rewritten.append(f"{function.__module__}.{function.__qualname__}")
        return rewrite(self, function, context)

    monkeypatch.setattr(PyToPy, "transform_function", recorded)
    model, log = make(), log()
    tr.fit(model, log, epochs=1, batch_size=500, verbose=0)
    write(model, tmp_path / "release")
    assert rewritten  # Keras' own
    assert [name for name in rewritten if name.startswith("tfrecall.")] == []


@pytest.mark.slow
def test_own_parts_may_branch_and_loop_over_tensors(tmp_path):
    data = tr.data.synthetic(n_users=12, n_items=10, n_rows=200, seed=1)
    items = data.items.with_columns(price=pl.int_range(10).cast(pl.Float64))
    log = tr.data.Interactions.from_frame(data.log, users=data.users, items=items)
    price = tr.Custom("price", "tests>Looping", 1, form="number")
    schema = tr.Schema(
        query=[tr.Categorical("user_id", 5)], candidate=[tr.Categorical("item_id", 4), price]
    )
    model = tr.TwoTower(schema, layer_sizes=[], query_network=Branching(), task=BranchingTask())
    model.adapt(log)
    model.compile(optimizer=keras.optimizers.Adagrad(0.1))
    model.fit(tr.data.examples(log, batch_size=50), epochs=1, verbose=0)  # all of it in graphs
    tr.fit(model, log, epochs=1, batch_size=50, verbose=0)
    # Price 9 is 9 + 6 encoded and + 6 as a vector; the user's vector is doubled.
    assert model.embed_candidates()[9, 4] == 21
    user = model.query_tower.features[0]
    alone = user(user.preprocess(tf.constant(["u1"]))).numpy()
    np.testing.assert_array_equal(model.query_tower({"user_id": ["u1"]}).numpy(), 2 * alone)
    # The round trip compares the exported graphs with these.
    assert len(tr.export(model, tmp_path).recommend(["u1"], k=3)[0].item_ids) == 3
