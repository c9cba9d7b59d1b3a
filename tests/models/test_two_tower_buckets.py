"""The two-tower model with scalable cross entropy: buckets instead of the whole catalogue."""

import numpy as np
import pytest

from tests.models.test_two_tower_sampled import TABLE, build, encoded, every_form, step, twins
from tests.tiny_histories import SCHEMA as HISTORIES
from tests.tiny_histories import history_interactions
from tfrecall._keras import keras, tf
from tfrecall.config.run import RunConfig
from tfrecall.config.tasks import ScalableCrossEntropyConfig
from tfrecall.models.two_tower import TwoTower
from tfrecall.tasks.scalable_cross_entropy import ScalableCrossEntropy
from tfrecall.training.fitting import fit

EVERYTHING = {"num_buckets": 1, "bucket_queries": 100, "bucket_candidates": 100}


@pytest.mark.slow
@every_form
def test_a_bucket_of_everything_is_the_full_softmax(schema, layers):
    buckets, full = twins(ScalableCrossEntropy(**EVERYTHING), schema, layers)
    items = ["i1", "i1", "i7", "never heard of", "i12"]
    losses, gradients = zip(step(buckets, items), step(full, items), strict=True)
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    for one, other in zip(*gradients, strict=True):
        one, other = tf.convert_to_tensor(one), tf.convert_to_tensor(other)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_step_trains_the_positives_and_what_was_chosen():
    model = build(ScalableCrossEntropy(2, 2, 3))
    _, gradients = step(model, ["i1", "i2", "i1"])
    table = model.candidate_tower.features[0].table
    (gradient,) = (g for g, w in zip(gradients, model.trainable_weights, strict=True) if w is table)
    assert isinstance(gradient, tf.IndexedSlices)
    # Two positives and twice three candidates at most, of 22 rows.
    assert 3 <= len(gradient.indices) <= 8


@pytest.mark.slow
@every_form
def test_the_validation_loss_is_that_of_the_full_softmax(schema, layers):
    models = twins(ScalableCrossEntropy(2, 2, 2, temperature=0.5), schema, layers, temperature=0.5)
    ours, full = (model.evaluate(encoded(model, 200), return_dict=True, verbose=0) for model in models)
    assert ours == pytest.approx(full, rel=1e-5)


@pytest.mark.slow
def test_it_learns_and_a_keras_file_goes_on_alike(tmp_path):
    model = build(ScalableCrossEntropy(4, 32, 6), eager=False)
    before = model.evaluate(encoded(model), return_dict=True, verbose=0)["loss"]
    model.fit(encoded(model), epochs=20, verbose=0)
    assert model.evaluate(encoded(model), return_dict=True, verbose=0)["loss"] < before - 0.1
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.task.get_weights()[0], model.task.get_weights()[0])
    for one in (model, again):
        one.fit(encoded(one), verbose=0)
    np.testing.assert_allclose(again.embed_candidates(), model.embed_candidates(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_whole_sequences_train_all_their_positions_and_equal_seeds_give_equal_models():
    fitted = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        model = TwoTower(HISTORIES, [8], candidate_layer_sizes=[], task=ScalableCrossEntropy(8, 16, 8))
        fitted_once = fit(model, history_interactions(), epochs=3, batch_size=64, verbose=0)
        fitted.append(model.embed_candidates())
    np.testing.assert_array_equal(*fitted)
    assert fitted_once.history["loss"][-1] < fitted_once.history["loss"][0]


def test_a_configuration_reaches_the_task():
    from tfrecall.runs.build import make_model

    settings = {
        "num_buckets": 7,
        "bucket_queries": 5,
        "bucket_candidates": 9,
        "temperature": 0.1,
        "mix": False,
    }
    config = RunConfig(recipe="all", schema=TABLE, task=ScalableCrossEntropyConfig(**settings))
    model = make_model(config)
    task = model.task
    assert isinstance(task, ScalableCrossEntropy)
    assert {name: getattr(task, name) for name in settings} == settings
    assert TwoTower.from_config(model.get_config()).task.get_config() == task.get_config()
