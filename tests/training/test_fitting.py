"""Fitting: the best weights win, the clock counts training, the same seed gives the same model."""

import math

import numpy as np
import pytest

from tests.eager import eager_steps
from tests.progress import RecordedProgress
from tests.tiny import SCHEMA as EVERY_KIND
from tfrecall._keras import keras, tf
from tfrecall.data import split_random, synthetic
from tfrecall.errors import CheckpointError, ConfigError
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Numeric, Schema
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.training import fit, make_optimizer
from tfrecall.training.checkpoints import Checkpoints
from tfrecall.training.optimizers import WarmUpDecay

SCHEMA = Schema(query=[Categorical("user_id", 4)], candidate=[Categorical("item_id", 4)])
TOP_5 = "hit_rate@5"
# Of the graph that users train are the tests of seeds and of random numbers, and `tests/integration`.
eager = pytest.mark.usefixtures("eager_steps")


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


@pytest.mark.slow
@eager
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


@pytest.mark.slow
@eager
def test_patience_counts_validations_not_epochs(parts, monkeypatch):
    # Epochs 2, 4, 6 and 8 are validated; the best is epoch 4, and 6 and 8 are the two waited for.
    values = [0.1, 0.3, 0.2, 0.2, 0.9]
    fitted, weight = fit_to(values, parts, monkeypatch, patience=2, validate_every=2, epochs=10)
    assert (fitted.epochs, fitted.best_epoch, weight) == (8, 4, 4)
    assert len(fitted.history[f"val_{TOP_5}"]) == 4
    assert len(fitted.history["loss"]) == 8


@pytest.mark.slow
@eager
def test_fewer_epochs_than_a_validation_keep_the_last(parts):
    fitted = fit(new_model(), *parts, epochs=2, validate_every=5, monitor=TOP_5, verbose=0)
    assert (fitted.epochs, fitted.best_epoch) == (2, 2)


@pytest.mark.slow
@eager
def test_the_loss_is_better_when_it_is_lower(parts):
    fitted = fit(new_model(), *parts, epochs=4, monitor="loss", verbose=0, batch_size=400)
    assert fitted.best_epoch == 1 + int(np.argmin(fitted.history["val_loss"]))


@pytest.mark.slow
@eager
def test_without_validation_rows_all_epochs_are_trained(parts):
    fitted = fit(new_model(), parts.train, epochs=3, verbose=0)
    assert (fitted.epochs, fitted.best_epoch) == (3, 3)
    assert not any(name.startswith("val_") for name in fitted.history)
    assert all(len(values) == 3 for values in fitted.history.values())
    assert fitted.seconds > 0
    assert fitted.examples_per_second > 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_twice_in_one_process(parts):
    def weights(seed):
        model = new_model(dropout=0.3)
        fit(model, *parts, epochs=2, batch_size=64, optimizer="adam", seed=seed, verbose=0)
        return model.get_weights()

    one, again, other = weights(7), weights(7), weights(8)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@eager
def test_an_unknown_metric_is_named_with_the_nearest(parts):
    with pytest.raises(ConfigError, match=r'"hit_rate@7".*mean "hit_rate@\d+"'):
        fit(
            new_model(),
            *parts,
            epochs=1,
            monitor="hit_rate@7",
            verbose=0,
        )


def test_an_unknown_optimizer_is_named_with_the_nearest(parts):
    with pytest.raises(ConfigError, match=r"`optimizer`.*'adam' or 'sgd'.*mean \"adagrad\""):
        fit(new_model(), parts.train, optimizer="adagard")


@pytest.mark.slow
@eager
def test_an_optimizer_may_be_an_object_with_its_own_rate(parts):
    model = new_model()
    fit(model, parts.train, optimizer=keras.optimizers.SGD(0.25), epochs=1, verbose=0)
    assert float(model.optimizer.learning_rate) == 0.25
    assert float(make_optimizer("adam", 0.5).learning_rate) == 0.5


@pytest.mark.slow
@eager
def test_training_goes_on_from_the_weights_that_are_there(parts):
    model = new_model()
    first = fit(model, parts.train, epochs=5, verbose=0).history["loss"]
    then = fit(model, parts.train, epochs=1, verbose=0).history["loss"]
    assert then[0] < first[0]


# Learning rates and clipping


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        # Of 12 steps 4 warm up: .4 * 1/4, 2/4, 3/4, 4/4. The first of the other 8 has the whole rate.
        # Step 8 is half way, (8 - 4) / 8; of step 11, the last, 1/8 of the way is left.
        ("constant", {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4, 4: 0.4, 8: 0.4, 11: 0.4, 99: 0.4}),
        ("linear", {0: 0.1, 3: 0.4, 4: 0.4, 6: 0.3, 8: 0.2, 11: 0.05, 12: 0.0, 99: 0.0}),
        # A quarter of the half wave: .4 * (1 + cos 45 degrees) / 2 = .2 + .2 * .7071.
        ("cosine", {0: 0.1, 3: 0.4, 4: 0.4, 6: 0.2 + 0.2 * math.sqrt(0.5), 8: 0.2, 12: 0.0, 99: 0.0}),
    ],
)
def test_the_learning_rate_of_a_step(schedule, rates):
    rate = WarmUpDecay(0.4, schedule, warmup_steps=4, steps=12)
    copy = WarmUpDecay.from_config(rate.get_config())
    for step, wanted in rates.items():
        assert float(rate(tf.constant(step, tf.int64))) == pytest.approx(wanted, abs=1e-7)
        assert float(copy(step)) == float(rate(step))


def test_without_a_warm_up_the_first_step_has_the_whole_rate():
    # (1 + cos 0) / 2 = 1; of 4 steps the second is a quarter of the way: 1 - 1/4.
    assert float(WarmUpDecay(0.4, "cosine", 0, 4)(0)) == pytest.approx(0.4)
    assert float(WarmUpDecay(0.4, "linear", 0, 4)(1)) == pytest.approx(0.3)


@pytest.mark.slow
@eager
def test_the_schedule_runs_over_the_steps_of_all_epochs(parts):
    model = new_model()
    # 320 rows in batches of 100 are 4 steps, in 3 epochs 12; the last step is the 12th.
    fit(model, parts.train, epochs=3, batch_size=100, schedule="linear", learning_rate=0.6, verbose=0)
    assert int(model.optimizer.iterations) == 12
    assert float(model.optimizer.learning_rate) == pytest.approx(0.6 * (1 - 11 / 12))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_steps": 12}, r"between 0 and the steps.*there are 12. Received: 12"),
        ({"schedule": "cosin"}, r'`schedule`.*mean "cosine"'),
        ({"optimizer": keras.optimizers.SGD(0.1), "clip_norm": 1.0}, r"given by name.*object SGD"),
        ({"optimizer": keras.optimizers.SGD(0.1), "warmup_steps": 1}, r"given by name.*object SGD"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(parts, settings, message):
    with pytest.raises(ConfigError, match=message):
        fit(new_model(), parts.train, epochs=3, batch_size=100, **settings)


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("clip_norm", [1.0, 5.5])
def test_the_whole_gradient_is_clipped(name, clip_norm):
    # The table's row 0 gets 2 + 2 = 4 from two occurrences, the bias 3: the gradient's length is 5, and
    # not sqrt(4 + 4 + 9), as it would be of the occurrences. Clipped to 1 it is 4/5 and 3/5.
    seen = []
    optimizer = make_optimizer(name, 1.0, clip_norm)
    table, bias = tf.Variable([[0.0], [0.0]]), tf.Variable([0.0])
    original = type(optimizer).update_step
    optimizer.update_step = lambda gradient, variable, *rest: (
        seen.append(tf.convert_to_tensor(gradient).numpy()),
        original(optimizer, gradient, variable, *rest),
    )
    occurrences = tf.IndexedSlices(
        tf.constant([[2.0], [2.0]]), tf.constant([0, 0]), tf.constant([2, 1])
    )
    optimizer.jit_compile = False
    optimizer.apply_gradients([(occurrences, table), (tf.constant([3.0]), bias)])
    scale = min(clip_norm / 5, 1)
    np.testing.assert_allclose(seen[0], [[4 * scale], [0]], rtol=1e-6)
    np.testing.assert_allclose(seen[1], [3 * scale], rtol=1e-6)


# Mixed precision


class Seen(InBatchSoftmax):
    """Remembers the types of the vectors that it is given."""

    def call(self, query_embeddings, candidate_embeddings, **kwargs):
        losses = super().call(query_embeddings, candidate_embeddings, **kwargs)
        self.types = {part.dtype for part in (query_embeddings, candidate_embeddings, losses)}
        return losses


@pytest.mark.slow
@eager
def test_steps_in_bfloat16_leave_float32_behind(parts):
    schema = Schema(query=[*SCHEMA.query, Numeric("timestamp")], candidate=SCHEMA.candidate)
    fits = []
    for mixed in (True, False):
        model = TwoTower(schema, layer_sizes=[4], task=Seen(), embedding_regularization=0.01)
        fitted = fit(model, *parts, epochs=2, mixed_precision=mixed, verbose=0, monitor=TOP_5)
        fits.append((model, fitted.history["loss"][-1], model.embed_candidates()))
    (mixed, loss, vectors), (_, exact_loss, exact_vectors) = fits
    # bfloat16 keeps 8 bits: 1 in 256. The losses are close and not the same.
    assert loss == pytest.approx(exact_loss, rel=0.02)
    assert loss != exact_loss
    assert mixed.task.types == {tf.float32}
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, exact_vectors, atol=0.05)
    # Digits that bfloat16 does not have: answers are computed in float32.
    assert not np.array_equal(vectors, tf.cast(tf.cast(vectors, tf.bfloat16), tf.float32).numpy())
    assert {weight.dtype for weight in mixed.trainable_variables} == {tf.float32}
    assert keras.mixed_precision.global_policy().name == "float32"
    assert {layer.compute_dtype for layer in [*mixed.query_tower._hidden, mixed.query_tower._last]} == {
        "float32"
    }
    with pytest.raises(ConfigError, match="begin with a new model"):
        fit(mixed, parts.train, mixed_precision=True)
    fit(mixed, parts.train, epochs=1, verbose=0)  # and goes on in float32


# Checkpoints


class Crash(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise RuntimeError("crash")


def everything():
    """A model whose training draws random numbers, and keeps state, wherever it can."""
    task = InBatchSoftmax(num_uniform_negatives=8, memory_size=64, frequency="streaming")
    return TwoTower(EVERY_KIND, layer_sizes=[6, 4], dropout=0.3, task=task)


EVERYTHING = {
    "epochs": 3,
    "batch_size": 400,
    "optimizer": "adam",
    "schedule": "cosine",
    "warmup_steps": 2,
    "clip_norm": 1.0,
    "monitor": TOP_5,
    "patience": 5,
    "seed": 3,
    "verbose": 0,
}


@pytest.mark.slow
def test_no_random_number_has_a_state_that_no_checkpoint_holds(tiny_log):
    model = everything()
    model.adapt(tiny_log)
    model.query_tower.create_weights()
    row = model.encode({"user_id": tf.constant(["u1"])} | row_of(model))
    traced = tf.function(lambda: model.compute_loss(row, training=True)).get_concrete_function()
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    random = {node.op for node in nodes if "Random" in node.op or "Dropout" in node.op}
    assert random
    assert all(op.startswith("Stateless") for op in random), random


def row_of(model):
    forms = model.query_tower.forms
    raw = {
        column: tf.constant([[value]] if forms[column] == "strings" else [value])
        for column, value in model.query_tower.unknowns.items()
    }
    return raw | {"item_id": tf.constant(["i1"])}


@pytest.fixture(scope="module")
def whole(tiny_log):
    """Rows to train on and to validate, a model that nothing has interrupted, and its fit."""
    parts, model = split_random(tiny_log, 0.2, seed=1), everything()
    with eager_steps():
        return parts, model, fit(model, *parts, **EVERYTHING)


def assert_alike(again, resumed, whole):
    _, model, fitted = whole
    for one, other in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (again.history, again.best_epoch, again.epochs) == (
        fitted.history,
        fitted.best_epoch,
        fitted.epochs,
    )
    np.testing.assert_array_equal(model.embed_candidates(), resumed.embed_candidates())


@pytest.mark.slow
@eager
def test_an_interrupted_fit_ends_like_one_that_was_not(whole, tmp_path):
    progress = RecordedProgress()
    for crash in (1, 2, None):
        keras.backend.clear_session()
        callbacks = [] if crash is None else [Crash(crash)]
        with Checkpoints(tmp_path, seconds=0, progress=progress) as kept:
            resumed = everything()
            if crash is None:
                again = fit(resumed, *whole[0], checkpoints=kept, **EVERYTHING)
            else:
                with pytest.raises(RuntimeError, match="crash"):
                    fit(resumed, *whole[0], checkpoints=kept, callbacks=callbacks, **EVERYTHING)
    assert [note[:35] for note in progress.notes] == [
        "Resuming after epoch 1 of 3 (fit), ",
        "Resuming after epoch 2 of 3 (fit), ",
    ]
    assert_alike(again, resumed, whole)


@pytest.mark.slow
@eager
def test_a_paused_fit_goes_on_like_one_that_was_not(whole, tmp_path):
    paused, epochs = [], []
    while not paused or paused[-1]:
        keras.backend.clear_session()
        resumed = everything()
        with Checkpoints(tmp_path, seconds=1e9) as kept:
            kept.until = 0.0  # long ago: each fit pauses after an epoch
            again = fit(resumed, *whole[0], checkpoints=kept, **EVERYTHING)
            paused.append(kept.paused)
        epochs.append(again.epochs)
    assert (paused, epochs) == ([True, True, False], [1, 2, 3])
    assert_alike(again, resumed, whole)


@keras.utils.register_keras_serializable(package="tests")
class Counting(InBatchSoftmax):
    """A task that makes a variable when it is first called, and counts its steps in it."""

    def call(self, *args, training=None, **kwargs):
        if not hasattr(self, "steps"):
            self.steps = self.add_weight("steps", initializer="zeros", trainable=False)
        self.steps.assign_add(1.0)
        return super().call(*args, **kwargs)


@pytest.mark.slow
def test_variables_that_a_first_step_makes_are_resumed(parts, tmp_path):
    def counting():
        return new_model(name="model", task=Counting(name="counting"))

    settings = {"epochs": 2, "batch_size": 160, "verbose": 0}  # 2 steps an epoch
    with Checkpoints(tmp_path, seconds=0) as kept, pytest.raises(RuntimeError, match="crash"):
        fit(counting(), parts.train, checkpoints=kept, callbacks=[Crash(1)], **settings)
    resumed = counting()
    fit(resumed, parts.train, checkpoints=tmp_path, **settings)
    assert resumed.task.steps.numpy() == 4


@pytest.mark.slow
@eager
def test_a_fit_that_was_over_is_not_trained_again(parts, tmp_path, monkeypatch):
    # The second validation is worse, and that ends it with the weights of the first.
    first, weight = fit_to(
        [0.3, 0.2, 0.9],
        parts,
        monkeypatch,
        patience=1,
        checkpoints=Checkpoints(tmp_path, seconds=0, belongs_to={}),
    )
    again, same = fit_to(
        [], parts, monkeypatch, patience=1, epochs=3, checkpoints=Checkpoints(tmp_path, belongs_to={})
    )
    assert (again.epochs, again.best_epoch, again.history) == (2, 1, first.history)
    assert weight == same == 1


@pytest.mark.slow
@eager
def test_a_checkpoint_of_other_settings_or_data_is_refused(parts, tmp_path):
    with Checkpoints(tmp_path, seconds=0) as kept:
        fit(new_model(), parts.train, epochs=1, batch_size=100, checkpoints=kept, verbose=0)
    with pytest.raises(CheckpointError) as caught:
        fit(
            new_model(dropout=0.5),
            parts.test,
            epochs=2,
            batch_size=100,
            learning_rate=0.2,
            checkpoints=tmp_path,
        )
    message = str(caught.value)
    for difference in ("epochs: 1 there, 2 now", "optimizer.learning_rate: 0.1", "dropout: 0.0 there"):
        assert difference in message
    assert "train: " in message
    assert "batch_size" not in message


@pytest.mark.slow
@eager
def test_a_directory_given_by_its_path_is_gone_when_the_fit_is_done(parts, tmp_path):
    fit(new_model(), parts.train, epochs=1, checkpoints=tmp_path / "c", verbose=0)
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
@eager
def test_weights_that_are_not_finite_are_in_no_checkpoint(parts, tmp_path):
    progress = RecordedProgress()
    with Checkpoints(tmp_path, seconds=0, progress=progress) as kept:
        fast = {"optimizer": "sgd", "learning_rate": 1e30, "batch_size": 64}
        fit(new_model(), parts.train, epochs=3, checkpoints=kept, verbose=0, **fast)
        assert kept.last() is None
    assert len(progress.notes) == 1
