"""Fitting: the best weights win, the clock counts training, the same seed gives the same model."""

import numpy as np
import pytest

from tfrecall._keras import keras, tf
from tfrecall.data import split_random, synthetic
from tfrecall.errors import ConfigError
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema import Categorical, Schema
from tfrecall.training import fit, make_optimizer

SCHEMA = Schema(query=[Categorical("user_id", 4)], candidate=[Categorical("item_id", 4)])
TOP_5 = "factorized_top_k/top_5_categorical_accuracy"


@pytest.fixture(scope="module")
def parts():
    return split_random(synthetic(30, 20, 400, seed=5), 0.2, seed=1)


def new_model(**settings):
    return TwoTower(SCHEMA, layer_sizes=[], **settings)


class Script(keras.callbacks.Callback):
    """After epoch n every weight is n, so that the weights tell where they come from."""

    def on_train_batch_end(self, batch, logs=None):
        for weight in self.model.trainable_variables:
            weight.assign(tf.fill(weight.shape, self.epoch + 1.0))

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


def fit_to(values, parts, monkeypatch, **settings):
    """Fits while the validation metric takes the values given, one a validation."""
    left = iter(values)
    original = TwoTower.evaluate

    def scripted(self, *args, **kwargs):
        logs = original(self, *args, **kwargs)
        return {**logs, TOP_5: next(left), "loss": -1.0}

    monkeypatch.setattr(TwoTower, "evaluate", scripted)
    model = new_model()
    settings = {"epochs": len(values), "monitor": TOP_5, "batch_size": 400, "verbose": 0, **settings}
    fitted = fit(model, *parts, callbacks=[Script()], **settings)
    (weight,) = {float(value) for w in model.trainable_variables for value in w.numpy().flat}
    return fitted, weight


@pytest.mark.parametrize(
    ("values", "patience", "epochs", "best"),
    [
        ([0.1, 0.3, 0.2, 0.2, 0.9], 2, 4, 2),  # two without improvement after epoch 2
        ([0.1, 0.3, 0.2, 0.4, 0.3], 2, 5, 4),  # the epochs run out first, the best come back
        ([0.3, 0.3, 0.3], 1, 2, 1),  # an equal value is no improvement
        ([0.1, 0.2, 0.3], 1, 3, 3),
        ([0.3, 0.2, 0.1], None, 3, 3),  # no patience: all epochs, the last weights
        ([0.3, float("nan"), 0.4], 1, 2, 1),  # NaN is no improvement
    ],
)
def test_the_best_weights_are_restored(parts, monkeypatch, values, patience, epochs, best):
    fitted, weight = fit_to(values, parts, monkeypatch, patience=patience)
    assert (fitted.epochs, fitted.best_epoch, weight) == (epochs, best, best)


def test_patience_counts_validations_not_epochs(parts, monkeypatch):
    # Epochs 2, 4, 6 and 8 are validated; the best is epoch 4, and 6 and 8 are the two waited for.
    values = [0.1, 0.3, 0.2, 0.2, 0.9]
    fitted, weight = fit_to(values, parts, monkeypatch, patience=2, validate_every=2, epochs=10)
    assert (fitted.epochs, fitted.best_epoch, weight) == (8, 4, 4)
    assert len(fitted.history[f"val_{TOP_5}"]) == 4
    assert len(fitted.history["loss"]) == 8


def test_fewer_epochs_than_a_validation_keep_the_last(parts):
    fitted = fit(new_model(), *parts, epochs=2, validate_every=5, monitor=TOP_5, verbose=0)
    assert (fitted.epochs, fitted.best_epoch) == (2, 2)


def test_the_loss_is_better_when_it_is_lower(parts):
    fitted = fit(new_model(), *parts, epochs=4, monitor="loss", verbose=0, batch_size=400)
    assert fitted.best_epoch == 1 + int(np.argmin(fitted.history["val_loss"]))


def test_without_validation_rows_all_epochs_are_trained(parts):
    fitted = fit(new_model(), parts.train, epochs=3, verbose=0)
    assert (fitted.epochs, fitted.best_epoch) == (3, 3)
    assert not any(name.startswith("val_") for name in fitted.history)
    assert all(len(values) == 3 for values in fitted.history.values())
    assert fitted.seconds > 0
    assert fitted.examples_per_second > 0


def test_the_same_seed_gives_the_same_weights_twice_in_one_process(parts):
    def weights(seed):
        model = new_model(dropout=0.3)
        fit(model, *parts, epochs=2, batch_size=64, optimizer="adam", seed=seed, verbose=0)
        return model.get_weights()

    one, again, other = weights(7), weights(7), weights(8)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_unknown_metric_is_named_with_the_nearest(parts):
    with pytest.raises(
        ConfigError, match=r'"factorized_top_k/top_7.*mean "factorized_top_k/top_\d+_cat'
    ):
        fit(
            new_model(),
            *parts,
            epochs=1,
            monitor="factorized_top_k/top_7_categorical_accuracy",
            verbose=0,
        )


def test_an_unknown_optimizer_is_named_with_the_nearest(parts):
    with pytest.raises(ConfigError, match=r'no optimizer "adagard".*mean "adagrad".*adam, sgd'):
        fit(new_model(), parts.train, optimizer="adagard")


def test_an_optimizer_may_be_an_object_with_its_own_rate(parts):
    model = new_model()
    fit(model, parts.train, optimizer=keras.optimizers.SGD(0.25), epochs=1, verbose=0)
    assert float(model.optimizer.learning_rate) == 0.25
    assert float(make_optimizer("adam", 0.5).learning_rate) == 0.5


def test_training_goes_on_from_the_weights_that_are_there(parts):
    model = new_model()
    first = fit(model, parts.train, epochs=5, verbose=0).history["loss"]
    then = fit(model, parts.train, epochs=1, verbose=0).history["loss"]
    assert then[0] < first[0]
