"""DSSM and the negatives of its batches: drawn anew, the same after a resume, never what a user has."""

import shutil
from contextlib import nullcontext

import numpy as np
import polars as pl
import pytest

from tests.eager import eager_steps
from tests.progress import RecordedProgress
from tests.tiny_histories import SCHEMA as HISTORIES
from tfrecall._keras import keras, tf
from tfrecall.data import Interactions, split_random, synthetic
from tfrecall.data.batches import examples
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.models.dssm import DSSM
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema
from tfrecall.schema.negatives import CrossBatch, Explicit, Hard, HeadTail, Mixed, Popularity, Uniform
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.tasks.pairwise import BPR, DSSMSoftmax, Pointwise
from tfrecall.tasks.triplet import Triplet
from tfrecall.training import fit
from tfrecall.training.checkpoints import Checkpoints
from tfrecall.training.inputs.examples import TrainingExamples, validation_examples

SCHEMA = Schema(query=[Categorical("user_id", 8)], candidate=[Categorical("item_id", 8)])
# Users have about 8 of 40 items each.
PARTS = split_random(synthetic(60, 40, 600, seed=3), 0.2, seed=1)


def adapted(task, data=PARTS.train, schema=SCHEMA, **settings):
    keras.utils.set_random_seed(1)
    model = DSSM(schema, [8], task=task, **settings)
    model.adapt(data)
    return model


def epochs_of(task, count=2, first=0, data=PARTS.train):
    """For each epoch the users, items and negatives of its rows, as one array each."""
    batches = TrainingExamples(adapted(task, data), data, 64, seed=5).batches(first)
    names = ["candidate_index", "negatives"]
    read = [list(batches) for _ in range(count)]
    return [[np.concatenate([b[n].numpy() for b in epoch]) for n in names] for epoch in read]


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", [Uniform(3), Popularity(3), HeadTail(3, threshold=12), Hard(ranks=(1, 9))]
)
def test_negatives_come_with_each_batch_and_never_what_the_user_has(spec):
    model = adapted(BPR(spec))
    users = model.query_tower.features[0].preprocess(
        tf.constant(PARTS.train.users["user_id"].to_list())
    )
    rows = PARTS.train.user_vocabulary
    known = {
        (rows.ids[u], i) for u, i in zip(PARTS.train.user_rows, PARTS.train.item_rows, strict=True)
    }
    names = dict(zip(users.numpy().tolist(), PARTS.train.users["user_id"], strict=True))
    seen = 0
    for batch in TrainingExamples(model, PARTS.train, 240).batches().as_numpy_iterator():
        assert batch["negatives"].shape[1] == spec.per_positive
        for user, items in zip(batch["query"]["user_id_categorical"], batch["negatives"], strict=True):
            drawn = {(names[int(user)], int(item) - 2) for item in items}
            assert not drawn & known
            seen += len(drawn)
    assert seen > len(PARTS.train)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [Uniform(3), Popularity(3), Hard(ranks=(2, 30))])
def test_each_epoch_draws_anew_and_the_same_for_its_number(spec):
    first, second = epochs_of(Pointwise(spec))
    ((again_items, again),) = epochs_of(Pointwise(spec), count=1, first=1)
    assert (again_items == second[0]).all()  # the order of the rows
    assert (again == second[1]).all()
    of_item = [
        np.sort(negatives[np.argsort(items, kind="stable")].ravel())
        for items, negatives in (first, second)
    ]
    assert (of_item[0] != of_item[1]).any()


def test_without_resampling_a_row_keeps_its_negatives():
    (items, one), (other_items, other) = epochs_of(Pointwise(Uniform(3, resample=False)))
    rows = [sorted(map(tuple, np.column_stack(pair))) for pair in ((items, one), (other_items, other))]
    assert rows[0] == rows[1]
    assert (items != other_items).any()  # shuffled all the same


@pytest.mark.slow
def test_negatives_follow_their_own_seed_and_not_the_shuffling():
    ((_, one),), ((_, other),) = (epochs_of(Pointwise(Uniform(3, seed=seed)), 1) for seed in (1, 2))
    assert (one != other).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "steps"),
    [
        (Pointwise(Uniform(3)), eager_steps),
        (DSSMSoftmax(Hard(ranks=(1, 20))), nullcontext),  # in a graph, as users have it
        (Triplet(HeadTail(2, threshold=12)), eager_steps),
        (Triplet("in_batch", semi_hard=True, distance="cosine"), eager_steps),
        (BPR(Mixed(8)), eager_steps),
        (DSSMSoftmax(CrossBatch(64)), eager_steps),
        (Pointwise(Hard(5)), eager_steps),
    ],
    ids=lambda one: f"{type(one).__name__}-{one.negatives.type}" if hasattr(one, "negatives") else "",
)
def test_an_interrupted_training_ends_bit_for_bit_like_one_that_was_not(task, steps, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"

    class CopyAtHalf(keras.callbacks.Callback):
        """Keeps what the disk holds where a process is killed after an epoch."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1 and not cut.exists():
                shutil.copytree(whole, cut)

    def weights(root):
        copy = keras.layers.deserialize(keras.layers.serialize(task))
        model = DSSM(SCHEMA, [8], task=copy, name="m")
        progress = RecordedProgress()
        with Checkpoints(root, seconds=0, progress=progress) as kept, steps():
            kept.belongs_to = {"the": "same"}
            fit(model, *PARTS, epochs=3, patience=None, monitor="auc", checkpoints=kept,
                callbacks=[CopyAtHalf()], batch_size=160, verbose=0)  # fmt: skip
        return model.get_weights(), progress.notes

    expected, _ = weights(whole)
    found, [note] = weights(cut)
    assert note.startswith("Resuming after epoch 1 of 3")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_it_learns_and_auc_tells():
    model = DSSM(SCHEMA, [16], task=DSSMSoftmax(Uniform(4)))
    options = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 64, "verbose": 0}
    fitted = fit(model, *PARTS, epochs=8, monitor="gauc", **options)
    assert {"val_auc", "val_gauc", "val_loss"} <= set(fitted.history)
    assert not {"auc", "gauc"} & set(fitted.history)
    assert fitted.best_epoch == 1 + int(np.argmax(fitted.history["val_gauc"]))
    assert max(fitted.history["val_gauc"]) > 0.7


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_auc_in_training_is_that_of_the_served_scores():
    model = adapted(Pointwise(Uniform(2)))
    batches = validation_examples(model, PARTS.test, PARTS.train)
    model.compile(keras.optimizers.Adam(0.01))
    found = model.evaluate(batches, verbose=0, return_dict=True)
    scores = model.embed_queries(PARTS.test.queries) @ model.embed_candidates().T
    drawn = np.concatenate([b["auc_negatives"].numpy() for b in batches]) - 2
    own = scores[np.arange(len(drawn)), PARTS.test.item_rows][:, None]
    others = np.take_along_axis(scores, drawn, axis=1)
    assert found["gauc"] == pytest.approx(float((others < own).mean()), abs=1e-3)
    pairs = (others.ravel() < own).mean() + (others.ravel() == own).mean() / 2
    assert found["auc"] == pytest.approx(float(pairs), abs=2e-3)
    known = {*zip(PARTS.train.user_rows, PARTS.train.item_rows, strict=True)}
    known |= {*zip(PARTS.test.user_rows, PARTS.test.item_rows, strict=True)}
    assert all(
        (u, i) not in known for u, row in zip(PARTS.test.user_rows, drawn, strict=True) for i in row
    )


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_who_has_everything_is_not_judged_by_pairs():
    log = synthetic(20, 6, 90, seed=1)
    all_items = pl.DataFrame({"user_id": "u0", "item_id": log.items["item_id"], "timestamp": 0.0})
    train = log.with_log(pl.concat([log.log.select(all_items.columns), all_items]))
    last = train.with_log(all_items.head(1).with_columns(timestamp=pl.lit(1e10)))
    model = adapted(Pointwise("in_batch"), train)
    (batch,) = validation_examples(model, last, train)
    assert (batch["auc_negatives"].numpy() == 0).all()
    model.compile()
    assert (
        model.evaluate(validation_examples(model, last, train), return_dict=True, verbose=0)["gauc"]
        == 0
    )


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_histories_and_negatives_go_together(history_log):
    for spec in (Uniform(3), Hard(ranks=(1, 5))):
        model = adapted(BPR(spec), history_log, HISTORIES, candidate_layer_sizes=[8])
        for form in ("sequences", "windows"):
            made = TrainingExamples(model, history_log, 200, histories=HistoriesConfig(form=form))
            batches = list(made.batches())
            assert sum(len(b["negatives"]) for b in batches) == len(made)
            for batch in batches:
                assert batch["negatives"].shape == (len(batch["candidate_index"]), spec.per_positive)
                assert not (batch["negatives"] == batch["candidate_index"][:, None]).numpy().any()
        model.compile(keras.optimizers.Adam(0.01))
        assert np.isfinite(model.fit(made.batches(), verbose=0).history["loss"]).all()


@pytest.mark.slow
def test_explicit_negatives_are_those_of_the_row():
    shown = [["i1", "i2", "i3"] if n % 2 else [] for n in range(len(PARTS.train))]
    data = PARTS.train.with_log(PARTS.train.log.with_columns(shown=pl.Series(shown)))
    ((items, negatives),) = epochs_of(Pointwise(Explicit("shown", exclude_known=False)), 1, data=data)
    ids = data.item_vocabulary.ids
    assert {ids[i - 2] for i in np.unique(negatives[negatives > 0])} == {"i1", "i2", "i3"}
    assert (negatives == 0).all(axis=1).sum() >= len(data) // 2
    assert not (negatives == items[:, None]).any()


@pytest.mark.slow
def test_what_makes_dssm_one():
    model = adapted(None)
    assert isinstance(model.task, DSSMSoftmax)
    vectors = model.embed_candidates()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert model.query_tower.activation == "tanh"
    copy = DSSM.from_config(model.get_config())
    assert copy.get_config() == model.get_config()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("leaky_relu", lambda x: np.where(x > 0, x, 0.2 * x)),
        ("tanh", np.tanh),
        ("linear", lambda x: x),
    ],
)
def test_layers_have_the_activation_that_is_asked_for(activation, function):
    model = TwoTower(SCHEMA, [6, 4], activation=activation, output_activation=activation)
    model.adapt(PARTS.train)
    users = PARTS.train.users.head(5)
    found = model.embed_queries(users)
    table, *layers = (weight.numpy() for weight in model.query_tower.trainable_weights)
    encoded = model.query_tower.features[0].preprocess(tf.constant(users["user_id"].to_list()))
    vector = table[encoded.numpy()]
    for kernel, bias in zip(layers[::2], layers[1::2], strict=True):
        vector = function(vector @ kernel + bias)
    np.testing.assert_allclose(found, vector, rtol=1e-4, atol=1e-6)


# Refused, before any training


def everything():
    """A log whose user "u" has all of its three items."""
    frame = pl.DataFrame({"user_id": ["u", "u", "u", "v"], "item_id": ["a", "b", "c", "a"]})
    return Interactions.from_frame(frame, timestamp="")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        (
            Pointwise(Uniform(2)),
            DataError,
            r'against 3 of 4 targets: user "u" \(row 0 .* has every item',
        ),
        (Pointwise(Hard(ranks=(1, 2), per_positive=1)), DataError, 'user "u"'),
        (
            Pointwise(Uniform(3)),
            ConfigError,
            "has 3 items, so there must be from 1 to 2 .* Received: 3",
        ),
        (
            Pointwise(Hard(ranks=(1, 3))),
            ConfigError,
            r"`ranks` must end at 2 or before. Received: \[1, 3\]",
        ),
        (Pointwise(HeadTail(1, threshold=9)), ConfigError, "None of 3 items have 9 or more events"),
        (Pointwise(Explicit("shown", per_positive=1)), MissingColumnError, 'no column "shown"'),
    ],
)
def test_a_log_that_cannot_be_drawn_from_is_refused_before_training(task, error, message):
    with pytest.raises(error, match=message):
        fit(DSSM(SCHEMA, [4], task=task), everything(), epochs=1, verbose=0)


@pytest.mark.slow
def test_allowed_known_items_leave_the_target_out_only():
    data = everything()
    ((items, negatives),) = epochs_of(Pointwise(Uniform(2, exclude_known=False)), 1, data=data)
    assert not (negatives == items[:, None]).any()
    assert (negatives >= 2).all()


def test_distances_want_vectors_of_length_one():
    with pytest.raises(ConfigError, match=r"Triplet learns distances.*normalize=False"):
        TwoTower(SCHEMA, [4], task=Triplet())


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_batches_without_drawn_negatives_are_refused():
    model = adapted(Pointwise(Uniform(2)))
    model.compile()
    raw = examples(PARTS.train, 64, encode=model.encode, forms=model.forms)
    with pytest.raises(DataError, match=r"drawn for each target.*TrainingExamples\(model, log\)"):
        model.fit(raw, verbose=0)
    assert np.isfinite(model.evaluate(raw, verbose=0, return_dict=True)["loss"])


def test_an_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match=r"no activation 'rleu'\. Did you mean \"relu\""):
        TwoTower(SCHEMA, [4, 4], activation="rleu")
