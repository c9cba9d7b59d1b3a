"""Ready-made vectors, features and networks of one's own: in training, in files and in releases."""

from functools import partial
from importlib import import_module

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import keras, tf
from tfrecall.data import Interactions, synthetic
from tfrecall.data.batches import examples
from tfrecall.errors import ConfigError, DataError
from tfrecall.exporting.export import export
from tfrecall.layers.custom import CustomFeature
from tfrecall.models.towers import CandidateTower, QueryTower
from tfrecall.models.two_tower import TwoTower
from tfrecall.release import load
from tfrecall.schema.features import Categorical, Custom, Schema, Vector
from tfrecall.training.fitting import fit

# Takes a second to import, and one test asks for it.
keras_3 = partial(import_module, "keras")
RANDOM = np.random.default_rng(0)
COVERS = [None if i == 3 else RANDOM.normal(size=6).tolist() for i in range(10)]
TASTES = [None if i == 0 else RANDOM.normal(size=3).tolist() for i in range(12)]
PRICES = [i + 1.0 for i in range(10)]


@keras.utils.register_keras_serializable(package="tests")
class LogPrice(CustomFeature):
    """The logarithm of a price over its mean, through a matrix of its own."""

    unknown = 0.0

    def learn(self, values):
        logs = np.concatenate([np.log1p(batch.numpy()) for batch in values])
        return [float(logs.mean()), [self.settings["scale"]]]

    def use(self, state):
        self.mean, (self.scale,) = state
        self.matrix = keras.layers.Dense(self.output_dim)

    def preprocess(self, values):
        logs = tf.math.log1p(tf.cast(values, tf.float64)) - self.mean
        return tf.cast(logs * self.scale, tf.float32)[:, tf.newaxis]

    def call(self, inputs):
        return self.matrix(inputs)


PRICE = Custom("price", "tests>LogPrice", 2, form="number", settings={"scale": 2.0})
SCHEMA = Schema(
    query=[Categorical("user_id", 4), Vector("taste", 3)],
    candidate=[Categorical("item_id", 4), Vector("cover", 6, embedding_dim=4), PRICE],
)


def log():
    data = synthetic(n_users=12, n_items=10, n_rows=200, seed=1)
    return Interactions.from_frame(
        data.log,
        users=data.users.with_columns(taste=pl.Series(TASTES)),
        items=data.items.with_columns(cover=pl.Series(COVERS), price=pl.Series(PRICES)),
    )


def functional(length, dim):
    """A network with a residual, as `Sequential` cannot write it."""
    inputs = keras.Input([length])
    hidden = keras.layers.Dense(length, "relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(dim)(hidden + inputs))


@pytest.fixture(scope="module")
def model():
    # The combined vectors: 4 + 3 of a query; the candidate's network is built by its first call.
    network = keras.Sequential([keras.layers.Dense(8, "tanh"), keras.layers.Dense(5)])
    made = TwoTower(SCHEMA, query_network=functional(7, 5), candidate_network=network)
    fit(made, log(), epochs=2, batch_size=64, optimizer="adam", learning_rate=0.01, verbose=0)
    return made


def column(values):
    return lambda name, form: tf.data.Dataset.from_tensors(tf.constant(values[name]))


def test_vectors_come_as_they_are_or_through_a_matrix():
    values = {"taste": np.float32([[3, 4], [0, 0], [0, 2]])}
    plain = QueryTower([Vector("taste", 2)])
    plain.adapt(column(values))
    assert plain(values).numpy() == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0, 1]]))
    assert plain({"taste": [[3, 4], None]}).numpy() == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
    assert plain({"taste": [None]}).numpy().tolist() == [[0, 0]]
    raw = QueryTower([Vector("taste", 2, 5, normalize=False)])
    raw.adapt(column(values))
    matrix = raw.features[0]._matrix
    assert raw(values).shape == (3, 5)
    np.testing.assert_allclose(
        raw(values), values["taste"] @ matrix.kernel.numpy(), rtol=1e-6, atol=1e-7
    )


def test_vectors_of_another_length_and_none_at_all_are_refused():
    tower = QueryTower([Vector("taste", 3)])
    with pytest.raises(DataError, match="have 2 numbers, and the schema says 3"):
        tower.adapt(column({"taste": np.ones([4, 2])}))
    with pytest.raises(DataError, match="holds no vector at all"):
        tower.adapt(column({"taste": np.zeros([4, 3])}))


@pytest.mark.slow
def test_the_parts_are_those_that_the_formulas_say(model):
    features = {layer.spec.column: layer for layer in model.candidate_tower.features}
    logs = np.log1p(PRICES)
    price = features["price"]
    assert price.state == (pytest.approx(logs.mean(), rel=1e-6), (2.0,))
    encoded = price.preprocess(tf.constant(PRICES, tf.float64)).numpy()[:, 0]
    assert encoded == pytest.approx(2 * (logs - logs.mean()), rel=1e-5, abs=1e-6)
    cover = features["cover"].preprocess(tf.constant([COVERS[0]])).numpy()[0]
    assert cover == pytest.approx(np.array(COVERS[0]) / np.linalg.norm(COVERS[0]), rel=1e-5)
    # The candidate's vector: the network over the three vectors, side by side.
    parts = [layer(layer.encode(_raw(3))) for layer in model.candidate_tower.features]
    expected = model.candidate_tower.network(tf.concat(parts, axis=1))
    np.testing.assert_allclose(model.embed_candidates()[:3], expected, rtol=1e-4, atol=1e-6)


def _raw(rows):
    items = log().items.head(rows)
    return {
        "item_id": tf.constant(items["item_id"].to_list()),
        "cover": tf.constant([v or [0.0] * 6 for v in COVERS[:rows]], tf.float32),
        "price": tf.constant(PRICES[:rows], tf.float64),
    }


@pytest.mark.slow
def test_a_release_answers_with_given_and_with_stored_vectors(model, tmp_path):
    export(model, tmp_path / "release")
    release = load(tmp_path / "release")
    users = log().users["user_id"].to_list()
    asked = [users[1], {"user_id": users[1], "taste": TASTES[1]}, {"user_id": users[1], "taste": None}]
    stored, given, missing = (
        list(hits.scores) for hits in release.recommend(asked, k=5, exclude_seen=False)
    )
    assert stored == pytest.approx(given, rel=1e-5, abs=1e-6)
    assert stored != pytest.approx(missing, rel=1e-5, abs=1e-6)
    scores = model.retriever().scores(log().queries.filter(pl.col("user_id") == users[1]).head(1))[0]
    # float32: sums near 0 follow the size of the batch.
    assert stored == pytest.approx(np.sort(scores)[::-1][:5].tolist(), rel=1e-5, abs=1e-6)
    # A stranger by a vector alone, and the user table's null.
    assert len(release.recommend([{"taste": TASTES[2]}, "nobody", users[0]], k=3)) == 3
    with pytest.raises(DataError, match='"taste" have 2 numbers, and the model takes 3'):
        release.recommend([{"taste": [1.0, 2.0]}])
    with pytest.raises(DataError, match="takes lists of numbers, equally long"):
        release.recommend([{"taste": ["a", "b", "c"]}])
    served = tf.saved_model.load(str(next((tmp_path / "release").glob("query/*"))))
    signature = served.signatures["serving_default"]
    vector = signature(user_id=tf.constant([users[1]]), taste=tf.constant([TASTES[1]], tf.float32))
    expected = model.query_tower({"user_id": [users[1]], "taste": [TASTES[1]]})
    np.testing.assert_allclose(vector["query_embedding"], expected, rtol=1e-5)


@pytest.mark.slow
def test_a_keras_file_holds_own_parts(model, tmp_path):
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    batch = {"user_id": ["u1", None], "taste": [TASTES[1], None]}
    np.testing.assert_array_equal(copy(batch), model(batch))
    np.testing.assert_array_equal(copy.embed_candidates(), model.embed_candidates())


@pytest.mark.slow
def test_raw_batches_of_a_log_hold_its_vectors(model):
    batch = next(iter(examples(log(), 8)))
    assert batch["taste"].shape == (8, 3)
    assert batch["cover"].dtype == tf.float32
    assert np.isfinite(model.evaluate(examples(log(), 64), verbose=0, return_dict=True)["loss"])


def test_a_feature_without_its_layer_says_what_to_import():
    with pytest.raises(ConfigError, match=r'"tests>Nothing", but no class is registered\. Import'):
        CandidateTower([Custom("price", "tests>Nothing")])
    with pytest.raises(ConfigError, match=r"is no `tfrecall\.CustomFeature`"):
        CandidateTower([Custom("price", "tfrecall>InBatchSoftmax")])


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: "dense", "is a layer or a model of Keras.*Received: 'dense'"),
        (lambda: keras_3().layers.Dense(3), r"network Dense is one of Keras 3.*keras\.layers\.Dense"),
        (lambda: keras_3().Sequential([]), r"Sequential is one of Keras 3.*keras\.Sequential"),
        (lambda: functional(9, 5), "which has 4 numbers a row"),
        (lambda: keras.layers.Reshape([2, 2]), r"one vector a row.*\(None, 2, 2\)"),
        (lambda: keras.layers.Dense(3), "vectors of 3 numbers and the candidate"),
    ],
)
def test_networks_that_do_not_fit_are_refused(network, words):
    schema = Schema(query=[Categorical("user_id", 4)], candidate=[Categorical("item_id", 4)])
    with pytest.raises(ConfigError, match=words):
        TwoTower(schema, layer_sizes=[], query_network=network())
