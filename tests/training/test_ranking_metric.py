"""Stopping by the figures of the final table."""

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import keras
from tfrecall.data import filter_log, split_random, synthetic
from tfrecall.errors import ConfigError
from tfrecall.evaluation import evaluate
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.training import fit
from tfrecall.training.progress import lasting_weights
from tfrecall.training.ranking_metric import RankingMetrics

USER, ITEM = Categorical("user_id", 4), Categorical("item_id", 4)
SCHEMA = Schema(query=[USER], candidate=[ITEM])


@pytest.fixture(scope="module")
def parts():
    once = filter_log(synthetic(30, 20, 600, seed=5), duplicates="first")
    return split_random(once, 0.2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["removed", "kept"])
@pytest.mark.parametrize("metric", ["hit_rate@3", "ndcg@7"])
@pytest.mark.parametrize("repeats", [False, True])
def test_the_figure_is_that_of_the_table(parts, rule, metric, repeats):
    """Also where people come back: an item that the user had is a miss where seen ones are removed."""
    if repeats:
        parts = split_random(synthetic(30, 20, 600, seed=5), 0.2, seed=1)
    model = TwoTower(SCHEMA, layer_sizes=[])
    fitted = fit(model, *parts, epochs=1, monitor=f"seen_{rule}/{metric}", verbose=0)

    judged = evaluate(model, parts.test, seen=parts.train, ks=(3, 7), baselines=())
    assert (judged.targets_had > 0) is repeats
    assert fitted.history[f"val_seen_{rule}/{metric}"] == [judged.test[f"seen_{rule}"][metric]]


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_the_epoch_with_the_best_figure_gives_its_weights(parts):
    class Forget(keras.callbacks.Callback):
        """From the second epoch on, all items score alike, which counts against the model."""

        def on_epoch_end(self, epoch, logs=None):
            weights = [weight.numpy() for weight in lasting_weights(self.model)]
            self.weights = [*getattr(self, "weights", []), weights]

        def on_train_batch_end(self, batch, logs=None):
            if hasattr(self, "weights"):
                for weight in self.model.trainable_variables:
                    weight.assign(0.0 * weight)

    model, forget = TwoTower(SCHEMA, layer_sizes=[]), Forget()
    name = "seen_removed/hit_rate@3"
    fitted = fit(model, *parts, epochs=3, patience=2, monitor=name, verbose=0, callbacks=[forget])

    first, *later = fitted.history[f"val_{name}"]
    assert first > 0
    assert later == [0.0, 0.0]
    assert fitted.best_epoch == 1
    kept = zip(lasting_weights(model), forget.weights[0], strict=True)
    assert all(np.array_equal(now.numpy(), then) for now, then in kept)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_it_measures_only_where_keras_validates(parts):
    name = "seen_kept/ndcg@5"
    fitted = fit(
        TwoTower(SCHEMA, layer_sizes=[]), *parts, epochs=4, validate_every=2, monitor=name, verbose=0
    )
    assert len(fitted.history[f"val_{name}"]) == 2
    assert len(fitted.history["loss"]) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_histories_of_the_rows_are_what_was_seen_before_and_the_log_of_the_model_stays(parts):
    """Trained on half of the users, judged on rows of the others, as `by_user` splits do."""
    everything, rows = parts
    half = everything.with_log(everything.log.filter(pl.col("user_id") < "u2"))
    model = TwoTower(Schema(query=[History("history", ITEM, 5)], candidate=[ITEM]), layer_sizes=[])
    name = "seen_removed/ndcg@20"
    fitted = fit(model, half, rows, seen=everything, epochs=1, monitor=name, verbose=0)
    assert model.interactions is half

    model.use_log(everything)
    judged = evaluate(model, rows, seen=everything, ks=(20,), baselines=())
    assert fitted.history[f"val_{name}"] == [judged.test["seen_removed"]["ndcg@20"]]


@pytest.mark.parametrize("wrong", ["seen_removed/recall@5", "seen_removed", "seen_kept/ndcg@0"])
def test_a_figure_that_does_not_exist_is_refused_before_training(parts, wrong):
    model = TwoTower(SCHEMA, layer_sizes=[])
    with pytest.raises(ConfigError, match=f'"seen_removed/hit_rate@50".*Received: "{wrong}"'):
        fit(model, *parts, monitor=wrong)
    assert not model.is_adapted
    assert RankingMetrics.is_meant(wrong)
