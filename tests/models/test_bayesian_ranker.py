"""The Bayesian ranker: its scores from the tables, what it learns, files, what it refuses."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.tiny_ratings import BAG, DIM, SCHEMA, rating_interactions
from tfrecall._keras import keras, tf
from tfrecall.data import split_random
from tfrecall.errors import ConfigError, DataError
from tfrecall.models.bayesian_ranker import BayesianRanker
from tfrecall.models.design import Design
from tfrecall.schema.encoders import GRU, RootSum
from tfrecall.schema.features import Categorical, Day, History, Numeric, Schema
from tfrecall.schema.labels import Label
from tfrecall.tasks.ranking import Clicks
from tfrecall.training import fit

DRAWS = 3
LABEL = Label("rating", 1, 5)
DAYS = replace(SCHEMA, query=(*SCHEMA.query, Day(embedding_dim=DIM, per="user_id")))


def ranker(schema=SCHEMA, draws=DRAWS, **settings):
    return BayesianRanker(schema, draws, label=LABEL, name="drawn", **settings)


@pytest.fixture(scope="module")
def parts():
    return split_random(rating_interactions(), 0.25, seed=3)


@pytest.fixture(scope="module")
def model(parts):
    model = ranker(DAYS, sweeps=2)
    fit(model, parts.train, epochs=6, verbose=0)
    return model


def rmse(model, rows):
    return float(np.sqrt(np.square(model.predictions(rows) - rows.log["rating"].to_numpy()).mean()))


def vectors_by_hand(model, side, row):
    """Sum of the tables of one row's features: `[draws, dim + 1]`; rows of each table, or lists of them."""
    tower = getattr(model, f"{side}_tower")
    total = np.zeros(DRAWS * (DIM + 1))
    for layer in tower.features:
        if layer.spec.type == "history":
            table, items = layer.inner.table.numpy(), row[layer.name]
            encoded = layer._encoded[0].numpy()[items]
            total += table[encoded].sum(axis=0) / np.sqrt(max(len(items), 1))
            continue
        values = np.atleast_1d(row[layer.name])
        values = values if layer.spec.type != "multi_categorical" else values[values > 0]
        total += layer.table.numpy()[values].mean(axis=0) if len(values) else 0
    return total.reshape(DRAWS, DIM + 1)


def test_a_score_is_the_mean_over_the_draws(model, parts):
    raw = parts.test.queries.head(1)
    features = {name: tf.constant(values) for name, values in model.raw_queries(raw).items()}
    query = model.query_tower.preprocess(features)
    place = int(model.catalogue_rows(raw["item_id"].to_list())[0]) + 2
    one = {name: value.numpy()[0] for name, value in query.items() if not isinstance(value, dict)}
    items = query["rated_history"]["items"].numpy()[0]
    left = vectors_by_hand(model, "query", {**one, "rated_history": items[items > 0]})
    encoded = {name: values.numpy()[place] for name, values in model.catalogue.encoded.items()}
    right = vectors_by_hand(model, "candidate", encoded)
    each = (left[:, :-1] * right[:, :-1]).sum(axis=1) + left[:, -1] + right[:, -1]
    expected = np.clip(float(model.offset) + each.mean(), 1, 5)
    assert model.predictions(parts.test)[0] == pytest.approx(expected, abs=1e-4)
    spread = model.spread(query, model.catalogue.features(tf.constant([place])))
    expected = np.sqrt(each.var() + model._noise.numpy().mean())
    assert spread.numpy()[0] == pytest.approx(expected, abs=1e-4)


def test_ratings_are_learned_to_their_noise(model, parts):
    labels = parts.test.log["rating"].to_numpy()
    # Noise of .5, rounding and cuts leave about .55; the mean leaves more than 1.4.
    assert rmse(model, parts.test) < 0.68
    assert labels.std() > 1.3


@pytest.mark.slow
def test_shuffled_ratings_are_left_at_their_mean():
    parts = split_random(rating_interactions(shuffled=True), 0.25, seed=3)
    model = ranker(draws=6)
    fit(model, parts.train, epochs=8, verbose=0)
    alone = parts.test.log["rating"].to_numpy().std()
    assert 0.97 < rmse(model, parts.test) / alone < 1.06


@pytest.mark.slow
def test_intervals_hold_their_share_of_the_ratings(parts):
    model = ranker(draws=10)
    fit(model, parts.train, epochs=12, verbose=0)
    rows = parts.test
    raw = {n: tf.constant(v) for n, v in model.raw_queries(rows.queries).items()}
    query = model.query_tower.preprocess(raw)
    places = tf.constant(model.catalogue_rows(rows.log["item_id"].to_list()) + 2)
    spread = model.spread(query, model.catalogue.features(places)).numpy()
    errors = np.abs(model.predictions(rows) - rows.log["rating"].to_numpy())
    # 68 % of a Gaussian lie within one standard deviation; ratings are rounded and cut.
    assert 0.6 < (errors < spread).mean() < 0.85


@pytest.mark.slow
def test_draws_do_not_depend_on_the_batches(parts):
    found = []
    for batch_size in (64, 5000):
        model = ranker()
        fit(model, parts.train, epochs=2, batch_size=batch_size, verbose=0)
        found.append(model.predictions(parts.test))
    assert np.array_equal(*found)


@pytest.mark.slow
def test_draws_that_are_not_there_yet_do_not_count(parts):
    few, many = ranker(draws=2), ranker(draws=5)
    for model in (few, many):
        fit(model, parts.train, epochs=2, verbose=0)
    assert many.predictions(parts.test) == pytest.approx(few.predictions(parts.test), abs=1e-4)


@pytest.mark.slow
def test_the_oldest_draw_gives_way(parts):
    model = ranker(draws=1)
    fit(model, parts.train, epochs=3, verbose=0)
    every = ranker(draws=3)
    fit(every, parts.train, epochs=3, verbose=0)
    tables = every.query_tower.features[0].table.numpy().reshape(-1, 3, DIM + 1)
    last = model.query_tower.features[0].table.numpy()
    assert np.array_equal(tables[:, 2], last)


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_as_if_it_had_not_been(parts, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    settings = {"epochs": 4, "checkpoints": tmp_path, "checkpoint_seconds": 0, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        fit(ranker(), parts.train, callbacks=[Stop()], **settings)
    whole, resumed = ranker(), ranker()
    fit(resumed, parts.train, **settings)
    fit(whole, parts.train, epochs=4, verbose=0)
    assert np.array_equal(resumed.predictions(parts.test), whole.predictions(parts.test))


def test_tables_add_up_to_the_vectors_of_the_sampler(model):
    design, sampler = model._sampling._design, model._sampling._sampler
    tables = design.tables(sampler)
    matrix = design._query.matrix
    names = [layer.name for layer, _ in design._query._parts]
    side_by_side = np.concatenate([tables[f"query/{name}"] for name in names])
    whole = tables["query/user_id_categorical"] + matrix @ side_by_side
    assert whole == pytest.approx(sampler.vectors[0])


def test_history_is_whole_and_the_device_is_a_context(model, parts):
    design = model._sampling._design
    assert isinstance(design, Design)
    # What changes within a user: the device and the user's day.
    assert [layer.spec.type for layer in design._context] == ["categorical", "day"]
    log = parts.train.log.filter(pl.col("user_id") == "u3")
    row = model.query_tower.features[0].table_rows["u3"]
    history = dict((layer.spec.type, matrix) for layer, matrix in design._query._parts)["history"]
    shares = history[row].toarray().ravel()
    assert shares.sum() == pytest.approx(np.sqrt(min(len(log), BAG)))
    assert np.square(shares).sum() >= 1 - 1e-9


def test_unknown_users_have_scores(model):
    users = ["u3", "absent"]
    scores = model.scores(users, ["i1", "i1"])
    assert ((scores >= 1) & (scores <= 5)).all()  # NaN is neither


@pytest.mark.slow
def test_a_file_holds_the_draws(model, parts, tmp_path):
    model.save(tmp_path / "drawn.keras")
    copy = keras.models.load_model(tmp_path / "drawn.keras")
    copy.use_log(parts.train)
    assert np.array_equal(copy.predictions(parts.test), model.predictions(parts.test))
    assert copy.get_config() == model.get_config()


def test_a_single_batch_is_refused(model):
    with pytest.raises(ConfigError, match="cannot learn from a batch"):
        model.train_on_batch({})


@pytest.mark.parametrize(
    ("query", "settings", "message"),
    [
        ((Categorical("device", DIM),), {}, 'needs Categorical\\("user_id"\\)'),
        ((Categorical("user_id", DIM), Numeric("timestamp")), {}, "Bucketized"),
        ((Categorical("user_id", DIM), Categorical("device", 2)), {}, "one length.*device 2"),
        ((Categorical("user_id", DIM), History(of=Categorical("item_id", DIM))), {}, "no `anytime`"),
        (
            (
                Categorical("user_id", DIM),
                History("h", Categorical("item_id", DIM), 9, RootSum(), anytime=True, table="own"),
            ),
            {},
            "`table` 'own'",
        ),
        (
            (
                Categorical("user_id", DIM),
                History("h", Categorical("item_id", DIM), 9, GRU()),
            ),
            {},
            "no `anytime`",
        ),
        ((Categorical("user_id", DIM),), {"draws": 0}, "`draws`"),
        ((Categorical("user_id", DIM),), {"sweeps": 0}, "`sweeps`"),
        ((Categorical("user_id", DIM),), {"task": Clicks()}, "Ratings"),
    ],
)
def test_what_cannot_be_drawn_is_refused(query, settings, message):
    with pytest.raises(ConfigError, match=message):
        BayesianRanker(Schema(query=query, candidate=[Categorical("item_id", DIM)]), **settings)


def test_weighted_rows_are_refused(parts):
    model = ranker()
    model.adapt(parts.train)
    columns = {
        "user_id": ["u1"],
        "item_id": ["i1"],
        "device": ["web"],
        "rating": [3.0],
        "rated": [["i1"]],
    }
    columns = {
        name: tf.constant(values) for name, values in {**columns, "sample_weight": [2.0]}.items()
    }
    model.compile()
    with pytest.raises(DataError, match="weights"):
        model.fit(tf.data.Dataset.from_tensors(columns))
