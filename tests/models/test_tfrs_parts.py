"""TFRS' own task and metric, unchanged, in our model."""

import numpy as np
import pytest

from tfrecall._keras import keras, tf, tfrs
from tfrecall.data import synthetic
from tfrecall.data.batches import examples
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema

DATA = synthetic(n_users=30, n_items=20, n_rows=400)
SCHEMA = Schema(
    query=[Categorical("user_id", 4, unknown_rate=0)],
    candidate=[Categorical("item_id", 4, unknown_rate=0)],
)


def build(task, **options):
    model = TwoTower(SCHEMA, [8, 4], task=task, **options)
    model.adapt(DATA)
    model.compile(keras.optimizers.Adagrad(0.1), run_eagerly=True)
    return model


def dataset(model):
    return examples(DATA, 100, shuffle=False, encode=model.encode, forms=model.forms)


def candidate_batches(model, with_ids):
    """The candidates as the tutorials hand them to `FactorizedTopK`."""
    ids = tf.data.Dataset.from_tensor_slices(model.catalogue.ids.astype(str)).batch(7)
    encoded = {name: values[2:] for name, values in model.catalogue.encoded.items()}
    vectors = tf.data.Dataset.from_tensor_slices(encoded).batch(7).map(model.candidate_tower)
    return tf.data.Dataset.zip((ids, vectors)) if with_ids else vectors


def name(k):
    return f"hit_rate@{k}"


@pytest.mark.slow
@pytest.mark.parametrize("with_ids", [False, True])
def test_factorized_top_k_reports_what_the_exact_metric_reports(with_ids):
    # Removing accidental hits, TFRS' metric wants ids; else it judges by score.
    task = tfrs.tasks.Retrieval(remove_accidental_hits=with_ids)
    model = build(task, ks=(4, 5, 9, 10))
    model.fit(dataset(model), epochs=2, verbose=0)
    exact = model.evaluate(dataset(model), verbose=0, return_dict=True)
    task.factorized_metrics = [
        tfrs.metrics.FactorizedTopK(candidate_batches(model, with_ids), ks=[5, 10])
    ]
    model.compile(keras.optimizers.Adagrad(0.1))
    metrics = model.evaluate(dataset(model), verbose=0, return_dict=True)
    assert list(metrics) == [name(5), name(10), "loss"]  # ours stands back
    assert metrics["loss"] == pytest.approx(exact["loss"], rel=1e-6)
    for k in (5, 10):
        # By score a positive may lose to its own copy by a rounding, which costs one place.
        least = exact[name(k)] if with_ids else exact[name(k - 1)]
        assert least - 0.005 <= metrics[name(k)] <= exact[name(k)] + 0.005


@pytest.mark.slow
def test_training_does_not_list_metrics_that_it_does_not_measure():
    task = tfrs.tasks.Retrieval()
    model = build(task)
    model.fit(dataset(model), verbose=0)
    task.factorized_metrics = [tfrs.metrics.FactorizedTopK(candidate_batches(model, False), ks=[5])]
    model.compile(keras.optimizers.Adagrad(0.1))
    history = model.fit(dataset(model), validation_data=dataset(model), verbose=0).history
    top_5 = "val_hit_rate@5"
    assert sorted(history) == ["loss", top_5, "val_loss"]
    assert history[top_5][0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("corrected", [False, True])
def test_the_loss_is_that_of_the_task_called_by_hand(corrected):
    task = tfrs.tasks.Retrieval(temperature=0.5)
    model = build(task, correct_sampling_bias=corrected)
    reported = model.evaluate(dataset(model), verbose=0, return_dict=True)["loss"]
    vectors = model.embed_candidates()
    total = 0.0
    for start in range(0, 400, 100):
        rows = slice(start, start + 100)
        shares = np.bincount(DATA.item_rows, minlength=20) / 400
        total += task(
            tf.constant(model.embed_queries(DATA.queries[rows])),
            tf.constant(vectors[DATA.item_rows[rows]]),
            candidate_sampling_probability=tf.constant(shares[DATA.item_rows[rows]], tf.float32)
            if corrected
            else None,
        ).numpy()
    assert reported == pytest.approx(total / 400, rel=1e-5)
