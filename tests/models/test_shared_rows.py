"""Shared rows in a model: items counted by their events, saved, released, and gone on from in a warm start."""

import numpy as np
import polars as pl
import pytest

import tfrecall as tr
from tests.eager import eager_steps
from tests.training.test_state import kept
from tfrecall._keras import keras, tf
from tfrecall.data import Interactions
from tfrecall.errors import ConfigError
from tfrecall.layers.shared_rows import shared_rows
from tfrecall.models.two_tower import TwoTower
from tfrecall.training.state import WarmStart, _slots

DAY = 86_400
ITEM = tr.Categorical("item_id", 4, min_count=3, hash_rows=6, max_age_days=20.0, unknown_rate=0.0)
USER = tr.Categorical("user_id", 4, min_count=4, hash_rows=5, hashes=3)
SCHEMA = tr.Schema(
    query=[USER, tr.History(of=ITEM, history_length=4, table="candidate")], candidate=[ITEM]
)


def log_of(rows):
    """Events (user, item, day) with an item that has none."""
    log = pl.DataFrame(rows, ["user_id", "item_id", "day"], orient="row")
    log = log.with_columns(timestamp=pl.col("day") * float(DAY)).drop("day")
    users = log.select(pl.col("user_id").unique().sort())
    items = pl.DataFrame({"item_id": sorted({*log["item_id"], "cold"})})
    return Interactions(log, users, items)


# Events: a 4 times, last on day 9; b 3 times, last on day 2; c and d rarely.
OLD = [
    *[("u1", item, day) for day, item in enumerate(["a", "b", "b", "a", "c", "a"])],
    *[("u2", item, day) for day, item in [(1, "b"), (8, "d"), (9, "a")]],
    ("u3", "c", 7),
]
# On day 25 b is 23 days old; c has its third event, e its first three.
NEW = [*OLD, *[("u3", item, 25) for item in ["c", "e", "e", "a"]], ("u2", "e", 24), ("u4", "a", 25)]


def model_of(rows=OLD, **settings):
    model = TwoTower(SCHEMA, layer_sizes=[4])
    with eager_steps():
        tr.fit(model, log_of(rows), verbose=0, **{"epochs": 2, "batch_size": 4, **settings})
    return model


@pytest.fixture(scope="module")
def model():
    return model_of(optimizer="adam")


pytestmark = pytest.mark.slow


def test_items_are_counted_by_their_events_and_users_by_their_rows(model):
    items, users = model.candidate_tower.features[0], model.query_tower.features[0]
    assert items.state == ("a", "b")
    assert users.state == ("u1",)
    assert items.table.shape == (2 + 6 + 2, 4)
    encoded = model.catalogue.encoded["item_id_categorical"].numpy()
    ids = model.catalogue.ids.tolist()
    of_hashes = (2 + shared_rows(tf.constant(["c", "cold", "d"]), 6, 2)).numpy().tolist()
    assert encoded[2 + ids.index("a")].tolist() == [8, 0]
    assert [encoded[2 + ids.index(item)].tolist() for item in ("c", "cold", "d")] == of_hashes


def test_a_history_adds_up_the_same_rows(model):
    history = model.query_tower.features[1]
    assert history.inner is model.candidate_tower.features[0]
    raw = {"history": tf.constant([["a", "d"], ["", "c"]])}
    vectors = history(history.encode(raw)).numpy()
    of_items = dict(zip(["a", "c", "d"], _rows(model, ["a", "c", "d"]), strict=True))
    np.testing.assert_allclose(vectors[0], (of_items["a"] + of_items["d"]) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vectors[1], of_items["c"], rtol=1e-5, atol=1e-6)


def _rows(model, items):
    layer = model.candidate_tower.features[0]
    return layer.vectors(layer.preprocess(tf.constant(items))).numpy()


def test_a_keras_file_and_a_release_answer_like_the_model(model, tmp_path):
    queries = pl.DataFrame(
        {"user_id": ["u1", "u2", "never seen"], "history": [["a"], ["c", "d"], ["cold"]]}
    )
    expected = model.embed_queries(queries)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.embed_queries(queries), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again.embed_candidates(), model.embed_candidates(), rtol=1e-5, atol=1e-6)
    release = tr.export(model, tmp_path / "release", index=None, k=3)
    np.testing.assert_allclose(release.embed_queries(queries), expected, rtol=1e-5, atol=1e-6)
    # Users outside the vocabulary have vectors of their own.
    assert np.abs(expected[1] - expected[2]).max() > 1e-4


def test_a_warm_start_gives_rows_of_old_items_to_new_ones(model, tmp_path):
    root = kept(model, tmp_path / "release")
    start = WarmStart.of(root)
    later, data = TwoTower(SCHEMA, layer_sizes=[4]), log_of(NEW)
    start.prepare(later)
    later.adapt(data)
    # b is too old and gives its row to e, the first in order of bytes of the two new ones; c is appended.
    assert later.candidate_tower.features[0].state == ("a", "e", "c")
    assert later.query_tower.features[0].state == ("u1", "u3", "u2")
    later.compile(tr.training.optimizers.make_optimizer("adam", 0.1), run_eagerly=True)
    examples = tr.TrainingExamples(later, data, 4, new=start.new_events(data))
    start.give(later, examples.batches)
    known = ["a", "b", "c", "d", "cold"]
    before, after = _rows(model, known), _rows(later, known)
    # Vectors stay, but for b, which shares rows from now on, and e, which has the sum that it had.
    unmoved = [0, 2, 3, 4]
    np.testing.assert_allclose(after[unmoved], before[unmoved], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(_rows(later, ["e"]), _rows(model, ["e"]), rtol=1e-6, atol=1e-7)
    table = model.candidate_tower.features[0].table.numpy()
    shared = 2 + shared_rows(tf.constant(["b"]), 6, 2).numpy()
    np.testing.assert_allclose(after[1], table[shared[0]].sum(axis=0), rtol=1e-6, atol=1e-7)
    # Slots: those of "a" go on, those of the row that changed hands begin anew.
    place = [w is later.candidate_tower.features[0].table for w in later.trainable_weights].index(True)
    old, new = _slots(model)[2 * place], _slots(later)[2 * place]
    np.testing.assert_array_equal(new[8], old[8])
    assert np.abs(old[9]).sum() > 0
    assert not new.numpy()[9:].any()
    later.fit(examples.batches(), epochs=1, verbose=0)


def test_a_bayesian_ranker_has_no_shared_rows():
    schema = tr.Schema(query=[USER], candidate=[tr.Categorical("item_id", 4)])
    with pytest.raises(ConfigError, match='"user_id" has 5 shared ones'):
        tr.BayesianRanker(schema, label="rating")


def test_biases_of_a_ranker_add_up_those_of_shared_rows():
    schema = tr.Schema(query=[USER], candidate=[tr.Categorical("item_id", 4)])
    ranker = tr.Ranker(schema, layer_sizes=[4], label="timestamp", biases=["user_id", "item_id"])
    ranker.adapt(log_of(OLD))
    biases = ranker._biases["query"]
    assert biases.sizes["user_id_categorical"] == 2 + 5 + 1
    layer = ranker.query_tower.features[0]
    rows = layer.preprocess(tf.constant(["u1", "u2", "[UNK]"]))
    biases({"user_id_categorical": rows})
    # A row of its own, the last; three shared ones; the unknown value. Padding, 100, counts nothing.
    biases.set_weights([np.array([100.0, 1, 2, 3, 4, 5, 6, 7])[:, np.newaxis]])
    expected = [7, float(rows.numpy()[1].sum()), 1]
    (found,) = biases({"user_id_categorical": rows})
    assert found.numpy().tolist() == expected


def test_a_diverged_step_names_values_of_either_kind():
    from tfrecall.diagnostics.divergence import _value

    model = TwoTower(SCHEMA, layer_sizes=[4])
    model.adapt(log_of(OLD))
    layer = model.query_tower.features[0]
    encoded = layer.preprocess(tf.constant(["u1", "u2", ""])).numpy()
    assert [_value(layer, encoded, row) for row in range(3)] == ["u1", "of shared rows", "unknown"]
