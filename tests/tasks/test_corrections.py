"""Inclusion probabilities, and the positive left out of the correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall._keras import tf
from tfrecall.errors import ConfigError
from tfrecall.tasks.corrections import log_inclusion_probability, share_of_rows
from tfrecall.tasks.in_batch import InBatchSoftmax


def inclusion(shares, draws, *uniform):
    return np.exp(log_inclusion_probability(tf.constant(shares, tf.float32), draws, *uniform))


# How likely a candidate is there


def test_a_mixed_sample_worked_by_hand():
    # Two rows of the log miss a share of 1/2 with 1/4; one of four candidates is missed with 3/4:
    # 1 - 1/4 * 3/4 = 13/16. A share of (nearly) 0 comes in by the uniform draw only: 1/4.
    np.testing.assert_allclose(inclusion([0.5, 0.0], 2, 1, 4), [13 / 16, 1 / 4], rtol=1e-5)


def test_it_is_what_a_simulation_counts():
    shares = np.array([0.6, 0.25, 0.1, 0.04, 0.01, 0.0])
    random = np.random.default_rng(0)
    rows = random.choice(6, size=(20_000, 5), p=shares)
    uniform = random.integers(6, size=(20_000, 3))
    drawn = np.concatenate([rows, uniform], axis=1)
    simulated = [(drawn == name).any(axis=1).mean() for name in range(6)]
    # Standard deviation of a share of 20,000 draws: below 0.0036.
    np.testing.assert_allclose(inclusion(shares, 5, 3, 6), simulated, atol=0.012)


def test_a_catalogue_of_one_is_always_there():
    np.testing.assert_allclose(inclusion([0.1], 1, 1, 1), [1], rtol=1e-6)


@given(st.floats(1e-9, 0.5), st.integers(1, 4096))
def test_share_and_inclusion_are_inverse(share, rows):
    log = log_inclusion_probability(tf.constant([share]), rows)
    if log < -1e-3:  # nearer to certainty float32 cannot tell shares apart
        np.testing.assert_allclose(share_of_rows(tf.exp(log), rows), [share], rtol=1e-2)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extremes_stay_finite(value):
    assert np.isfinite(share_of_rows(tf.constant([value]), 0)).all()
    assert np.isfinite(log_inclusion_probability(tf.constant([value]), 4096, 100, 10)).all()


# The positive left out


def losses_and_gradient(scores, ids, shares, **options):
    """Losses of a batch in which every query gives candidate j the score `scores[j]`."""
    one_hot = tf.one_hot(ids, len(scores))
    queries = tf.tile(tf.constant(scores, tf.float32)[tf.newaxis], [len(ids), 1])
    with tf.GradientTape() as tape:
        tape.watch(queries)
        losses = InBatchSoftmax(**options)(
            queries,
            one_hot,
            candidate_ids=ids,
            candidate_sampling_probability=tf.gather(tf.constant(shares, tf.float32), ids),
        )
    return losses, tape.gradient(losses, queries)


def test_a_batch_without_positives_worked_by_hand():
    # Two rows, a and b, all scores 0, shares 1/4 and 1/2. Among the negatives of the other row each
    # stands by one draw: q' = 1/4 and 1/2. Row a: -0 + ln(e^0 + e^0 / (1/2)) = ln 3; row b: ln(1 + 4).
    losses, _ = losses_and_gradient(
        [0.0, 0.0], tf.constant([0, 1]), [0.25, 0.5], correction="without_positive"
    )
    np.testing.assert_allclose(losses, [np.log(3), np.log(5)], rtol=1e-5)
    # The standard one: q = 1 - (3/4)^2 = 7/16 and 3/4 for both: row a: ln(16/7 + 4/3) - ln(16/7).
    losses, _ = losses_and_gradient([0.0, 0.0], tf.constant([0, 1]), [0.25, 0.5])
    np.testing.assert_allclose(losses[0], np.log(16 / 7 + 4 / 3) - np.log(16 / 7), rtol=1e-5)


def test_the_gradient_is_that_of_the_paper():
    # stop_gradient(1 - P) (-s_p + log sum over negatives of exp(s_d - log q'_d)).
    random = np.random.default_rng(2)
    scores, ids = random.normal(size=6).astype(np.float32), tf.constant([3, 1, 3, 0, 5])
    shares = random.dirichlet(np.ones(6)).astype(np.float32)
    _, gradient = losses_and_gradient(scores, ids, shares, correction="without_positive")
    query = tf.Variable(scores)
    for row, own in enumerate(ids.numpy()):
        others = [name for name in {3, 1, 0, 5} if name != own]
        log_q = np.log(1 - (1 - shares[others]) ** 4)
        with tf.GradientTape() as tape:
            negatives = tf.reduce_logsumexp(tf.gather(query, others) - log_q)
            weight = tf.exp(negatives) / (tf.exp(query[own]) + tf.exp(negatives))
            loss = tf.stop_gradient(weight) * (negatives - query[own])
        expected = tf.convert_to_tensor(tape.gradient(loss, query))
        np.testing.assert_allclose(gradient[row], expected, rtol=1e-3, atol=1e-6)


def mean_gradients(shares, scores, batches, correction):
    """For each candidate the mean gradient of the rows whose positive it is: `[n, n]`."""

    @tf.function
    def gradients(batches):
        def step(ids):
            return losses_and_gradient(scores, ids, shares, correction=correction)[1]

        return tf.map_fn(step, batches, fn_output_signature=tf.float32)

    rows = np.eye(len(shares))[batches.ravel()]
    total = rows.T @ gradients(tf.constant(batches)).numpy().reshape(rows.shape)
    return total / rows.sum(axis=0)[:, np.newaxis]


@pytest.mark.slow
def test_its_mean_gradient_is_nearer_to_that_of_the_full_softmax():
    random = np.random.default_rng(3)
    shares = 1 / np.sqrt(np.arange(1, 31))
    shares, scores = shares / shares.sum(), random.normal(0, 0.3, 30)
    # d loss / d score_j of the row of positive i: P(j) - [i = j].
    full = np.exp(scores) / np.exp(scores).sum() - np.eye(30)
    batches, wrong = random.choice(30, size=(2500, 8), p=shares), {}
    for correction in ("standard", "without_positive"):
        mean = mean_gradients(shares, scores, batches, correction)
        wrong[correction] = np.linalg.norm(mean - full, axis=1)
    # Most of all for rare positives, of which the standard one is far too sure.
    assert shares @ wrong["without_positive"] < 0.5 * (shares @ wrong["standard"])
    assert wrong["without_positive"][20:].mean() < 0.4 * wrong["standard"][20:].mean()


def test_a_batch_of_one_has_nothing_to_learn_from():
    losses, gradient = losses_and_gradient(
        [1.0, 2.0], tf.constant([1]), [0.5, 0.5], correction="without_positive"
    )
    np.testing.assert_array_equal(losses, [0])
    np.testing.assert_array_equal(gradient, [[0, 0]])


def test_it_needs_to_know_how_often_candidates_are_sampled():
    with pytest.raises(ConfigError, match=r"candidate_sampling_probability=None\. Pass it"):
        InBatchSoftmax(correction="without_positive")(
            tf.zeros([2, 1]), tf.zeros([2, 1]), candidate_ids=tf.constant([1, 2])
        )
