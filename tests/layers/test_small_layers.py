"""Pooling, scaling and random unknowns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecall._keras import keras, tf
from tfrecall.layers.dense import L2Normalization
from tfrecall.layers.pooling import MaskedMeanPooling, MaskedSumPooling
from tfrecall.layers.randomness import RandomUnknown

HISTORY = tf.constant([[[2.0, 0.0], [4.0, 6.0], [9.0, 9.0]]])
MASK = tf.constant([[True, True, False]])


@pytest.mark.parametrize(
    ("layer", "inputs", "options"),
    [
        (MaskedMeanPooling(), HISTORY, {"mask": MASK}),
        (MaskedSumPooling(), HISTORY, {"mask": MASK}),
        (L2Normalization(), HISTORY, {}),
        (RandomUnknown(0.3), tf.constant([5, 1, 0]), {}),
    ],
)
def test_configuration_graph_and_saved_copy_give_what_eager_gives(layer, inputs, options, tmp_path):
    eager = layer(inputs, **options)
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    np.testing.assert_array_equal(copy(inputs, **options), eager)
    module = tf.Module()
    module.run = tf.function(lambda inputs: layer(inputs, **options))
    np.testing.assert_array_equal(module.run(inputs), eager)
    tf.saved_model.save(module, str(tmp_path))
    np.testing.assert_array_equal(tf.saved_model.load(str(tmp_path)).run(inputs), eager)


def test_the_mean_counts_what_the_mask_lets_through():
    # (2 + 4) / 2 = 3 and (0 + 6) / 2 = 3; the 9 is padding.
    assert MaskedMeanPooling()(HISTORY, mask=MASK).numpy().tolist() == [[3.0, 3.0]]


def test_the_sum_adds_what_the_mask_lets_through():
    # 2 + 4 = 6 and 0 + 6 = 6; the 9 is padding.
    assert MaskedSumPooling()(HISTORY, mask=MASK).numpy().tolist() == [[6.0, 6.0]]


both_poolings = pytest.mark.parametrize("pool", [MaskedMeanPooling(), MaskedSumPooling()])


@both_poolings
def test_a_row_with_no_values_gives_zeros(pool):
    pooled = pool(HISTORY, mask=tf.constant([[False, False, False]]))
    assert pooled.numpy().tolist() == [[0.0, 0.0]]


@both_poolings
def test_ragged_rows_give_what_padded_ones_give(pool):
    table = keras.layers.Embedding(6, 3, mask_zero=True)
    # A 0 is padding in a ragged row, too.
    ragged = tf.ragged.constant([[5, 0, 2], [], [1]], dtype=tf.int32)
    padded = pool(table(ragged.to_tensor()))
    np.testing.assert_allclose(pool(table(ragged)), padded, rtol=1e-6)
    without = tf.ragged.constant([[5, 2], [], [1]], dtype=tf.int32)
    vectors = tf.gather(table.embeddings, without)
    np.testing.assert_allclose(pool(vectors), padded, rtol=1e-6)


def test_a_keras_model_pools_ragged_inputs():
    inputs = keras.Input([None, 2], ragged=True)
    model = keras.Model(inputs, MaskedMeanPooling()(inputs))
    ragged = tf.ragged.constant([[[2.0, 1.0], [4.0, 3.0]], []], ragged_rank=1, inner_shape=(2,))
    assert model(ragged).numpy().tolist() == [[3.0, 2.0], [0.0, 0.0]]


def test_counts_are_exact_in_bfloat16():
    # bfloat16 knows no whole number between 256 and 258: a count of 257 would become 256, the mean 1.
    values, mask = tf.constant([[[2.0]] * 128 + [[0.0]] * 129]), tf.fill([1, 257], True)
    pooled = MaskedMeanPooling(dtype="mixed_bfloat16")(values, mask=mask)
    assert pooled.numpy().tolist() == [[tf.constant(256 / 257, tf.bfloat16)]]


def test_a_zero_embedding_counts():
    # (0 + 6) / 2 = 3, not 6 / 1.
    pooled = MaskedMeanPooling()(tf.constant([[[0.0], [6.0]]]), mask=tf.constant([[True, True]]))
    assert pooled.numpy().tolist() == [[3.0]]


def test_a_missing_mask_is_refused():
    with pytest.raises(ValueError, match=r"needs a mask.*mask_zero=True.*inputs.shape=\(1, 3, 2\)"):
        MaskedMeanPooling()(HISTORY)


def test_the_mask_of_an_embedding_is_used_and_ends_here():
    table = keras.layers.Embedding(3, 2, mask_zero=True)
    pooled = MaskedMeanPooling()(table(tf.constant([[1, 2, 0, 0]])))
    np.testing.assert_allclose(pooled[0], np.mean(table.get_weights()[0][1:], axis=0), rtol=1e-6)
    assert MaskedMeanPooling().compute_mask(HISTORY, MASK) is None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 4), st.integers(0, 5), st.integers(0, 100))
def test_more_padding_changes_nothing(length, padding, seed):
    values = np.random.default_rng(seed).normal(size=(1, length + padding, 3)).astype(np.float32)
    mask = np.arange(length + padding) < length
    pooled = MaskedMeanPooling()(tf.constant(values), mask=tf.constant(mask[np.newaxis]))
    expected = values[0, :length].mean(axis=0) if length else np.zeros(3)
    np.testing.assert_allclose(pooled[0], expected, rtol=1e-5, atol=1e-6)


def test_vectors_get_length_one_and_keep_their_direction():
    # 3, 4 has length 5.
    scaled = L2Normalization()(tf.constant([[3.0, 4.0], [30.0, 40.0]]))
    np.testing.assert_allclose(scaled, [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_padding_is_zero_after_scaling():
    # The vector of index 0 in a table is not zero, and would get length one.
    table = keras.layers.Embedding(3, 2, mask_zero=True)
    scaled = L2Normalization()(table(tf.constant([[0, 1, 2]])))
    np.testing.assert_allclose(tf.norm(scaled, axis=-1), [[0, 1, 1]], rtol=1e-6)
    assert scaled._keras_mask.numpy().tolist() == [[False, True, True]]


def test_the_zero_vector_stays_zero_and_has_a_finite_gradient():
    zero = tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        scaled = L2Normalization()(zero)
    assert scaled.numpy().tolist() == [[0.0, 0.0]]
    assert np.isfinite(tape.gradient(scaled, zero)).all()


def test_the_declared_share_becomes_unknown():
    tf.random.set_seed(1)
    out = RandomUnknown(0.1)(tf.fill([100, 100], 7), training=True).numpy()
    assert set(np.unique(out)) == {1, 7}
    # 10,000 draws of 0.1: mean 1000, standard deviation 30; five of them either side.
    assert 850 < (out == 1).sum() < 1150


def test_padding_and_unknown_are_left_alone():
    inputs = tf.constant([[0, 1]] * 1000)
    np.testing.assert_array_equal(RandomUnknown(0.9)(inputs, training=True), inputs)


def test_nothing_is_replaced_outside_training_or_at_rate_0():
    inputs = tf.fill([1000], 7)
    np.testing.assert_array_equal(RandomUnknown(0.9)(inputs), inputs)
    np.testing.assert_array_equal(RandomUnknown(0.0)(inputs, training=True), inputs)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match=f"Received: {rate}"):
        RandomUnknown(rate)
