"""Sums and means over the newest events."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import tf
from tfrecall.layers.encoders.make import make_encoder
from tfrecall.layers.encoders.means import windowed_sum
from tfrecall.schema.encoders import Decay, Mean, RootSum, Sum, Windows

EVENTS = tf.constant([[[9.0], [1.0], [2.0], [6.0], [4.0]]])
MASK = tf.constant([[False, True, True, True, True]])


@pytest.mark.parametrize(
    ("spec", "history_length", "expected"),
    [
        (Mean(), 2, [[0], [1], [1.5], [4], [5]]),
        # The mean of all four is 13 / 4.
        (Mean(), 50, [[0], [1], [1.5], [3], [3.25]]),
        (Sum(), 3, [[0], [1], [3], [9], [12]]),
        # 1; 3 / sqrt 2; 9 / sqrt 3; 12 / sqrt 3
        (RootSum(), 3, [[0], [1], [3 / 2**0.5], [9 / 3**0.5], [12 / 3**0.5]]),
        (Windows([3, 1]), 3, [[0, 0], [1, 1], [1.5, 2], [3, 6], [4, 4]]),
        # The newest first, each by itself.
        (Windows([2], last=3), 3, [[0] * 4, [1, 1, 0, 0], [1.5, 2, 1, 0], [4, 6, 2, 1], [5, 4, 6, 2]]),
        # 1; (2 + 1/2) / 1.5; (6 + 1) / 1.5: the first event is too old; (4 + 3) / 1.5
        (Decay(0.5), 2, [[0], [1], [2.5 / 1.5], [7 / 1.5], [7 / 1.5]]),
        # (2 + 1/2) / 1.5; (6 + 1 + 1/4) / 1.75; (4 + 3 + 1/2 + 1/8) / 1.875
        (Decay(0.5), 9, [[0], [1], [2.5 / 1.5], [7.25 / 1.75], [7.625 / 1.875]]),
    ],
)
def test_a_history_by_hand(spec, history_length, expected):
    encoder = make_encoder(spec, history_length)
    np.testing.assert_allclose(encoder(EVENTS, MASK)[0], expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(encoder.last(EVENTS, MASK)[0], expected[-1], rtol=1e-6, atol=1e-7)


def weighted_sums(values, length, rate, lag):
    """By brute force, in float64."""
    sums = np.zeros(values.shape)
    for cell in range(values.shape[1]):
        for age in range(lag, min(lag + length, cell + 1)):
            sums[:, cell] += rate ** (age - lag) * values[:, cell - age]
    return sums


@pytest.mark.slow
@examples(25)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.one_of(st.integers(1, 20), st.sampled_from([129, 200])),
    st.sampled_from([1.0, 0.9, 0.3]),
    st.integers(0, 4),
)
def test_sums_and_their_gradients_are_those_of_brute_force(seed, cells, length, rate, lag):
    values, upstream = np.random.default_rng(seed).normal(size=(2, 2, cells, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        variable = tf.Variable(values)
        sums = windowed_sum(variable, length, rate, lag)
    np.testing.assert_allclose(sums, weighted_sums(values, length, rate, lag), rtol=1e-5, atol=1e-5)
    # What flows back into a cell is what it was part of: the same sums from the other end.
    expected = weighted_sums(upstream[:, ::-1], length, rate, lag)[:, ::-1]
    gradient = tape.gradient(sums, variable, tf.constant(upstream))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", [Windows([50, 5]), Decay(0.5), Mean()])
def test_large_values_long_ago_take_no_digits_from_the_newest(spec):
    # A difference of cumulative sums near 1e8, where float32 counts in steps of 8, would be wrong by
    # more than the values.
    values = np.concatenate([np.full((1, 1000, 1), 1e5), np.ones((1, 150, 1))], axis=1)
    out = make_encoder(spec, 60)(values.astype(np.float32), np.full([1, 1150], True))
    np.testing.assert_allclose(out[0, -1], 1.0, rtol=1e-6, atol=1e-7)


def test_counts_are_exact_in_bfloat16():
    # bfloat16 knows no whole number between 256 and 258: a count of 257 would become 256, the mean 1.
    encoder = make_encoder(Windows([300]), 300)
    short = type(encoder)(encoder.spec, 300, dtype="mixed_bfloat16")
    values, mask = tf.constant([[[2.0]] * 128 + [[0.0]] * 129]), tf.fill([1, 257], True)
    mean = tf.constant(256 / 257, tf.bfloat16)
    assert short(values, mask)[0, -1].numpy().tolist() == [mean]
    assert short.last(values, mask).numpy().tolist() == [[mean]]
