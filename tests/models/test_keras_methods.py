"""Keras' own methods take raw batches, as tables and datasets give them, and files give back the same model."""

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import keras, tf
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.index.repeats import Repeats
from tfrecall.models.multitask import MultiTask
from tfrecall.models.ranker import Ranker
from tfrecall.models.towers import QueryTower
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.encoders import Windows
from tfrecall.schema.features import (
    Bucketized,
    Categorical,
    ExampleAge,
    History,
    MultiCategorical,
    Numeric,
    Schema,
    Text,
)
from tfrecall.schema.labels import Label
from tfrecall.schema.negatives import Uniform
from tfrecall.tasks.pairwise import BPR
from tfrecall.tasks.ranking import Clicks, Lists
from tfrecall.tasks.sampled_softmax import SampledSoftmax
from tfrecall.training.fitting import fit
from tfrecall.training.optimizers import make_optimizer

ROWS = 120


LOG = synthetic(12, 10, ROWS, seed=4)
LOG = LOG.with_log(LOG.log.with_columns(click=(pl.int_range(ROWS) % 3 == 0).cast(pl.Float64)))
ITEM = Categorical("item_id", 4)
HISTORY = History("history", ITEM, 5, Windows([5, 1]), context=("gap",), table="candidate")
FEATURES = Schema(
    query=[Categorical("user_id", 4), Numeric("timestamp"), Bucketized("timestamp", 3, 4), HISTORY],
    candidate=[ITEM, Text("title", embedding_dim=4)],
)
IDS = Schema(query=[Categorical("user_id", 4)], candidate=[ITEM])
BATCH = {
    "user_id": ["u1", "u2", None, "new"],
    "timestamp": [1.6e9, 1.6e9 + 1, 1.6e9 + 2, 3],
    "item_id": ["i1", "i2", "i3", "i1"],
    "history": [["i1", "i2"], [], ["i9", None, "i3"], ["nothing"]],
    "history_gap": [["start", "days"], [], ["", "", ""], [""]],
    "click": [1, 0, 0, 0],
}

MODELS = {
    "two_tower": lambda: TwoTower(FEATURES, [4], activation="tanh"),
    "sampled": lambda: TwoTower(IDS, [], task=SampledSoftmax(3)),
    "unknown negatives": lambda: TwoTower(IDS, [4], task=BPR(negatives=Uniform(2))),
    "ranker": lambda: Ranker(
        FEATURES, [4], biases=["user_id"], task=Clicks(), label=Label("click", 0, 1)
    ),
    "ages": lambda: Ranker(
        Schema(query=[Categorical("user_id", 4), ExampleAge()], candidate=[ITEM]),
        [4],
        task=Lists("item_id"),
        label="click",
    ),
    "multitask": lambda: MultiTask(IDS, [4], label="click", crosses=["dot"]),
}
LEARNS = [name for name in MODELS if name != "unknown negatives"]


def adapted(name):
    model = MODELS[name]()
    model.adapt(LOG)
    return model


def tensors():
    """The batch as a dataset would give it: ragged texts and float64 numbers."""
    return {
        "user_id": tf.constant(["u1", "u2", "[UNK]", "new"]),
        "timestamp": tf.constant(BATCH["timestamp"], tf.float64),
        "item_id": tf.constant(BATCH["item_id"]),
        "history": tf.ragged.constant([["i1", "i2"], [], ["i9", "i3"], ["nothing"]]),
        "history_gap": tf.ragged.constant([["start", "days"], [], ["", ""], [""]]),
        "click": tf.constant(BATCH["click"]),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_call_and_predict_take_raw_batches_of_any_kind(name):
    model = adapted(name)
    model.run_eagerly = name != "two_tower"  # one is enough of a graph, which takes long to trace
    lists = {**BATCH, "history": [["i1", "i2"], [], ["i9", "i3"], ["nothing"]]}
    lists["history_gap"] = [["start", "days"], [], ["", ""], [""]]
    arrays = {c: np.array(v, object) if c == "user_id" else v for c, v in lists.items()}
    scores = model(tensors()).numpy()
    assert scores.shape == ((4,) if isinstance(model, Ranker) else (4, len(model.catalogue.ids)))
    dataset = tf.data.Dataset.from_tensors(tensors()).repeat(2)
    found = [
        model(lists),
        model(arrays),
        model.predict(lists, verbose=0),
        model.predict(arrays, batch_size=3, verbose=0),
        model.predict(dataset, verbose=0)[4:],
        model.predict_on_batch(tensors()),
        model(model.encode(tensors())),
    ]
    for other in found:
        np.testing.assert_allclose(other, scores, rtol=1e-5, atol=1e-6)


def test_towers_take_raw_features_without_cutting_numbers():
    tower = QueryTower([Numeric("timestamp"), Categorical("user_id", 3)])
    seconds = [1.6e9, 1.6e9 + 1, 1.6e9 + 2]
    columns = {"timestamp": tf.constant(seconds, tf.float64), "user_id": tf.constant(["a", "b", "a"])}
    tower.adapt(lambda column, form: tf.data.Dataset.from_tensors(columns[column]))
    vectors = tower({"timestamp": seconds, "user_id": ["a", None, "z"]}).numpy()
    # One second apart, which float32 cannot tell at 1.6e9.
    assert vectors[:, 0] == pytest.approx([-1.2247, 0, 1.2247], abs=1e-3)
    np.testing.assert_array_equal(vectors[1, 1:], vectors[2, 1:])
    np.testing.assert_array_equal(tower(tower.preprocess(columns)), tower(columns))
    with pytest.raises(MissingColumnError, match='needs the feature "user_id"'):
        tower({"timestamp": seconds})


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNS)
def test_single_batches_are_learned_from_and_measured(name):
    model = adapted(name)
    model.compile(optimizer=keras.optimizers.Adam(0.05))
    batch = {**BATCH, "history": [["i1"]] * 4, "history_gap": [[""]] * 4}
    before = model.test_on_batch(batch, return_dict=True)
    losses = [model.train_on_batch(batch, return_dict=True)["loss"] for _ in range(12)]
    after = model.test_on_batch(batch, return_dict=True)
    assert losses[-1] < losses[0]
    assert after["loss"] < before["loss"]
    if name == "ranker":
        assert after["auc"] == 1.0
    listed = model.test_on_batch(batch)
    assert sorted(listed) == pytest.approx(sorted(after.values()), rel=1e-5)


def test_a_batch_for_training_has_what_the_task_needs():
    model = adapted("unknown negatives")
    model.compile("adam")
    with pytest.raises(DataError, match='the batches have no "negatives"'):
        model.train_on_batch(BATCH)
    with pytest.raises(DataError, match="A batch is a dictionary"):
        model.train_on_batch([1, 2])
    with pytest.raises(MissingColumnError, match='name its candidates in "item_id"'):
        model.test_on_batch({"user_id": ["u1"]})


@pytest.mark.slow
def test_the_summary_needs_what_adapt_learns():
    model = MODELS["two_tower"]()
    with pytest.raises(DataError, match="Call `adapt` first"):
        model.summary()
    model.adapt(LOG)
    lines = []
    model.summary(print_fn=lambda line, *_: lines.append(line))
    assert any("Trainable params" in line for line in lines)
    model.query_tower.summary(print_fn=lines.append)
    assert any("user_id_categorical" in line for line in lines)


@pytest.mark.parametrize("given", [{"loss": "mse"}, {"metrics": ["auc"]}, {"loss_weights": [1.0]}])
def test_a_loss_of_compile_is_refused_not_ignored(given):
    model = MODELS["ranker"]()
    with pytest.raises(ConfigError, match=rf"optimizer alone.*Clicks.*{next(iter(given))}="):
        model.compile(optimizer="adam", **given)
    model.compile(optimizer="adam", loss=None, metrics=[])


@pytest.mark.slow
def test_an_optimizer_of_keras_3_is_refused_with_the_one_to_take():
    import keras as keras_3  # for a second: only this test needs it

    model = MODELS["ranker"]()
    words = r"Adam is one of Keras 3.*from tfrecall import keras; keras\.optimizers\.Adam"
    with pytest.raises(ConfigError, match=words):
        model.compile(optimizer=keras_3.optimizers.Adam(0.1))
    with pytest.raises(ConfigError, match=words):
        fit(model, LOG, epochs=1, optimizer=keras_3.optimizers.Adam(0.1), verbose=0)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
@pytest.mark.parametrize("name", LEARNS)
def test_a_keras_file_gives_the_model_that_was_saved(name, tmp_path):
    model = adapted(name)
    batch = {**BATCH, "history": [["i1"]] * 4, "history_gap": [[""]] * 4}
    model.compile(optimizer=make_optimizer("adam", 0.05, clip_norm=1.0))
    model.train_on_batch(batch)
    if isinstance(model, TwoTower):
        model.repeats = Repeats(recency=1.5)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert type(copy) is type(model)
    tasks = ("task", "retrieval_task")  # the shapes of their inputs are lists in a file
    configs = [{k: v for k, v in m.get_config().items() if k not in tasks} for m in (copy, model)]
    assert configs[0] == configs[1]
    assert copy.task.get_config() == model.task.get_config()
    np.testing.assert_array_equal(copy(batch), model(batch))
    np.testing.assert_array_equal(copy.catalogue.probability, model.catalogue.probability)
    assert copy.catalogue.items.equals(model.catalogue.items)
    assert getattr(copy, "repeats", None) == getattr(model, "repeats", None)
    # Training goes on with the momentum of the optimizer.
    assert int(copy.optimizer.iterations) == 1
    assert copy.train_on_batch(batch) == pytest.approx(model.train_on_batch(batch), rel=1e-5)
    # The log is not in the file.
    copy.use_log(LOG)
    if isinstance(model, TwoTower):
        queries = LOG.queries.head(5)
        np.testing.assert_allclose(copy.embed_queries(queries), model.embed_queries(queries), rtol=1e-5)


@pytest.mark.slow
def test_a_model_that_was_never_adapted_has_nothing_to_save(tmp_path):
    with pytest.raises(DataError, match="Call `adapt` first"):
        MODELS["ranker"]().save(tmp_path / "model.keras")


def test_columns_of_lists_are_read_like_those_of_tables():
    tower = QueryTower([MultiCategorical("tags", 2)])
    tower.adapt(lambda column, form: tf.data.Dataset.from_tensors(tf.constant([["x", "y"], ["y", ""]])))
    ragged = tower({"tags": tf.ragged.constant([["x"], [], ["y", "x"]])})
    for given in ([["x"], None, ["y", "x"]], np.array([["x", ""], ["", ""], ["y", "x"]], object)):
        np.testing.assert_array_equal(tower({"tags": given}), ragged)
    with pytest.raises(DataError, match="takes a list of strings"):
        tower({"tags": ["x", "y"]})
