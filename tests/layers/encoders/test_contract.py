"""What all encoders of histories promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.make import make_encoder
from tfrecall.schema.encoders import (
    GRU,
    Attention,
    Decay,
    Gated,
    Interests,
    Mean,
    RootSum,
    Sum,
    Windows,
)

DIM = 4
# Each with the longest history that it is made for.
ENCODERS = {
    "mean": make_encoder(Mean(), 3),
    "mean of all": make_encoder(Mean(), 300),
    "sum": make_encoder(Sum(), 5),
    "root_sum": make_encoder(RootSum(), 5),
    "windows": make_encoder(Windows([7, 3, 1], last=2), 7),
    "decay": make_encoder(Decay(0.6), 4),
    "gru": make_encoder(GRU(5, layers=2, dropout=0.3), 10),
    "attention": make_encoder(Attention(2, heads=2, dropout=0.3, ages=True), 10),
    "one block": make_encoder(Attention(1, max_length=12, activation="gelu", expansion=2), 10),
    "gated": make_encoder(Gated(2, heads=2, dropout=0.3), 10),
    "gated softmax": make_encoder(Gated(2, attention="softmax", positions=False), 10),
    "gated by position": make_encoder(Gated(1, heads=2, products=False), 4),
    "interests": make_encoder(Interests(3, units=5), 4),
    "one interest": make_encoder(Interests(1), 10),
}
every_encoder = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


def random_rows(seed, rows, cells, behind=0):
    """Histories of all lengths from 0 on, with noise in the padding: vectors, mask."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, cells, DIM)).astype(np.float32)
    end = cells - rng.integers(0, behind + 1, size=(rows, 1))
    start = end - np.minimum(rng.permutation(rows)[:, np.newaxis] % (cells + 1), end)
    return vectors, (start <= np.arange(cells)) & (np.arange(cells) < end)


def in_front(events, cells, noise=9.0):
    """One row of the events, padded in front."""
    vectors = np.full((1, cells, DIM), noise, np.float32)
    vectors[0, cells - len(events) :] = events
    return vectors, np.arange(cells)[np.newaxis] >= cells - len(events)


@pytest.mark.slow
@every_encoder
@examples(6)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 4))
def test_each_cell_is_the_whole_history_that_ends_there(encoder, seed, cells, behind):
    vectors, mask = random_rows(seed, rows=3, cells=cells, behind=behind)
    histories = [
        in_front(vectors[row, : cell + 1][mask[row, : cell + 1]], cells=10)
        for row, cell in np.ndindex(mask.shape)
    ]
    whole = encoder.last(*map(np.concatenate, zip(*histories, strict=True)))
    everything = tf.reshape(encoder(vectors, mask), whole.shape)
    np.testing.assert_allclose(everything, whole, rtol=1e-4, atol=1e-5)


@every_encoder
def test_padding_in_front_or_behind_changes_nothing(encoder):
    vectors, mask = random_rows(1, rows=6, cells=5)
    more = [[0, 0], [3, 2]]
    padded = encoder(np.pad(vectors, [*more, [0, 0]], constant_values=9), np.pad(mask, more)).numpy()
    np.testing.assert_allclose(padded[:, 3:-2], encoder(vectors, mask), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(padded[:, -1], encoder.last(vectors, mask), rtol=1e-4, atol=1e-5)


@every_encoder
def test_cells_before_the_first_event_give_zeros(encoder):
    vectors, mask = in_front(np.ones((2, DIM)), cells=5)
    assert not encoder(vectors, mask).numpy()[:, :3].any()
    assert not encoder(vectors, mask & False).numpy().any()
    assert not encoder.last(vectors, mask & False).numpy().any()
    assert encoder.last(vectors[:0], mask[:0]).shape == (0, encoder.output_dim(DIM))


@every_encoder
def test_what_padding_holds_is_not_read(encoder):
    events = np.random.default_rng(0).normal(size=(3, DIM))
    zeros, mask = in_front(events, cells=6, noise=0)
    large, _ = in_front(events, cells=6, noise=1e6)
    np.testing.assert_array_equal(encoder(large, mask), encoder(zeros, mask))
    np.testing.assert_array_equal(encoder.last(large, mask), encoder.last(zeros, mask))


@every_encoder
def test_a_later_event_changes_no_earlier_cell(encoder):
    vectors, mask = random_rows(2, rows=8, cells=7)
    before = encoder(vectors, mask).numpy()
    vectors[:, 4:] += 1
    np.testing.assert_array_equal(encoder(vectors, mask)[:, :4], before[:, :4])
    assert (encoder(vectors, mask)[:, 4:] != before[:, 4:]).numpy().any()


@pytest.mark.slow
@every_encoder
def test_gradients_are_finite_with_empty_rows_and_stop_at_padding(encoder):
    vectors, mask = random_rows(3, rows=8, cells=7, behind=2)
    watched = tf.Variable(vectors)
    for encode in (encoder, encoder.last):
        with tf.GradientTape() as tape:
            out = tf.reduce_sum(tf.sin(encode(watched, mask)))
        for gradient in tape.gradient(out, [watched, *encoder.trainable_variables]):
            assert np.isfinite(tf.convert_to_tensor(gradient)).all()
        assert not tape_gradient(encode, vectors, mask)[~mask].any()


def tape_gradient(encode, vectors, mask):
    watched = tf.Variable(vectors)
    with tf.GradientTape() as tape:
        out = tf.reduce_sum(tf.sin(encode(watched, mask)))
    return tape.gradient(out, watched).numpy()


@every_encoder
def test_both_forms_have_the_same_gradient(encoder):
    vectors, mask = random_rows(4, rows=8, cells=7, behind=2)
    last = tape_gradient(encoder.last, vectors, mask)
    of_all = tape_gradient(lambda *inputs: encoder(*inputs)[:, -1], vectors, mask)
    np.testing.assert_allclose(last, of_all, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@every_encoder
def test_configuration_and_graph_give_what_eager_gives(encoder):
    vectors, mask = map(tf.constant, random_rows(5, rows=8, cells=7))
    eager = encoder(vectors, mask)
    assert eager.shape == (8, 7, encoder.output_dim(DIM))
    copy = keras.layers.deserialize(keras.layers.serialize(encoder))
    copy(vectors, mask)
    copy.set_weights(encoder.get_weights())
    graph = tf.function(encoder).get_concrete_function(
        tf.TensorSpec([None, None, DIM]), tf.TensorSpec([None, None], tf.bool)
    )
    assert graph.structured_outputs.shape.as_list() == [None, None, encoder.output_dim(DIM)]
    np.testing.assert_allclose(copy(vectors, mask), eager, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(graph(vectors, mask), eager, rtol=1e-5, atol=1e-6)


@every_encoder
def test_bfloat16_is_near_float32(encoder):
    vectors, mask = random_rows(6, rows=8, cells=7)
    config = encoder.get_config()
    short = type(encoder).from_config({**config, "dtype": "mixed_bfloat16"})
    eager = encoder(vectors, mask)
    assert short(vectors, mask).dtype == tf.bfloat16
    short.set_weights(encoder.get_weights())
    for ours, theirs in ((short(vectors, mask), eager), (short.last(vectors, mask), eager[:, -1])):
        assert ours.dtype == tf.bfloat16
        # bfloat16 has 8 bits.
        np.testing.assert_allclose(tf.cast(ours, tf.float32), theirs, atol=0.1)


@every_encoder
def test_a_missing_mask_is_refused(encoder):
    with pytest.raises(ValueError, match=r"needs a mask.*\(1, 2, 4\)"):
        encoder(tf.zeros([1, 2, DIM]))


@pytest.mark.parametrize(
    ("spec", "history_length", "message"),
    [
        (Mean(), 0, "must be 1 or more. Received: 0"),
        (
            Windows([50, 5]),
            20,
            r"over 50 events .* Received: sizes=\[50, 5\], last=0, history_length=20",
        ),
        (Windows([5], last=21), 20, "over 21 events"),
    ],
)
def test_histories_that_are_too_short_are_refused(spec, history_length, message):
    with pytest.raises(ConfigError, match=message):
        make_encoder(spec, history_length)
