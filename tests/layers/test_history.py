"""The history feature: from ids to one vector."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import tf
from tfrecall.errors import DataError
from tfrecall.layers.features import CategoricalFeature
from tfrecall.layers.history import ExampleAgeFeature, HistoryFeature
from tfrecall.schema.encoders import Mean, Sum, Windows
from tfrecall.schema.features import Categorical, ExampleAge, History, MultiCategorical, Text

ITEMS = {
    "item_id": ["a", "b", "c"],
    "genres": [["x", "y"], ["y"], []],
    "title": ["blue sky", "red", "blue"],
}


def read_item(column: str, form: str) -> tf.data.Dataset:
    values = ITEMS[column]
    if form == "strings":
        values = tf.ragged.constant(values).to_tensor("")
    return tf.data.Dataset.from_tensor_slices(values).batch(2)


def history(of, **settings) -> HistoryFeature:
    layer = HistoryFeature(History("history", of, 3, **settings))
    layer.adapt_to_items(ITEMS["item_id"], read_item)
    return layer


@pytest.fixture(scope="module")
def ids() -> HistoryFeature:
    return history(Categorical("item_id", 2))


def items_of(layer: HistoryFeature, rows: list[list[str]]) -> list[list[int]]:
    width = max(map(len, rows))
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    values = tf.constant(padded, tf.string, shape=[len(rows), width])
    return layer.preprocess(values)["items"].numpy().tolist()


def test_the_newest_known_ids_stand_last(ids):
    # 2, 3, 4 are a, b, c. Padding and unknown ids do not count among the newest three.
    rows = [["a", "b", "c", "a"], ["b"], ["", "a", "?", "", "c"], []]
    assert items_of(ids, rows) == [[3, 4, 2], [0, 0, 3], [0, 2, 4], [0, 0, 0]]


def test_ragged_lists_are_taken(ids):
    ragged = tf.ragged.constant([["a"], ["b", "c"]])
    assert ids.preprocess(ragged)["items"].numpy().tolist() == [[0, 0, 2], [0, 3, 4]]


def test_indexes_are_taken_as_they_are(ids):
    index = ids.index(np.array(["c", "?", "a", ""], object))
    assert index.tolist() == [4, 0, 2, 0]
    assert ids.preprocess(tf.constant([index]))["items"].numpy().tolist() == [[0, 4, 2]]


@examples(25)
@given(rows=st.lists(st.lists(st.sampled_from(["a", "b", "c", "?", ""]), max_size=6), min_size=1))
def test_ids_are_encoded_as_a_loop_does(ids, rows):
    if not max(map(len, rows)):
        return
    known = [[" abc".index(i) + 1 for i in row if i in "abc" and i][-3:] for row in rows]
    assert items_of(ids, rows) == [[0] * (3 - len(row)) + row for row in known]


def test_an_id_has_the_mean_of_its_vectors(ids):
    mean = ids({"items": tf.constant([[0, 2, 4], [0, 0, 0]])}).numpy()
    table = ids.inner.vectors(ids.inner.preprocess(tf.constant(["a", "c"]))).numpy()
    np.testing.assert_allclose(mean, [table.mean(axis=0), [0, 0]], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("of", [MultiCategorical("genres", 2), Text("title", 10, 2)])
def test_what_items_are_made_of_is_pooled_too(of):
    layer = history(of, encoder=Sum())
    found = layer({"items": tf.constant([[2, 3, 2], [0, 0, 4]])}).numpy()
    a, b, c = layer.inner(tf.concat([layer.inner.preprocess(v) for v in [_all(of)]], 0)).numpy()
    np.testing.assert_allclose(found, [2 * a + b, c], rtol=1e-5, atol=1e-7)


def _all(of) -> tf.Tensor:
    return next(iter(read_item(of.column, of.form).unbatch().batch(3)))


def test_normalized_items_have_length_one_and_padding_none():
    layer = history(Categorical("item_id", 2), encoder=Sum(), normalize=True)
    one, none = layer({"items": tf.constant([[0, 0, 3], [0, 0, 0]])}).numpy()
    assert np.linalg.norm(one) == pytest.approx(1)
    assert none.tolist() == [0, 0]


def test_positions_take_the_states_of_sequences(ids):
    whole = ids({"items": tf.constant([[2, 3, 4, 3]]), "positions": tf.constant([1, 3], tf.int64)})
    windows = ids({"items": tf.constant([[0, 2, 3], [3, 4, 3]])})
    np.testing.assert_allclose(whole, windows, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("empty", ["zeros", "popular"])
def test_a_copy_of_its_configuration_encodes_alike(empty):
    layer = history(MultiCategorical("genres", 2), empty=empty)
    copy = HistoryFeature.from_config(json.loads(json.dumps(layer.get_config())))
    assert items_of(copy, [["c", "a"]]) == items_of(layer, [["c", "a"]])
    assert copy.get_config() == layer.get_config()
    copy({"items": tf.constant([[2, 3, 4]])})
    layer({"items": tf.constant([[2, 3, 4]])})
    copy.set_weights(layer.get_weights())
    asked = {"items": tf.constant([[2, 3, 4], [0, 0, 0]])}
    np.testing.assert_array_equal(copy(asked), layer(asked))


def vectors(layer, items, **inputs) -> list[list[float]]:
    return layer({"items": tf.constant(items), **inputs}).numpy().tolist()


def with_popular(**settings) -> HistoryFeature:
    layer = history(Categorical("item_id", 2), empty="popular", **settings)
    layer({"items": tf.constant([[0, 0, 0]])})  # makes the weights
    layer.set_popular(np.array([3.0, 4.0]))
    return layer


def test_a_history_without_events_has_zeros_or_what_is_popular(ids):
    assert vectors(ids, [[0, 0, 0]]) == [[0, 0]]
    layer = with_popular()
    none, some = vectors(layer, [[0, 0, 0], [0, 2, 3]])
    assert none == [3, 4]
    (two,), (three,) = vectors(layer, [[0, 0, 2]]), vectors(layer, [[0, 0, 3]])
    np.testing.assert_allclose(some, (np.array(two) + three) / 2, rtol=1e-5, atol=1e-7)
    # Fitted after training: the table alone is trained.
    assert [tuple(v.shape) for v in layer.trainable_variables] == [(5, 2)]


def test_positions_before_the_first_event_have_what_is_popular():
    layer = with_popular()
    whole = vectors(layer, [[0, 2, 3]], positions=tf.constant([0, 2], tf.int64))
    np.testing.assert_allclose(whole, vectors(layer, [[0, 0, 0], [0, 2, 3]]), rtol=1e-5, atol=1e-7)
    assert whole[0] == [3, 4]


def test_a_bag_without_its_own_item_may_be_empty():
    layer = with_popular(encoder=Sum(), anytime=True)
    left_out = {"rows": tf.constant([0, 1]), "left_out": tf.constant([2, 2])}
    none, rest = vectors(layer, [[2, 0, 0], [2, 3, 0]], **left_out)
    assert none == [3, 4]
    np.testing.assert_allclose(rest, vectors(layer, [[3, 0, 0]])[0], atol=1e-6)


def test_a_table_of_its_own_cannot_be_given_up(ids):
    with pytest.raises(DataError, match="has its own table already"):
        ids.share(CategoricalFeature(Categorical("item_id", 2)))


def test_age_runs_from_the_newest_to_the_oldest():
    layer = ExampleAgeFeature(ExampleAge())
    layer.adapt(tf.data.Dataset.from_tensor_slices([10.0, 30.0, 20.0]).batch(2))
    # (30 - t) / 20; what is later than training is as old as its end.
    assert layer.preprocess(tf.constant([10.0, 25.0, 99.0])).numpy().tolist() == [[1.0], [0.25], [0.0]]


def test_one_moment_has_no_age():
    layer = ExampleAgeFeature(ExampleAge())
    layer.adapt(tf.data.Dataset.from_tensor_slices([10.0, 10.0]).batch(2))
    assert layer.preprocess(tf.constant([10.0])).numpy().tolist() == [[0.0]]


def test_history_defaults_to_the_mean():
    assert History().encoder == Mean()


# Context

CONTEXT = {"history_rating": ["5", "1", "5", "", "2"], "history_gap": ["start", "days", "days"]}


def read_told(column: str, form: str) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(CONTEXT[column]).batch(2)


@pytest.fixture(scope="module")
def told() -> HistoryFeature:
    layer = HistoryFeature(History("history", Categorical("item_id", 2), 3, context=("rating", "gap")))
    layer.adapt_to_items(ITEMS["item_id"], read_item, read_told)
    return layer


def batch(history, rating, gap=None) -> dict[str, tf.Tensor]:
    gap = [[""] * len(row) for row in history] if gap is None else gap
    columns = {"history": history, "history_rating": rating, "history_gap": gap}
    return {name: tf.constant(values, tf.string) for name, values in columns.items()}


def test_context_keeps_to_its_ids_where_others_are_left_out(told):
    # Of rating 5 is the most frequent, so 2; 1 stands for what is not known. Of gap that is "days".
    encoded = told.encode(
        batch(
            [["b", "?", "a", "", "c", "b"], ["", "", "", "", "", "a"]],
            [["1", "5", "5", "2", "", "9"], ["5", "5", "5", "5", "5", "5"]],
            [["", "", "days", "", "start", "months"], ["days"] * 6],
        )
    )
    assert encoded["items"].numpy().tolist() == [[2, 4, 3], [0, 0, 2]]
    assert encoded["context"]["rating"].numpy().tolist() == [[2, 1, 1], [0, 0, 2]]
    assert encoded["context"]["gap"].numpy().tolist() == [[2, 3, 1], [0, 0, 2]]


def test_what_is_told_of_an_event_is_added_to_its_item(told):
    encoded = told.encode(batch([["a", "c"], ["", ""]], [["5", ""], ["5", "5"]]))
    mean, none = told(encoded).numpy()
    of = {name: layer.vectors for name, layer in told.contexts.items()}
    a, c = told.inner.vectors(told.inner.preprocess(tf.constant(["a", "c"]))).numpy()
    five, unknown = of["rating"](tf.constant([2, 1])).numpy()
    no_gap = of["gap"](tf.constant(1)).numpy()
    np.testing.assert_allclose(mean, ((a + five + no_gap) + (c + unknown + no_gap)) / 2, rtol=1e-5)
    assert none.tolist() == [0, 0]


def test_context_is_added_after_items_are_scaled():
    layer = HistoryFeature(
        History("history", Categorical("item_id", 2), 3, Sum(), normalize=True, context=("rating",))
    )
    layer.adapt_to_items(ITEMS["item_id"], read_item, read_told)
    vector = layer({"items": tf.constant([[0, 0, 3]]), "context": {"rating": tf.constant([[0, 0, 2]])}})
    rated = layer.contexts["rating"].vectors(tf.constant([2]))
    assert np.linalg.norm(vector - rated) == pytest.approx(1)


def test_padding_stays_zero_beside_what_is_told():
    layer = HistoryFeature(
        History("history", Categorical("item_id", 2), 3, Windows([1], last=2), context=("rating",))
    )
    layer.adapt_to_items(ITEMS["item_id"], read_item, read_told)
    context = {"rating": tf.constant([[0, 0, 2]])}
    # The last by itself, the newest, and the one before it, which is not there.
    vector = layer({"items": tf.constant([[0, 0, 3]]), "context": context}).numpy()[0]
    assert vector[:4].all()
    assert vector[4:].tolist() == [0, 0]


def test_positions_see_the_context_up_to_them(told):
    items, rating, gap = [[2, 3, 4, 3]], [[2, 1, 3, 2]], [[2, 3, 1, 1]]
    sequences = {
        "items": tf.constant(items),
        "context": {"rating": tf.constant(rating), "gap": tf.constant(gap)},
        "positions": tf.constant([1, 3], tf.int64),
    }
    windows = {
        "items": tf.constant([[0, 2, 3], [3, 4, 3]]),
        "context": {
            "rating": tf.constant([[0, 2, 1], [1, 3, 2]]),
            "gap": tf.constant([[0, 2, 3], [3, 1, 1]]),
        },
    }
    np.testing.assert_allclose(told(sequences), told(windows), rtol=1e-6, atol=1e-7)


def test_codes_are_taken_as_they_are(told):
    codes = told.codes("rating", np.array(["5", "", "9"], object))
    assert codes.tolist() == [2, 1, 1]
    raw = {
        "history": tf.constant([told.index(np.array(["c", "?", "a"], object))]),
        "history_rating": tf.constant([codes]),
        "history_gap": tf.constant([[2, 2, 2]]),
    }
    assert told.encode(raw)["context"]["rating"].numpy().tolist() == [[0, 2, 1]]


def test_ragged_lists_may_have_context(told):
    ragged = {
        "history": tf.ragged.constant([["a"], ["b", "c"]]),
        "history_rating": tf.ragged.constant([["5"], ["5", ""]]),
        "history_gap": tf.ragged.constant([[""], ["", "days"]]),
    }
    assert told.encode(ragged)["context"]["rating"].numpy().tolist() == [[0, 0, 2], [0, 2, 1]]


@pytest.mark.parametrize("rating", [[["5"]], [["5", "5", "5"]]])
def test_context_of_another_length_is_refused(told, rating):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match='"history_rating" needs one value for each'
    ):
        told.encode(batch([["a", "b"]], rating))


def test_what_is_not_known_is_trained_by_values_that_are(told):
    layer = told.contexts["rating"]
    layer._random_unknown.rate, rate = 0.5, layer._random_unknown.rate
    try:
        codes = tf.constant([[0] * 50 + [2] * 50])
        hidden = layer._random_unknown(codes, training=True).numpy()[0]
    finally:
        layer._random_unknown.rate = rate
    assert set(hidden[:50]) == {0}
    assert set(hidden[50:]) == {1, 2}


def test_a_copy_of_its_configuration_knows_the_context(told):
    copy = HistoryFeature.from_config(json.loads(json.dumps(told.get_config())))
    assert copy.get_config() == told.get_config()
    asked = batch([["a", "c"]], [["5", "2"]], [["start", "days"]])
    copy(copy.encode(asked))
    told(told.encode(asked))
    copy.set_weights(told.get_weights())
    np.testing.assert_array_equal(copy(copy.encode(asked)), told(told.encode(asked)))


def test_context_has_to_be_learned_from_something():
    layer = HistoryFeature(History("history", Categorical("item_id", 2), 3, context=("rating",)))
    with pytest.raises(DataError, match='"history_rating" have to be learned'):
        layer.adapt_to_items(ITEMS["item_id"], read_item)
