"""The two-tower model with negatives from outside the batch, and candidates it does not know."""

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import keras, tf
from tfrecall.config.run import RunConfig
from tfrecall.config.tasks import InBatchConfig
from tfrecall.data import synthetic
from tfrecall.data.batches import examples
from tfrecall.errors import ConfigError
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.sampled_softmax import SampledSoftmax

DATA = synthetic(n_users=30, n_items=20, n_rows=400)
SCHEMA = Schema(
    query=[Categorical("user_id", 4, unknown_rate=0)],
    candidate=[Categorical("item_id", 4, unknown_rate=0)],
)
EVERYTHING = {
    "num_uniform_negatives": 10,
    "memory_size": 100,
    "correction": "without_positive",
    "frequency": "streaming",
}


def build(eager=True, **settings):
    keras.utils.set_random_seed(1)
    model = TwoTower(SCHEMA, task=InBatchSoftmax(**settings), layer_sizes=[4])
    model.adapt(DATA)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=eager)
    return model


def encoded(model, data=DATA, batch_size=64):
    return examples(data, batch_size, shuffle=False, encode=model.encode, forms=model.forms)


def one_batch(items):
    """A batch of rows with these items."""
    return next(iter(examples(with_items(items), len(items), shuffle=False)))


def with_items(items):
    return DATA.log.head(len(items)).with_columns(item_id=pl.Series(items)).pipe(DATA.with_log)


def moved(model, batch):
    """The items whose embeddings a step on a raw batch moves."""
    loss = lambda: model.compute_loss(model.encode(batch), training=True)  # noqa: E731
    loss()  # makes the weights
    table = model.candidate_tower.trainable_weights[0]
    with tf.GradientTape() as tape:
        value = loss()
    gradient = tf.convert_to_tensor(tape.gradient(value, table)).numpy()
    return {int(row) for row in np.flatnonzero(np.abs(gradient).sum(axis=1))}


@pytest.mark.slow
def test_uniform_negatives_move_candidates_that_no_row_holds():
    batch = one_batch(["i1", "i2", "i3"])
    assert len(moved(build(), batch)) == 3
    # 200 draws of 20 leave one out with a chance of 20 * 0.95^200 = 0.0007.
    assert len(moved(build(num_uniform_negatives=200), batch)) == 20


@pytest.mark.slow
def test_remembered_candidates_do_not_move():
    model = build(memory_size=100)
    model.fit(encoded(model, batch_size=200), verbose=0)
    assert len(moved(model, one_batch(["i1", "i2", "i3"]))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"correction": "without_positive"}, {"memory_size": 50}])
def test_a_candidate_outside_the_catalogue_is_no_negative(settings):
    def losses(items):
        model = build(**settings)
        batch = one_batch(items)
        batches = [model.encode(batch), model.encode(one_batch(["i4", "i5"]))]
        return [float(model.compute_loss(encoded, training=True)) for encoded in batches]

    known = DATA.log["item_id"][:4].to_list()
    raw = one_batch([*known, "i7", "i8"])
    raw["item_id"] = tf.constant([*known, "never heard of", "nor of this"])
    model = build(**settings)
    found = [
        float(model.compute_loss(model.encode(batch), training=True))
        for batch in (raw, one_batch(["i4", "i5"]))
    ]
    np.testing.assert_allclose(found, losses(known), rtol=1e-5)


@pytest.mark.slow
def test_rows_of_weight_0_change_nothing():
    keep = np.arange(400) % 3 > 0
    weighted = DATA.with_log(DATA.log.with_columns(weight=pl.Series(keep, dtype=pl.Float64)))
    kept = DATA.with_log(DATA.log.filter(pl.Series(keep)))
    model = build()
    # 96 rows hold 64 of weight 1, so the batches hold the same candidates.
    masked = model.evaluate(encoded(model, weighted, 96), return_dict=True, verbose=0)
    only = model.evaluate(encoded(model, kept, 64), return_dict=True, verbose=0)
    assert masked == pytest.approx(only, rel=1e-5)


@pytest.mark.slow
def test_equal_seeds_give_equal_models_and_a_graph_gives_what_eager_gives():
    fitted = []
    for eager in (False, False, True):
        model = build(eager, **EVERYTHING)
        model.fit(encoded(model, batch_size=100), epochs=2, verbose=0)
        fitted.append(model.get_weights())
    for one, same, eager in zip(*fitted, strict=True):
        np.testing.assert_array_equal(one, same)
        np.testing.assert_allclose(one, eager, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_validation_leaves_the_state_of_the_task_alone():
    model = build(**EVERYTHING)
    model.fit(encoded(model, batch_size=200), verbose=0)
    before = [weight.numpy() for weight in model.task.weights]
    model.evaluate(encoded(model, batch_size=200), verbose=0)
    assert len(before) == 10
    for old, new in zip(before, model.task.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights", "model.weights.h5"])
def test_saved_weights_hold_the_state_of_the_task(name, tmp_path):
    model, copy = build(**EVERYTHING), build(**EVERYTHING)
    model.fit(encoded(model, batch_size=200), verbose=0)
    model.save_weights(str(tmp_path / name))
    copy.load_weights(str(tmp_path / name))
    for one, other in zip(model.task.weights, copy.task.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for trained in (model, copy):  # draws, memory and frequencies go on alike; SGD has no state
        trained.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
        trained.fit(encoded(trained, batch_size=200), verbose=0)
    np.testing.assert_array_equal(model.embed_candidates(), copy.embed_candidates())


def test_a_configuration_reaches_the_task():
    from tfrecall.runs.build import make_model

    config = RunConfig(recipe="all", schema=SCHEMA, task=InBatchConfig(**EVERYTHING))
    task = make_model(config).task
    assert {name: getattr(task, name) for name in EVERYTHING} == EVERYTHING


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [
        InBatchSoftmax(correction="without_positive"),
        InBatchSoftmax(frequency="streaming"),
        SampledSoftmax(5, correction="without_positive"),
    ],
    ids=["in_batch", "streaming", "sampled"],
)
def test_a_task_that_corrects_wants_the_correction(task):
    with pytest.raises(ConfigError, match="Received: correct_sampling_bias=False"):
        TwoTower(SCHEMA, task=task, correct_sampling_bias=False)
