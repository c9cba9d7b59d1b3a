"""Training that diverges stops at once and says where; training that does not is not changed."""

import re

import numpy as np
import pytest

from tfrecall._keras import keras, tf
from tfrecall.data import split_random, synthetic
from tfrecall.diagnostics.divergence import StopOnNonFinite
from tfrecall.errors import DivergedError
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.encoders import Interests
from tfrecall.schema.features import Categorical, History, Numeric, Schema
from tfrecall.training import fit

MONITOR = "hit_rate@5"
DATA = synthetic(30, 20, 400, seed=5)
PLAIN = [Categorical("user_id", 4)]


def trained(data=DATA, query=PLAIN, watch=True, task=None, start=None, **settings):
    model = TwoTower(
        Schema(query=query, candidate=[Categorical("item_id", 4)]), layer_sizes=[4], task=task
    )
    train, validation = split_random(data, 0.2, seed=1)
    if start:
        model.adapt(train)
        start(model)
    settings = {"epochs": 2, "batch_size": 100, "monitor": MONITOR, "verbose": 0, **settings}
    callbacks = [StopOnNonFinite()] if watch else []
    fitted = fit(model, train, validation, callbacks=callbacks, **settings)
    return model, fitted


def story(**settings):
    with pytest.raises(DivergedError) as error:
        trained(**settings)
    return str(error.value)


@pytest.mark.slow
def test_training_that_goes_well_is_the_same_bit_for_bit_and_leaves_no_trace():
    watched, fitted = trained(optimizer="adam", learning_rate=0.01)
    alone, other = trained(watch=False, optimizer="adam", learning_rate=0.01)
    assert all(map(np.array_equal, watched.get_weights(), alone.get_weights()))
    assert fitted.history == other.history
    assert not {"compute_loss", "apply_gradients"} & {*vars(watched), *vars(watched.optimizer)}


@pytest.mark.slow
def test_a_learning_rate_beyond_reason_is_named_with_step_and_rows():
    text = story(optimizer="sgd", learning_rate=1e30)
    # 320 training rows make 4 steps an epoch; the first update already leaves the numbers behind.
    assert text.startswith("Training diverged in epoch 1, step 2: the loss is ")
    assert "First not finite: " in text
    assert "all weights are finite, the largest weight is " in text
    assert "The batch has 100 rows, the worst of them: item_id=i" in text
    assert "asked by user_id=u" in text
    assert "Lower `training.learning_rate` (it is 1e+30), or set `training.clip_norm` = 1." in text


@pytest.mark.slow
def test_a_model_of_several_interests_diverges_in_words_too():
    history = History("history", Categorical("item_id", 4), 5, Interests(2))
    log = DATA.log.unique(["user_id", "item_id", "timestamp"], maintain_order=True)
    text = story(data=DATA.with_log(log), query=[*PLAIN, history], optimizer="sgd", learning_rate=1e30)
    assert "First not finite: " in text
    assert "the worst of them: item_id=i" in text
    assert "asked by user_id=u" in text


class RootOfNothing(keras.layers.Layer):
    """A loss of 0 whose gradient is 0 / 0."""

    def call(self, query_embeddings, candidate_embeddings, sample_weight=None, **_):
        return tf.sqrt(tf.reduce_sum(query_embeddings * 0.0, axis=1))


@pytest.mark.slow
def test_a_gradient_that_spoils_finite_weights_is_caught_before_it_does():
    model = {}
    text = story(task=RootOfNothing(), start=lambda m: model.update(it=m))
    assert text.startswith("Training diverged in epoch 1, step 1: the loss is 0. ")
    assert "First not finite: the gradients of " in text
    assert "the loss, weights and vectors are finite" in text


@pytest.mark.slow
def test_weights_that_were_spoilt_before_are_named():
    def spoil(model):
        model.query_tower.create_weights()
        table = model.query_tower.features[0]._table
        table.embeddings.assign(tf.fill(table.embeddings.shape, float("nan")))

    text = story(start=spoil)
    assert "Not finite before this step: the weights " in text
    assert "embeddings" in text
    assert "the update of the step before was too large" in text


@pytest.mark.slow
def test_a_number_far_out_is_named_with_its_row_and_what_to_do():
    def shrink(model):
        """As if the moments had been learned before the outlier came."""
        layer = model.query_tower.features[1]
        layer._set_state([0.0, 1e-40])

    text = story(
        query=[*PLAIN, Numeric("timestamp")], start=shrink, optimizer="sgd", learning_rate=1e-9
    )
    assert 'The number "timestamp" reaches ' in text
    assert "standard deviations from its mean: make it a `bucketized` feature" in text
    assert re.search(r"asked by user_id=u\d+, timestamp=-?[\d.e+]+ deviations", text)


@pytest.mark.slow
def test_a_last_update_that_only_validation_meets_is_found_before_the_epoch_counts():
    text = story(optimizer="sgd", learning_rate=1e30, batch_size=400, epochs=1)
    assert text.startswith("Training diverged in epoch 1: val_loss is ")


def test_several_replicas_have_the_loss_looked_at_after_each_step():
    callback = StopOnNonFinite()
    callback.on_epoch_begin(2)
    callback.model = type("Model", (), {"optimizer": keras.optimizers.SGD(0.5, global_clipnorm=1.0)})
    callback.on_train_batch_end(6, {"loss": 3.0})
    with pytest.raises(DivergedError) as error:
        callback.on_train_batch_end(6, {"loss": float("nan")})
    assert str(error.value) == (
        "Training diverged in epoch 3, step 7: the loss is nan. "
        "Lower `training.learning_rate` (it is 0.5)."
    )
