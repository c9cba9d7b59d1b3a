"""The ranker: its score by hand, its examples, what it refuses."""

import numpy as np
import polars as pl
import pytest

from tests.built_once import fit_once
from tests.tiny_ratings import BAG, DIM, SCHEMA, SETTINGS, rating_ranker
from tfrecall._keras import keras, tf, tfrs
from tfrecall.data import Interactions, split_random
from tfrecall.data.batches import examples
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.evaluation import metrics
from tfrecall.models.ranker import Ranker
from tfrecall.schema.encoders import GRU, Interests, RootSum
from tfrecall.schema.features import Categorical, History, Numeric, Schema
from tfrecall.schema.labels import Label
from tfrecall.tasks.ranking import Clicks, Lists
from tfrecall.training import fit
from tfrecall.training.checkpoints import Checkpoints
from tfrecall.training.inputs.examples import TrainingExamples, validation_examples

USER = Categorical("user_id", DIM, unknown_rate=0)
ITEM = Categorical("item_id", DIM, unknown_rate=0)
RATED = History("rated", Categorical("item_id", DIM), BAG, RootSum(), anytime=True)
SVD = Schema(query=[USER, RATED], candidate=[ITEM])


@pytest.fixture(scope="module")
def svd(rating_log):
    """SVD++: the mean, two biases and an inner product, with weights that are not at their start."""
    model = Ranker(SVD, crosses=["dot"], biases=["user_id", "item_id"], embedding_stddev=0.5)
    fit_once(model, rating_log, optimizer="adam", learning_rate=0.05, epochs=2, verbose=0)
    return model


def row_of(layer, value):
    return 2 + layer.state.index(value) if value in layer.state else 1


def by_hand(model, user, item, bag):
    """The score of SVD++ from the weights: mean + b_u + b_i + (p_u + sum_j y_j / sqrt(n)) . q_i."""
    p, had = model.query_tower.features
    (q,) = model.candidate_tower.features
    vector = p._table.embeddings.numpy()[row_of(p, user)]
    if bag:
        table = had.inner._table.embeddings.numpy()
        vector = vector + sum(table[row_of(had.inner, i)] for i in bag) / np.sqrt(len(bag))
    biases = 0.0
    for side, layer, value in (("query", p, user), ("candidate", q, item)):
        (table,) = model._biases[side]._tables.values()
        biases += table.embeddings.numpy()[row_of(layer, value), 0]
    own = q._table.embeddings.numpy()[row_of(q, item)]
    return float(model.offset) + biases + float(vector @ own)


def bags(log, leave_out=(None, None)):
    """The newest `BAG` items of each user, without all events of one pair of user and item."""
    events = log.log.sort("timestamp", maintain_order=True)
    found = {}
    for user, item in events.select("user_id", "item_id").iter_rows():
        found.setdefault(user, []).append(item)
    return {
        user: [item for item in items[-BAG:] if (user, item) != leave_out]
        for user, items in found.items()
    }


def test_the_score_is_that_of_svd_by_hand(svd, rating_log):
    users, items = ["u3", "u8", "u3", "absent"], ["i1", "i2", "i39", "i0"]
    had = bags(rating_log)
    scores = svd.scores(users, items)  # the first call makes the weights
    expected = [by_hand(svd, u, i, had.get(u)) for u, i in zip(users, items, strict=True)]
    assert scores == pytest.approx(expected, abs=1e-5)


def test_training_leaves_each_pair_out_of_its_own_bag(svd, rating_log):
    (batch,) = TrainingExamples(svd, rating_log, 10_000).batches().take(1)
    scores = svd(batch).numpy()
    order = np.random.default_rng((42, 0)).permutation(len(rating_log))
    places = [0, 1, 2, 500]
    rows = rating_log.log[order[places].tolist()]
    expected = [
        by_hand(svd, user, item, bags(rating_log, (user, item))[user])
        for user, item in zip(rows["user_id"], rows["item_id"], strict=True)
    ]
    assert scores[places] == pytest.approx(expected, abs=1e-5)


def test_rows_apart_from_the_log_see_the_whole_bag(svd, rating_log):
    later = rating_log.log[:3].with_columns(pl.col("timestamp") - 1e6)
    rows = Interactions.from_frame(later, users=rating_log.users, items=rating_log.items)
    expected = svd.scores(rows.log["user_id"].to_list(), rows.log["item_id"].to_list())
    assert svd.predictions(rows) == pytest.approx(expected, abs=1e-6)


def test_rows_of_the_log_itself_are_not_asked(svd, rating_log):
    with pytest.raises(DataError, match="see its own target"):
        svd.predictions(rating_log)


@pytest.mark.slow
def test_one_query_is_scored_with_many_candidates_as_with_each(rating_model):
    items = ["i1", "i5", "i7"]
    together = rating_model.scores(["u4"], items)
    assert together == pytest.approx([rating_model.scores(["u4"], [i])[0] for i in items], abs=1e-5)
    assert together == pytest.approx(rating_model.scores(["u4"] * 3, items), abs=1e-6)


def test_users_and_items_have_to_pair_up(rating_model):
    with pytest.raises(DataError, match="2 users and 3 items"):
        rating_model.scores(["u1", "u2"], ["i1", "i2", "i3"])
    with pytest.raises(DataError, match='no item "i99"'):
        rating_model.scores(["u1"], ["i99"])
    with pytest.raises(DataError, match="single text"):
        rating_model.scores("u1", ["i1"])


def test_somebody_unknown_gets_a_score_of_what_is_not_known(rating_model):
    known, unknown = rating_model.scores(["u1", "nobody"], ["i1", "i1"])
    assert np.isfinite(unknown)
    assert known != unknown


@pytest.mark.slow
def test_the_loss_of_an_epoch_is_the_mean_over_its_examples(rating_model, rating_log):
    rows = rating_log.with_log(rating_log.log[:100].with_columns(pl.col("timestamp") + 0.5))
    batches = validation_examples(rating_model, rows, rating_log, batch_size=30)  # 30, 30, 30, 10
    told = rating_model.evaluate(batches, return_dict=True, verbose=0)
    errors = rating_model.predictions(rows) - rows.log["rating"].to_numpy()
    assert told["loss"] == pytest.approx((errors**2).mean(), rel=1e-5)
    assert told["rmse"] == pytest.approx((errors**2).mean() ** 0.5, rel=1e-5)
    assert told["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("crosses", [["dcn"], ["elementwise"], ["dot_interaction"], ["concat", "dcn"]])
def test_each_cross_reaches_the_score_and_its_gradient(crosses, rating_log):
    model = Ranker(SCHEMA, [4], crosses=crosses)
    model.adapt(rating_log)
    (batch,) = TrainingExamples(model, rating_log, 64).batches().take(1)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.slow
def test_regularisation_is_the_mean_square_of_what_a_row_uses(rating_log):
    schema = Schema(query=[USER], candidate=[ITEM])
    model = Ranker(
        schema,
        crosses=["dot"],
        biases=["user_id"],
        embedding_regularization=0.5,
        bias_regularization=2.0,
    )
    model.adapt(rating_log)
    (batch,) = TrainingExamples(model, rating_log, 50).batches().take(1)
    model(batch)
    p = model.query_tower.feature_vectors(batch["query"])[0]
    q = model.candidate_tower.feature_vectors(model.catalogue.features(batch["candidate_index"]))[0]
    of_vectors = (tf.reduce_sum(p**2, axis=1) + tf.reduce_sum(q**2, axis=1)).numpy().mean()
    model(batch)
    assert float(tf.add_n(model.losses)) == pytest.approx(0.5 * of_vectors, rel=1e-5)  # biases are 0


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_the_task_of_tfrs_works_unchanged(rating_log):
    task = tfrs.tasks.Ranking(
        loss=keras.losses.MeanSquaredError(), metrics=[keras.metrics.RootMeanSquaredError("error")]
    )
    model = Ranker(Schema(query=[USER], candidate=[ITEM]), [8], task=task)
    fitted = fit(model, rating_log, epochs=2, monitor="error", verbose=0)
    assert set(fitted.history) == {"error", "loss"}
    assert fitted.history["error"][1] < fitted.history["error"][0]


@pytest.mark.slow
def test_raw_batches_are_encoded_on_the_way(rating_log):
    schema = Schema(query=[USER], candidate=[ITEM])
    rows = rating_log.log.select("user_id", "item_id", "rating")
    raw = tf.data.Dataset.from_tensor_slices({c: rows[c].to_list() for c in rows.columns}).batch(200)
    model = Ranker(schema, [8])
    model.adapt(
        raw, tf.data.Dataset.from_tensor_slices({"item_id": rating_log.items["item_id"].to_list()})
    )
    assert float(model.offset) == pytest.approx(rows["rating"].mean(), rel=1e-6)
    model.compile(keras.optimizers.Adam(0.01))
    history = model.fit(raw, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    with pytest.raises(MissingColumnError, match='"rating"'):
        model.fit(raw.map(lambda row: {c: row[c] for c in ("user_id", "item_id")}), verbose=0)
    with pytest.raises(DataError, match="adapted to a dataset"):
        model.scores(["u1"], ["i1"])


@pytest.mark.slow
def test_clicks_begin_at_their_log_odds(rating_log):
    model = Ranker(
        Schema(query=[USER], candidate=[ITEM]),
        [],
        crosses=["dot"],
        task=Clicks(),
        label=Label("rating", threshold=4),
    )
    model.adapt(rating_log)
    share = (rating_log.log["rating"] >= 4).mean()
    assert float(model.offset) == pytest.approx(np.log(share / (1 - share)), rel=1e-5)
    (batch,) = TrainingExamples(model, rating_log, 400).batches().take(1)
    assert set(batch["label"].numpy()) == {0.0, 1.0}


@pytest.mark.slow
def test_validation_stops_by_the_auc_of_all_rows_together(rating_log):
    train, validation = split_random(rating_log, 0.3, seed=1)
    schema = Schema(query=[USER], candidate=[ITEM])
    model = Ranker(schema, [], crosses=["dot"], task=Clicks(), label=Label("rating", threshold=4))
    fitted = fit(model, train, validation, epochs=2, patience=1, batch_size=256, verbose=0)
    model.use_log(train)
    clicked = validation.log["rating"].to_numpy() >= 4
    scores = model.predictions(validation)
    expected = metrics.auc(scores[clicked], scores[~clicked])
    assert fitted.history["val_auc"][fitted.best_epoch - 1] == pytest.approx(expected, abs=1e-6)
    assert "auc" not in fitted.history  # training measures the loss alone
    # Whatever the batches, alone and by name.
    rows = examples(validation, 70, forms=model.forms)
    assert model.evaluate(rows, verbose=0, return_dict=True)["auc"] == pytest.approx(expected, abs=1e-6)
    assert model.evaluate(rows, verbose=0)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_clicks_that_are_none_are_refused_before_training(rating_log):
    schema = Schema(query=[USER], candidate=[ITEM])
    with pytest.raises(DataError, match="`threshold`"):
        fit(Ranker(schema, [], crosses=["dot"], task=Clicks()), rating_log, epochs=1, verbose=0)
    thumbs = rating_log.with_log(rating_log.log.with_columns(pl.col("rating") - 3))
    with pytest.raises(DataError, match="`gain`"):
        fit(Ranker(schema, [], crosses=["dot"], task=Lists()), thumbs, epochs=1, verbose=0)


@pytest.mark.slow
def test_batches_for_lists_hold_whole_lists(rating_log):
    model = Ranker(Schema(query=[USER, RATED], candidate=[ITEM]), [4], task=Lists())
    model.adapt(rating_log)
    material = TrainingExamples(model, rating_log, 300)
    batches = list(material.batches())
    assert len(batches) == material.steps
    assert sum(len(batch["label"]) for batch in batches) == len(rating_log)
    lists = [set(batch["list"].numpy()) for batch in batches]
    assert sum(map(len, lists)) == len(set.union(*lists)) == rating_log.log["user_id"].n_unique()
    settings = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 300, "verbose": 0}
    fitted = fit(model, rating_log, epochs=6, **settings)
    assert fitted.history["ndcg"][-1] > fitted.history["ndcg"][0]


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_lists_and_histories_of_the_past_go_together(rating_log):
    past = History("before", Categorical("item_id", DIM), 5)
    model = Ranker(Schema(query=[USER, past, RATED], candidate=[ITEM]), [4], task=Lists())
    train, validation = split_random(rating_log, 0.2, 1)
    fitted = fit(model, train, validation, epochs=1, batch_size=300, verbose=0)
    assert 0 < fitted.history["val_ndcg"][0] <= 1
    events = train.log.sort("timestamp", maintain_order=True)
    for batch in TrainingExamples(model, train, 300).batches().take(1):
        (layer,) = [one for one in model.query_tower.histories if one.spec == past]
        ids = ["", "", *layer._lookup.get_vocabulary(include_special_tokens=False)]
        newest = [ids[row[-1]] for row in batch["query"][layer.name]["items"].numpy()]
        items = [model.catalogue.ids[i - 2] for i in batch["candidate_index"].numpy()]
        pairs = set(zip(newest, items, strict=True))
    users = events.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()
    follow = {pair for one in users for pair in zip(["", *one], one, strict=False)}
    assert pairs <= follow


def test_a_list_needs_its_column(rating_log):
    model = Ranker(Schema(query=[USER], candidate=[ITEM]), [4], task=Lists("sesion"))
    with pytest.raises(MissingColumnError, match=r"task\.group"):
        fit(model, rating_log, epochs=1, verbose=0)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_the_same_seed_gives_the_same_model(rating_log):
    some = rating_log.with_log(rating_log.log[:500])
    first, second = (rating_ranker(some, epochs=1, dropout=0.3) for _ in range(2))
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.slow
def test_training_stops_where_the_error_is_least(rating_log):
    train, validation = split_random(rating_log, 0.2, 1)
    model = Ranker(SVD, crosses=["dot"], biases=["user_id", "item_id"])
    fitted = fit(
        model,
        train,
        validation,
        optimizer="adam",
        learning_rate=0.1,
        batch_size=256,
        epochs=30,
        patience=2,
        verbose=0,
    )
    errors = fitted.history["val_rmse"]
    assert fitted.best_epoch == 1 + int(np.argmin(errors))
    assert fitted.epochs < 30
    left = model.evaluate(validation_examples(model, validation, train), return_dict=True, verbose=0)
    assert left["rmse"] == pytest.approx(min(errors), rel=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_an_interrupted_training_goes_on_to_the_same_weights(rating_log, tmp_path):
    some = rating_log.with_log(rating_log.log[:600])
    settings = {"optimizer": "adam", "learning_rate": 0.01, "epochs": 3, "batch_size": 300}

    class Killed(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def trained(callbacks=(), **more):
        model = Ranker(SCHEMA, name="ratings", dropout=0.3, **SETTINGS)
        fit(model, some, callbacks=callbacks, verbose=0, **settings, **more)
        return model

    whole = trained()
    with (
        pytest.raises(KeyboardInterrupt),
        Checkpoints(tmp_path / "kept", seconds=0) as kept,
    ):
        trained([Killed()], checkpoints=kept)
    resumed = trained(checkpoints=tmp_path / "kept")
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_ranker_survives_its_configuration(rating_model):
    copy = Ranker.from_config(rating_model.get_config())
    assert copy.get_config() == rating_model.get_config()


@pytest.mark.slow
def test_weights_go_into_another_model(rating_model, rating_log, tmp_path):
    rating_model.save_weights(tmp_path / "w.h5")
    copy = Ranker.from_config(rating_model.get_config())
    copy.adapt(rating_log)
    copy.load_weights(tmp_path / "w.h5")
    assert copy.scores(["u1"], ["i1"]) == pytest.approx(rating_model.scores(["u1"], ["i1"]))


@pytest.mark.parametrize(
    ("schema", "settings", "words"),
    [
        (Schema([USER, Numeric("rating")], [ITEM]), {}, "cannot be a feature"),
        (Schema([USER, Numeric("age")], [ITEM]), {"crosses": ["dot"]}, "features of one length"),
        (Schema([USER], [ITEM]), {"biases": ["user"]}, "no Categorical feature.*user_id, item_id"),
        (Schema([USER, Categorical("title", 4)], [ITEM, Categorical("title", 4)]), {}, "rename one"),
        (
            Schema([History(encoder=Interests(3))], [ITEM]),
            {},
            "takes one vector a history",
        ),
        (Schema([USER], [ITEM]), {"crosses": ["dott"]}, 'Did you mean "dot"'),
        (Schema([USER], [ITEM]), {"crosses": []}, "one cross or more"),
    ],
)
def test_what_makes_no_sense_is_refused(schema, settings, words):
    with pytest.raises(ConfigError, match=words):
        Ranker(schema, **settings)


@pytest.mark.parametrize(
    "settings", [{"encoder": GRU(4)}, {"min_rating": 4.0}, {"context": ["rating"]}]
)
def test_a_bag_is_a_plain_sum_of_all_events(settings):
    with pytest.raises(ConfigError, match="with `anytime` a history is a sum"):
        History("rated", ITEM, anytime=True, **settings)


@pytest.mark.parametrize("wrong", [None, float("nan"), 9.0])
def test_labels_are_checked_before_training(wrong, rating_log):
    column = pl.when(pl.int_range(pl.len()) == 5).then(wrong).otherwise(pl.col("rating"))
    bad = rating_log.with_log(rating_log.log.with_columns(rating=column.cast(pl.Float64)))
    with pytest.raises(DataError, match="1 of 2,400 training rows"):
        fit(Ranker(SCHEMA, **SETTINGS), bad, epochs=1, verbose=0)
    with pytest.raises(DataError, match="validation rows"):
        fit(Ranker(SCHEMA, **SETTINGS), rating_log, bad, epochs=1, verbose=0)
