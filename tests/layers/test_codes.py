"""Codes of content: TF-IDF and residual k-means against NumPy, shared rows, what is refused."""

import numpy as np
import pytest
import scipy.sparse as sp

from tfrecall._keras import tf
from tfrecall.errors import ConfigError, DataError
from tfrecall.layers.codes import CodesFeature, residual_centres, word_vectors
from tfrecall.layers.history import HistoryFeature
from tfrecall.schema.encoders import Sum
from tfrecall.schema.features import Categorical, Codes, History, Schema, Vector

RANDOM = np.random.default_rng(1)
TEXTS = ["red wine of france", "white wine of italy", "red car", "fast red car", "old car", "wine"]


def batches(values, size=3):
    return tf.data.Dataset.from_tensor_slices(values).batch(size)


def adapted(values, **settings):
    layer = CodesFeature(Codes("c", **settings))
    layer.adapt(batches(values))
    return layer


def of_vectors(rows, **settings):
    return adapted(np.float32(rows), form="vector", length=np.shape(rows)[1], **settings)


def nearest_codes(rows, levels):
    """Codes by loops: at each level the nearest centre of what is left."""
    found = []
    for row in rows:
        left, first, codes = row / np.linalg.norm(row), 1, []
        for centres in levels:
            chosen = int(np.argmin([np.square(left - centre).sum() for centre in centres]))
            codes.append(first + chosen)
            left, first = left - centres[chosen], first + len(centres)
        found.append(codes)
    return found


def test_codes_are_the_nearest_centres_of_what_each_level_leaves():
    rows = RANDOM.normal(size=[40, 5])
    layer = of_vectors(rows, levels=3, size=4)
    levels = [level.numpy().astype(float) for level in layer._centres]
    assert [len(level) for level in levels] == [4, 4, 4]
    assert layer.preprocess(tf.constant(rows)).numpy().tolist() == nearest_codes(rows, levels)


def test_each_level_leaves_less_than_the_one_before():
    rows = RANDOM.normal(size=[300, 6])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    left, remaining = rows, [1.0]
    for centres in residual_centres(rows, 4, 16, seed=0):
        distances = np.square(left[:, np.newaxis] - centres).sum(axis=2)
        left = left - centres[distances.argmin(axis=1)]
        remaining.append(np.square(left).sum(axis=1).mean())
    # A cluster's mean is nearer to its rows than 0 is, at every level.
    assert np.all(np.diff(remaining) < 0)


def test_items_of_one_kind_share_the_code_of_the_first_level():
    kinds = np.repeat(np.eye(3), 10, axis=0) + RANDOM.normal(scale=0.05, size=[30, 3])
    codes = of_vectors(kinds, levels=2, size=3).preprocess(tf.constant(kinds)).numpy()
    assert [len(set(codes[start : start + 10, 0])) for start in (0, 10, 20)] == [1, 1, 1]
    assert set(codes[:, 0]) == {1, 2, 3}
    assert codes[:, 1].min() >= 4  # rows of another level are other rows


def test_the_sum_of_tf_idf_numbers_has_the_cosines_of_tf_idf():
    """With as many dimensions as the rank has, the reduction turns the space and keeps all angles."""
    counts = np.array([[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 3], [1, 1, 1, 1], [0, 2, 0, 1]])
    # n = 5 texts; words in 2, 4, 3 and 3 of them: log(6 / 3) + 1, log(6 / 5) + 1, log(6 / 4) + 1 twice.
    rarity = np.log(6 / np.array([3, 5, 4, 4])) + 1
    expected = counts * rarity
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    found = counts @ word_vectors(sp.csr_matrix(counts, dtype=float), dimension=4, seed=0)
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-6)


def test_fewer_numbers_keep_what_counts_most():
    counts = sp.csr_matrix(RANDOM.poisson(0.4, size=[30, 12]), dtype=float)
    numbers = word_vectors(counts, dimension=5, seed=0)
    assert numbers.shape == (12, 5)
    # Of all rotations the first five directions of the SVD keep most of the weighted counts.
    rarity = np.log(31 / (1 + (counts.toarray() > 0).sum(axis=0))) + 1
    weighted = counts.toarray() * rarity
    weighted /= np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)
    best = np.square(np.linalg.svd(weighted)[1][:5]).sum()
    kept = np.square(weighted @ (numbers / rarity[:, np.newaxis])).sum()
    assert kept == pytest.approx(best, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["string", "strings"])
def test_texts_and_lists_of_the_same_words_have_the_same_codes(form):
    lists = [text.split() for text in TEXTS]
    width = max(map(len, lists))
    padded = np.array([[*words, *[""] * (width - len(words))] for words in lists])
    values = np.array(TEXTS) if form == "string" else padded
    codes = adapted(values, form=form, levels=2).preprocess(tf.constant(values)).numpy()
    assert (
        codes.tolist()
        == adapted(np.array(TEXTS), levels=2).preprocess(tf.constant(TEXTS)).numpy().tolist()
    )
    # Six different texts, each of a centre of its own.
    assert sorted(codes[:, 0]) == [1, 2, 3, 4, 5, 6]


def test_ragged_lists_are_those_that_padding_makes():
    rows = tf.ragged.constant([["x", "y"], [], ["z"], ["x"]])
    layer = CodesFeature(Codes("c", 2, 3, form="strings"))
    layer.adapt(tf.data.Dataset.from_tensors(rows))
    np.testing.assert_array_equal(layer.preprocess(rows), layer.preprocess(rows.to_tensor("")))
    assert layer.preprocess(rows).numpy()[1].tolist() == [0, 0]


def test_content_that_is_not_known_gives_zeros():
    layer = adapted(np.array(TEXTS), levels=2, embedding_dim=4)
    vectors = layer(layer.preprocess(tf.constant(["", "[UNK]", "?!", "nothing known", "wine"]))).numpy()
    assert not vectors[:4].any()
    assert vectors[4].all()
    plain = of_vectors(np.eye(3), embedding_dim=4)
    assert not plain(plain.preprocess(tf.zeros([1, 3]))).numpy().any()
    assert plain.preprocess(tf.zeros([2, 0])).numpy().tolist() == [[0, 0, 0]] * 2


def test_the_vector_is_the_sum_of_a_row_a_level():
    layer = adapted(np.array(TEXTS), levels=3, size=2, embedding_dim=2)
    codes = layer.preprocess(tf.constant(TEXTS))
    layer(codes)
    rows = RANDOM.normal(size=layer.table.shape).astype(np.float32)
    layer.set_weights([rows])
    expected = [rows[row].sum(axis=0) for row in codes.numpy()]
    np.testing.assert_allclose(layer(codes), expected, rtol=1e-6, atol=1e-6)


def test_an_unseen_text_has_the_rows_of_those_it_resembles():
    layer = adapted(np.array(TEXTS), levels=1, size=2)
    wines, cars = layer.preprocess(tf.constant(["Spanish WINE of today", "a very fast car"])).numpy()
    assert wines == layer.preprocess(tf.constant(["white wine of italy"])).numpy()[0]
    assert cars == layer.preprocess(tf.constant(["old car"])).numpy()[0]
    assert wines != cars


def test_equal_seeds_give_equal_codes_and_others_other_ones():
    rows = RANDOM.normal(size=[60, 4])
    assert of_vectors(rows, size=8).state == of_vectors(rows, size=8).state
    assert of_vectors(rows, size=8).state != of_vectors(rows, size=8, seed=1).state


def test_equal_items_leave_nothing_to_tell_apart():
    layer = of_vectors([[3.0, 4.0]] * 5, levels=3, size=8)
    assert [len(level) for level in layer._centres] == [1, 1, 1]
    assert layer.preprocess(tf.constant([[0.3, 0.4]])).numpy().tolist() == [[1, 2, 3]]


def test_a_history_embeds_its_items_by_their_codes():
    of = Codes("title", levels=2, size=4, embedding_dim=3)
    layer = HistoryFeature(History(of=of, history_length=3, encoder=Sum()))
    titles = {"title": np.array(TEXTS[:4])}
    layer.adapt_to_items(["a", "b", "c", "d"], lambda column, form: batches(titles[column], 2))
    found = layer(layer.preprocess(tf.constant([["a", "c"], ["?", ""], ["d", "d"]]))).numpy()
    own = layer.inner(layer.inner.preprocess(tf.constant(TEXTS[:4]))).numpy()
    np.testing.assert_allclose(found, [own[0] + own[2], np.zeros(3), 2 * own[3]], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "vector"}, "number of numbers of an embedding: give it .* length=None"),
        ({"length": 5}, 'and only then. Received: form="string", length=5'),
        ({"levels": 0}, "`levels`.*greater than or equal to 1"),
        ({"size": 1}, "`size`.*greater than or equal to 2"),
        ({"form": "number"}, "`form`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Codes("c", **settings)


def test_a_column_without_content_and_vectors_of_another_length_are_refused():
    with pytest.raises(DataError, match='"c" holds no value at all, so Codes'):
        adapted(np.array(["", "[UNK]"]))
    with pytest.raises(DataError, match='"c" holds no content at all, so Codes'):
        of_vectors(np.zeros([3, 2]))
    with pytest.raises(DataError, match="have 2 numbers, and the schema says 3"):
        of_vectors(np.eye(3)).preprocess(tf.ones([1, 2]))


def test_two_lengths_of_one_column_are_refused():
    with pytest.raises(ConfigError, match="vector of 3 numbers and as one of 4"):
        Schema(
            query=[Categorical("user_id")],
            candidate=[Vector("c", 3), Codes("c", form="vector", length=4)],
        )
