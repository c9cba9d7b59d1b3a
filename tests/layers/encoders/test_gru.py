"""The recurrent encoder."""

import numpy as np

from tfrecall._keras import tf
from tfrecall.layers.encoders.make import make_encoder
from tfrecall.schema.encoders import GRU


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def states_by_brute_force(events, weights):
    """Of one layer, in float64: update gate, reset gate and candidate, in this order."""
    kernel, recurrent, (bias, recurrent_bias) = (np.asarray(w, float) for w in weights)
    state, states = np.zeros(recurrent.shape[0]), []
    for event in events:
        update, reset, new = np.split(event @ kernel + bias, 3)
        old_update, old_reset, old = np.split(state @ recurrent + recurrent_bias, 3)
        gate = sigmoid(update + old_update)
        candidate = np.tanh(new + sigmoid(reset + old_reset) * old)
        state = gate * state + (1 - gate) * candidate
        states.append(state)
    return np.array(states)


def test_two_layers_are_those_of_brute_force():
    encoder = make_encoder(GRU(5, layers=2), history_length=50)
    vectors = np.random.default_rng(0).normal(size=(1, 9, 3)).astype(np.float32)
    mask = np.arange(9)[np.newaxis] >= 2
    states = encoder(vectors, mask)
    # Biases start at zero, which would hide them.
    encoder.set_weights([w + 0.1 for w in encoder.get_weights()])
    states = encoder(vectors, mask)
    weights = encoder.get_weights()
    below = states_by_brute_force(vectors[0, 2:], weights[:3])
    np.testing.assert_allclose(states[0, 2:], states_by_brute_force(below, weights[3:]), atol=1e-6)
    assert not states[0, :2].numpy().any()


def test_training_drops_values_at_the_entry_and_between_the_layers():
    encoder = make_encoder(GRU(5, layers=2, dropout=0.5), history_length=50)
    vectors, mask = tf.ones([1, 4, 3]), tf.fill([1, 4], True)
    answer = encoder(vectors, mask)
    np.testing.assert_array_equal(encoder(vectors, mask, training=False), answer)
    first, second = (encoder(vectors, mask, training=True).numpy() for _ in range(2))
    assert (first != second).any()
    # Each of the two has the state of its random numbers in a weight, so that a checkpoint has it.
    assert (
        sum("random_stream" in w.name or "state" in w.name for w in encoder.non_trainable_weights) == 2
    )
