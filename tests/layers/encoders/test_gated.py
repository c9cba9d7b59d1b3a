"""The gated encoder, and the times that it reads."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.layers.encoders.test_attention import dense, norm
from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.elapsed import TIME_BUCKETS, by_bucket, time_bucket
from tfrecall.layers.encoders.make import make_encoder
from tfrecall.schema.encoders import Gated

DIM, NOT_KNOWN = 4, 1
RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(2, 7, DIM)).astype(np.float32)
TIMES = np.cumsum(RANDOM.integers(0, 5000, size=(2, 7)), axis=1, dtype=np.int32) + 10
ASKED = TIMES[:, -1] + np.array([700, 0], np.int32)
FULL = np.full([2, 7], True)


def made(history_length=9, **settings):
    """An encoder with random weights: biases start at zero and scales at one, which would hide them."""
    encoder = make_encoder(Gated(2, time=True, **settings), history_length)
    encoder(VECTORS, FULL, times=TIMES, asked=ASKED)
    random = np.random.default_rng(1)
    encoder.set_weights(
        [
            w + random.normal(0.1, 0.5, w.shape).astype(w.dtype) if w.dtype == np.float32 else w
            for w in encoder.get_weights()
        ]
    )
    return encoder


def swish(x):
    return x / (1 + np.exp(-x))


def bucket(since, until):
    """The bucket of one pair, in float64 and by its definition."""
    if min(since, until) <= NOT_KNOWN:
        return 0
    return 1 + int(math.log(1 + max(until - since, 0)) / math.log(1.5) + 1e-9)


def states_by_brute_force(events, times, asked, encoder):
    """Event by event and head by head, in float64."""
    spec, told = encoder.spec, asked > NOT_KNOWN
    until = [*times[1:], asked] if told else times
    shift = 0 if told else TIME_BUCKETS
    since = encoder._since_newest.numpy()
    own = [since[shift + bucket(*pair)] for pair in zip(times, until, strict=True)]
    states = events * math.sqrt(events.shape[1]) + own
    for block in encoder._blocks:
        scaled = norm(states, block._norms[0])
        gates, queries = np.split(swish(dense(scaled, block._attending)), 2, axis=1)
        values, keys = np.split(swish(dense(scaled, block._attended)), 2, axis=1)
        mixed = np.zeros_like(states)
        for part in np.split(np.arange(events.shape[1]), spec.heads):
            for cell in range(len(events)):
                scores = keys[: cell + 1, part] @ queries[cell, part]
                scores /= math.sqrt(len(part)) if spec.attention == "softmax" else 1
                scores += [
                    block._times.numpy()[shift + bucket(times[event], until[cell])]
                    + block._ages.numpy()[min(cell - event, encoder.history_length - 1)]
                    for event in range(cell + 1)
                ]
                softmax = np.exp(scores) / np.exp(scores).sum()
                weights = softmax if spec.attention == "softmax" else swish(scores)
                mixed[cell, part] = weights @ values[: cell + 1, part]
        states = states + dense(gates * norm(mixed, block._norms[1]), block._output)
    return norm(states, encoder._norm)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [ASKED, np.full(2, NOT_KNOWN, np.int32)], ids=["told", "hidden"])
@pytest.mark.parametrize(("heads", "attention"), [(1, "silu"), (2, "silu"), (2, "softmax")])
def test_states_are_those_of_brute_force(heads, attention, asked):
    # Three positions for seven events: older ones share the last.
    encoder = made(history_length=3, heads=heads, attention=attention)
    mask = np.array([[False] * 3 + [True] * 4, [True] * 5 + [False] * 2])
    asked = np.where(asked > NOT_KNOWN, TIMES[[0, 1], [6, 4]] + 700, NOT_KNOWN).astype(np.int32)
    states = encoder(VECTORS, mask, times=TIMES, asked=asked)
    for row, cells in ((0, slice(3, 7)), (1, slice(0, 5))):
        wanted = states_by_brute_force(VECTORS[row, cells], TIMES[row, cells], asked[row], encoder)
        np.testing.assert_allclose(states[row, cells], wanted, rtol=1e-4, atol=1e-4)
    last = encoder.last(VECTORS, mask, times=TIMES, asked=asked)
    np.testing.assert_allclose(last, tf.stack([states[0, 6], states[1, 4]]), atol=1e-5)


@examples(5)
@given(st.integers(0, 10**6), st.integers(2, 7))
def test_each_cell_is_the_history_that_ends_there_asked_for_the_next_event(seed, cells):
    encoder, random = made(), np.random.default_rng(seed)
    vectors = random.normal(size=(1, cells, DIM)).astype(np.float32)
    times = np.cumsum(random.integers(0, 10**6, size=(1, cells + 1)), axis=1, dtype=np.int32) + 2
    whole = encoder(vectors, np.full([1, cells], True), times=times[:, :-1], asked=times[:, -1])
    # A row for each cell, with the events up to it behind padding.
    places = np.arange(cells) - np.arange(cells)[::-1, np.newaxis]
    mask = places >= 0
    windows = np.where(mask[..., np.newaxis], vectors[0, places], 9)
    last = encoder.last(windows, mask, times=np.where(mask, times[0, places], 0), asked=times[0, 1:])
    np.testing.assert_allclose(last, whole[0], rtol=1e-4, atol=1e-5)


def test_a_cell_knows_the_time_of_the_next_event_and_nothing_later():
    encoder, later = made(), TIMES + np.where(np.arange(7) >= 4, 50_000, 0).astype(np.int32)
    before = encoder(VECTORS, FULL, times=TIMES, asked=ASKED).numpy()
    after = encoder(VECTORS, FULL, times=later, asked=ASKED + 50_000).numpy()
    # Cell 3 is asked what comes at the time of event 4.
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert (after[:, 3] != before[:, 3]).all()
    # The newest alone is asked for the time of the request.
    asked = encoder(VECTORS, FULL, times=TIMES, asked=ASKED + 50_000).numpy()
    np.testing.assert_array_equal(asked[:, :6], before[:, :6])
    assert (asked[:, 6] != before[:, 6]).all()


def test_a_row_without_its_request_is_read_as_of_its_events():
    encoder = made()
    hidden = np.full(2, NOT_KNOWN, np.int32)
    before = encoder(VECTORS, FULL, times=TIMES, asked=hidden).numpy()
    later = TIMES + np.where(np.arange(7) >= 4, 50_000, 0).astype(np.int32)
    after = encoder(VECTORS, FULL, times=later, asked=hidden).numpy()
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert (after[:, 4] != before[:, 4]).all()


def test_training_hides_a_share_of_the_requests():
    encoder = make_encoder(Gated(1, time=True, dropout=0.0, hidden_requests=0.5), 9)
    rows = [np.repeat(x[:1], 200, axis=0) for x in (VECTORS, FULL, TIMES, ASKED)]
    vectors, mask, times, asked = rows
    encoder(vectors, mask, times=times, asked=asked)
    encoder._since_newest.assign(tf.random.stateless_normal(encoder._since_newest.shape, [1, 2]))
    told, hidden = (
        encoder.last(vectors[:1], mask[:1], times=times[:1], asked=np.array([time], np.int32))
        for time in (asked[0], NOT_KNOWN)
    )
    drawn = encoder.last(vectors, mask, training=True, times=times, asked=asked)
    is_hidden = np.isclose(drawn, hidden, atol=1e-4).all(axis=1)
    assert (is_hidden | np.isclose(drawn, told, atol=1e-4).all(axis=1)).all()
    # 200 draws of probability 1/2: five standard deviations are 35.
    assert 65 <= is_hidden.sum() <= 135
    # Without training, all are told.
    answers = encoder.last(vectors, mask, times=times, asked=asked)
    np.testing.assert_allclose(answers, np.repeat(told, 200, axis=0), atol=1e-5)


@pytest.mark.slow
def test_a_copy_of_its_configuration_in_a_graph_gives_the_same():
    encoder = made(heads=2)
    copy = keras.layers.deserialize(keras.layers.serialize(encoder))
    copy(VECTORS, FULL, times=TIMES, asked=ASKED)
    copy.set_weights(encoder.get_weights())
    graph = tf.function(copy)(VECTORS, FULL, times=TIMES, asked=ASKED)
    wanted = encoder(VECTORS, FULL, times=TIMES, asked=ASKED)
    np.testing.assert_allclose(graph, wanted, rtol=1e-5, atol=1e-5)


def test_missing_times_are_refused():
    with pytest.raises(ConfigError, match="reads the times of events and of the request"):
        make_encoder(Gated(1, time=True), 9)(VECTORS, FULL)


@given(st.integers(2, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_buckets_grow_by_half_and_the_longest_has_one(since, seconds):
    until = min(since + seconds, 2**31 - 1)
    found = int(time_bucket(tf.constant(since), tf.constant(until)))
    # float32 may round across a bound.
    assert abs(found - bucket(since, until)) <= 1
    assert 1 <= found < TIME_BUCKETS
    assert int(time_bucket(tf.constant(until), tf.constant(since))) <= found


def test_times_that_are_not_known_have_a_bucket_of_their_own():
    since, until = tf.constant([1, 5, 1]), tf.constant([9, 1, 1])
    assert time_bucket(since, until).numpy().tolist() == [0, 0, 0]
    assert time_bucket(tf.constant(7), tf.constant([7, 6])).numpy().tolist() == [1, 1]


def test_the_gradient_of_buckets_is_the_sum_over_their_cells():
    numbers, buckets = tf.Variable([5.0, 6.0, 7.0]), tf.constant([[0, 2], [2, 2]])
    with tf.GradientTape() as tape:
        found = by_bucket(tf.convert_to_tensor(numbers), buckets)
        total = tf.reduce_sum(found * tf.constant([[1.0, 10.0], [100.0, 1000.0]]))
    assert found.numpy().tolist() == [[5, 7], [7, 7]]
    # Number 0 stands in one cell, number 1 in none, number 2 in the cells of 10, 100 and 1,000.
    assert tf.convert_to_tensor(tape.gradient(total, numbers)).numpy().tolist() == [1, 0, 1110]
