"""The encoder by self-attention."""

import math

import numpy as np
import pytest

from tfrecall._keras import tf
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.attention import attention, causal_bias
from tfrecall.layers.encoders.make import make_encoder
from tfrecall.schema.encoders import Attention

VECTORS = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)
FULL = np.full([2, 7], True)


def norm(x, layer):
    gamma, beta = (w.astype(float) for w in layer.get_weights())
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return scaled * gamma + beta


def dense(x, layer):
    kernel, bias = (w.astype(float) for w in layer.get_weights())
    return x @ kernel + bias


def states_by_brute_force(events, encoder):
    """Event by event and head by head, in float64; the activation is ReLU."""
    states = events * math.sqrt(events.shape[1]) + encoder._positions.numpy()[: len(events)]
    for block in encoder._blocks:
        scaled = norm(states, block._norms[0])
        queries = dense(scaled, block._query)
        keys, values = np.split(dense(scaled, block._key_value), 2, axis=1)
        attended = np.zeros_like(states)
        for part in np.split(np.arange(events.shape[1]), block.spec.heads):
            for cell in range(len(events)):
                scores = keys[: cell + 1, part] @ queries[cell, part] / math.sqrt(len(part))
                if block.spec.ages:
                    of_ages = block._ages.numpy()[part[0] // len(part)]
                    scores += [of_ages[cell - event] for event in range(cell + 1)]
                weights = np.exp(scores) / np.exp(scores).sum()
                attended[cell, part] = weights @ values[: cell + 1, part]
        states = states + attended
        inner = np.maximum(dense(norm(states, block._norms[1]), block._inner), 0)
        states = states + dense(inner, block._outer)
    return norm(states, encoder._norm)


@pytest.mark.slow
@pytest.mark.parametrize("ages", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
def test_states_are_those_of_brute_force(heads, ages):
    encoder = make_encoder(Attention(2, heads=heads, expansion=3, ages=ages), history_length=9)
    encoder(VECTORS, FULL)
    # Biases and ages start at zero and scales at one, which would hide them.
    random = np.random.default_rng(1)
    encoder.set_weights(
        [
            w + random.normal(0.1, 0.5, w.shape).astype(w.dtype) if w.dtype == np.float32 else w
            for w in encoder.get_weights()
        ]
    )
    mask = np.array([[False] * 3 + [True] * 4, [True] * 5 + [False] * 2])
    states = encoder(VECTORS, mask)
    np.testing.assert_allclose(states[0, 3:], states_by_brute_force(VECTORS[0, 3:], encoder), atol=1e-5)
    np.testing.assert_allclose(states[1, :5], states_by_brute_force(VECTORS[1, :5], encoder), atol=1e-5)
    np.testing.assert_allclose(
        encoder.last(VECTORS, mask), tf.stack([states[0, 6], states[1, 4]]), atol=1e-6
    )


def test_attention_is_a_mean_of_the_values_by_hand():
    # Scores of ln 3 and 0 with weights 3 / 4 and 1 / 4, so 3/4 * 8 + 1/4 * 4 = 7; the third is padding.
    query, key = tf.constant([[[math.log(3)]]]), tf.constant([[[1.0], [0.0], [9.0]]])
    value, bias = tf.constant([[[8.0], [4.0], [100.0]]]), tf.constant([[[0.0, 0.0, -1e9]]])
    np.testing.assert_allclose(attention(query, key, value, bias), [[[7.0]]], rtol=1e-6, atol=1e-7)


def test_a_cell_attends_to_events_up_to_itself():
    allowed = causal_bias(tf.constant([[False, True, True]]), tf.float32) == 0
    assert allowed.numpy().astype(int).tolist() == [[[0, 0, 0], [0, 1, 0], [0, 1, 1]]]


def test_order_matters_and_positions_count_from_the_oldest_event():
    encoder = make_encoder(Attention(1), history_length=7)
    forwards, backwards = encoder.last(VECTORS, FULL), encoder.last(VECTORS[:, ::-1], FULL)
    assert (forwards != backwards).numpy().all()
    # The oldest event gone, all others move up by a position.
    encoder(VECTORS, FULL)
    shorter = encoder.last(VECTORS, FULL & (np.arange(7) > 0))
    np.testing.assert_allclose(shorter, encoder.last(VECTORS[:, 1:], FULL[:, 1:]), atol=1e-6)


def test_training_drops_values():
    encoder = make_encoder(Attention(2, dropout=0.5), history_length=7)
    answer = encoder.last(VECTORS, FULL)
    np.testing.assert_array_equal(encoder.last(VECTORS, FULL, training=False), answer)
    first, second = (encoder.last(VECTORS, FULL, training=True).numpy() for _ in range(2))
    assert (first != second).any()


def test_a_row_longer_than_the_positions_is_refused():
    encoder = make_encoder(Attention(1), history_length=5)
    with pytest.raises(ConfigError, match=r"positions, which are 5.*longer. Received: 7 events"):
        encoder(VECTORS, FULL)
    graph = tf.function(encoder)
    with pytest.raises(tf.errors.InvalidArgumentError, match="positions, which are 5"):
        graph(VECTORS, FULL)
    # Cells that hold nothing need no position.
    assert encoder(VECTORS, FULL & (np.arange(7) > 1)).shape == (2, 7, 4)


def test_heads_that_cannot_share_the_vectors_are_refused():
    with pytest.raises(ConfigError, match="3 heads cannot share vectors of length 4"):
        make_encoder(Attention(1, heads=3), history_length=7)(VECTORS, FULL)


def test_fewer_positions_than_events_are_refused():
    with pytest.raises(ConfigError, match=r"Histories of 50 events .* Received: max_length=20"):
        make_encoder(Attention(max_length=20), history_length=50)
