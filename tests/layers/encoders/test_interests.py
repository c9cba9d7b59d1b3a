"""The encoder of several interests, and what is done with their vectors."""

import numpy as np
import pytest

from tfrecall._keras import tf
from tfrecall.layers.encoders.interests import best_scores, closest
from tfrecall.layers.encoders.make import make_encoder
from tfrecall.schema.encoders import Interests

DIM, LENGTH = 4, 6


def rough_encoder(num_interests: int = 3, history_length: int = LENGTH):
    """An encoder whose weights are large enough to tell events and ages apart."""
    encoder = make_encoder(Interests(num_interests, units=5), history_length)
    encoder(np.zeros((1, 1, DIM), np.float32), np.array([[True]]))
    rng = np.random.default_rng(8)
    encoder.set_weights([2 * rng.normal(size=w.shape) for w in encoder.get_weights()])
    return encoder


def means_by_brute_force(events, encoder):
    """Interest by interest and event by event, in float64: what is known after the last event."""
    inner, outer = (layer.kernel.numpy().astype(float) for layer in (encoder._inner, encoder._outer))
    ages, means = encoder._ages.numpy().astype(float), []
    newest_first = events[::-1][: encoder.history_length].astype(float)
    for interest in range(encoder.interests):
        weights = [
            np.exp(np.tanh(event @ inner) @ outer[:, interest] + ages[interest, age])
            for age, event in enumerate(newest_first)
        ]
        means.append(sum(w * e for w, e in zip(weights, newest_first, strict=True)) / sum(weights))
    return np.concatenate(means)


def test_each_interest_is_a_softmax_mean_over_the_newest_events():
    encoder = rough_encoder()
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(2, 60, DIM)).astype(np.float32)
    mask = np.stack([np.arange(60) >= 50, np.arange(60) >= 2])
    states = encoder(vectors, mask).numpy()
    for row, first in ((0, 50), (1, 2)):
        for cell in range(first, 60):
            expected = means_by_brute_force(vectors[row, first : cell + 1], encoder)
            np.testing.assert_allclose(states[row, cell], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.last(vectors, mask), states[:, -1], rtol=1e-5, atol=1e-6)


def states_by_hand(vectors, inner, outer, ages):
    """Of events that are single numbers, under given weights."""
    encoder = make_encoder(Interests(len(ages), units=1), len(ages[0]))
    events, mask = (
        np.array(vectors, np.float32)[np.newaxis, :, np.newaxis],
        np.full([1, len(vectors)], True),
    )
    encoder(events, mask)
    encoder._inner.kernel.assign([[inner]])
    encoder._outer.kernel.assign([outer])
    encoder._ages.assign(ages)
    return encoder(events, mask).numpy()[0]


def test_weights_by_hand():
    # The inner layer gives tanh(0) = 0, so ages decide alone: ln 3 for the newest, 0 for the one
    # before, so weights 3/4 and 1/4: 3/4 * 8 + 1/4 * 4 = 7. For the other interest all count alike.
    states = states_by_hand([99, 4, 8], inner=0, outer=[1, 1], ages=[[np.log(3), 0], [0, 0]])
    np.testing.assert_allclose(states[-1], [7, 6], rtol=1e-6, atol=1e-7)


def test_small_weights_behind_large_ones_keep_their_digits():
    # Logits of 200 tanh(x): 152, 0, 0 and 39. The first outweighs the second by e^152, which float32
    # cannot hold; once it has left the window the two zeros share, then the last has all.
    states = states_by_hand([1, 0, 0, 0.2], inner=1, outer=[200], ages=[[0, 0]])
    np.testing.assert_allclose(states.ravel(), [1, 1, 0, 0.2], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("interests", [1, 3])
def test_the_best_score_is_that_of_the_best_vector(interests):
    rng = np.random.default_rng(2)
    queries, candidates = rng.normal(size=(5, interests, DIM)), rng.normal(size=(9, DIM))
    expected = np.einsum("nkd,md->nkm", queries, candidates).max(axis=1)
    np.testing.assert_allclose(best_scores(tf.constant(queries), tf.constant(candidates)), expected)
    if interests == 1:
        flat = best_scores(tf.constant(queries[:, 0]), tf.constant(candidates))
        np.testing.assert_allclose(flat, expected)


def test_the_vector_closest_to_a_target_explains_it():
    # Products of the first query: 1 * 1 = 1 and 2 * 1 = 2; of the second: 3 * -1 and -3 * -1.
    queries = tf.constant([[[1.0, 7.0], [2.0, 5.0]], [[3.0, 0.0], [-3.0, 1.0]]])
    targets = tf.constant([[1.0, 0.0], [-1.0, 0.0]])
    assert closest(queries, targets).numpy().tolist() == [[2.0, 5.0], [-3.0, 1.0]]
    assert closest(targets, targets) is targets


def test_only_the_closest_vector_is_trained():
    queries = tf.Variable([[[1.0, 0.0], [2.0, 0.0]]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(closest(queries, tf.constant([[1.0, 0.0]])))
    assert tf.convert_to_tensor(tape.gradient(loss, queries)).numpy().tolist() == [[[0, 0], [1, 1]]]
