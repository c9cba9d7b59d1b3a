"""The two-tower model with a sampled softmax."""

import numpy as np
import pytest

from tfrecall._keras import keras, tf
from tfrecall.config.run import RunConfig
from tfrecall.config.tasks import SampledSoftmaxConfig
from tfrecall.data import synthetic
from tfrecall.data.batches import examples
from tfrecall.errors import ConfigError
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema, Text
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.sampled_softmax import SampledSoftmax
from tfrecall.training.optimizers import make_optimizer

DATA = synthetic(n_users=30, n_items=20, n_rows=400)
QUERY = Categorical("user_id", 4, unknown_rate=0)
ITEM = Categorical("item_id", 4, unknown_rate=0)
TABLE = Schema(query=[QUERY], candidate=[ITEM])
TOWER = Schema(query=[QUERY], candidate=[ITEM, Text("title", 50, 4)])
every_form = pytest.mark.parametrize(("schema", "layers"), [(TABLE, []), (TOWER, [5])])


def build(task, schema=TABLE, layers=(), eager=True, optimizer=None, **options):
    keras.utils.set_random_seed(1)
    model = TwoTower(schema, layers, task=task, **options)
    model.adapt(DATA)
    model.compile(optimizer or keras.optimizers.Adagrad(0.1), run_eagerly=eager)
    return model


def encoded(model, batch_size=64):
    return examples(DATA, batch_size, shuffle=False, encode=model.encode, forms=model.forms)


def step(model, items):
    """The loss of a training step on the first rows with these items, and the gradients."""
    raw = next(iter(examples(DATA, len(items), shuffle=False)))
    batch = model.encode({**raw, "item_id": tf.constant(items)})
    model.create_weights()
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    return loss, tape.gradient(loss, model.trainable_weights)


def twins(task, schema, layers, temperature=1.0):
    """A model with the task and one with the full softmax, of the same weights."""
    model = build(task, schema, layers)
    full = build(FullSoftmax(temperature), schema, layers)
    for one in (model, full):
        one.create_weights()
    for weight, other in zip(full.trainable_weights, model.trainable_weights, strict=True):
        weight.assign(other)
    return model, full


@pytest.mark.slow
@every_form
@pytest.mark.parametrize("correction", ["standard", "without_positive"])
def test_a_whole_catalogue_drawn_is_the_full_softmax(schema, layers, correction):
    sampled, full = twins(SampledSoftmax(20, "uniform", correction=correction), schema, layers)
    items = ["i1", "i1", "i7", "never heard of", "i12"]
    losses, gradients = zip(step(sampled, items), step(full, items), strict=True)
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    for one, other in zip(*gradients, strict=True):
        one, other = tf.convert_to_tensor(one), tf.convert_to_tensor(other)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@every_form
def test_a_step_looks_up_the_positives_and_what_was_drawn(schema, layers):
    model = build(SampledSoftmax(3, "uniform"), schema, layers)
    _, gradients = step(model, ["i1", "i2", "i1"])
    table = model.candidate_tower.features[0]._table.embeddings
    (gradient,) = (g for g, w in zip(gradients, model.trainable_weights, strict=True) if w is table)
    assert isinstance(gradient, tf.IndexedSlices)
    # Two positives and three draws at most, of 22 rows.
    assert 3 <= len(gradient.indices) <= 5


@pytest.mark.slow
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_no_operation_of_a_step_makes_anything_as_large_as_the_catalogue(clip_norm):
    data = synthetic(n_users=30, n_items=997, n_rows=3000)
    model = TwoTower(TABLE, [], task=SampledSoftmax(5))
    model.adapt(data)
    model.compile(make_optimizer("adagrad", 0.1, clip_norm))
    model.create_weights()
    batches = examples(data, 8, encode=model.encode, forms=model.forms)
    items = model.candidate_tower.features[0]._table.embeddings.shape[0]
    assert items > 500
    graph = tf.function(model.train_step).get_concrete_function(batches.element_spec).graph
    large = [
        op.type
        for op in graph.get_operations()
        if any((out.shape.num_elements() or 0) >= items for out in op.outputs)
    ]
    # What comes from outside, and a reshape for the search, which copies nothing.
    assert set(large) == {"Placeholder", "Reshape"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adagrad", "sgd"])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_the_optimizer_leaves_rows_alone_that_no_step_used(name, clip_norm):
    model = build(SampledSoftmax(2, "uniform"), optimizer=make_optimizer(name, 0.1, clip_norm))
    model.create_weights()
    before = model.get_weights()
    one_step = encoded(model, 4).take(1)
    model.fit(one_step, verbose=0)
    pairs = zip(before, model.get_weights(), strict=True)
    moved = [int((old != new).any(axis=1).sum()) for old, new in pairs if old.ndim == 2]
    # Rows of users and of items: the four examples have so many, and two items are drawn.
    batch = next(iter(one_step))
    users, items = (
        len(np.unique(values))
        for values in (batch["query"]["user_id_categorical"], batch["candidate_index"])
    )
    assert moved[0] == users
    assert items <= moved[1] <= items + 2


@pytest.mark.slow
@every_form
def test_the_validation_loss_is_that_of_the_full_softmax(schema, layers):
    models = twins(SampledSoftmax(3, temperature=0.5), schema, layers, temperature=0.5)
    sampled, full = (
        model.evaluate(encoded(model, 200), return_dict=True, verbose=0) for model in models
    )
    assert sampled == pytest.approx(full, rel=1e-5)


@pytest.mark.slow
def test_validation_draws_nothing():
    model = build(SampledSoftmax(3))
    model.fit(encoded(model, 200), verbose=0)
    (state,) = (weight.numpy() for weight in model.task.weights)
    first = model.evaluate(encoded(model, 200), verbose=0)
    assert first == model.evaluate(encoded(model, 200), verbose=0)
    np.testing.assert_array_equal(model.task.weights[0], state)


@pytest.mark.slow
def test_equal_seeds_give_equal_models_and_a_graph_gives_what_eager_gives():
    fitted = []
    for eager in (False, False, True):
        model = build(SampledSoftmax(5, "unigram"), eager=eager)
        model.fit(encoded(model, 100), epochs=2, verbose=0)
        fitted.append(model.get_weights())
    for one, same, eager in zip(*fitted, strict=True):
        np.testing.assert_array_equal(one, same)
        np.testing.assert_allclose(one, eager, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights", "model.weights.h5"])
def test_training_goes_on_from_saved_weights_as_if_it_had_not_stopped(name, tmp_path):
    models = [build(SampledSoftmax(5), optimizer=keras.optimizers.SGD(0.1)) for _ in range(2)]
    models[0].fit(encoded(models[0], 200), verbose=0)
    models[0].save_weights(str(tmp_path / name))
    models[1].load_weights(str(tmp_path / name))
    for model in models:
        model.fit(encoded(model, 200), verbose=0)
    np.testing.assert_array_equal(*(model.embed_candidates() for model in models))


@pytest.mark.slow
def test_without_the_correction_nothing_is_subtracted():
    corrected, plain = (
        build(SampledSoftmax(5, "unigram"), correct_sampling_bias=corrects)
        for corrects in (True, False)
    )
    assert float(step(corrected, ["i1", "i2"])[0]) != pytest.approx(float(step(plain, ["i1", "i2"])[0]))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "unigram"])
def test_it_learns(sampler):
    model = build(SampledSoftmax(5, sampler), eager=False)
    before = model.evaluate(encoded(model), return_dict=True, verbose=0)["loss"]
    assert before == pytest.approx(np.log(20), abs=0.05)
    model.fit(encoded(model), epochs=20, verbose=0)
    assert model.evaluate(encoded(model), return_dict=True, verbose=0)["loss"] < before - 0.1


@pytest.mark.slow
def test_more_draws_than_candidates_are_refused_before_training():
    model = TwoTower(TABLE, [], task=SampledSoftmax(21))
    with pytest.raises(ConfigError, match="but the catalogue has 20"):
        model.adapt(DATA)


def test_a_configuration_reaches_the_task():
    from tfrecall.runs.build import make_model

    settings = {
        "num_sampled": 7,
        "sampler": "unigram",
        "alpha": 0.5,
        "temperature": 0.1,
        "correction": "without_positive",
    }
    config = RunConfig(recipe="all", schema=TABLE, task=SampledSoftmaxConfig(**settings))
    task = make_model(config).task
    assert isinstance(task, SampledSoftmax)
    assert {name: getattr(task, name) for name in settings} == settings


@pytest.mark.slow
def test_a_model_made_from_a_configuration_draws_alike():
    model = build(SampledSoftmax(3, "unigram", alpha=0.5))
    copy = TwoTower.from_config(model.get_config())
    assert copy.task.get_config() == model.task.get_config()
