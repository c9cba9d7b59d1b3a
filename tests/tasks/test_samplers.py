"""Draws from a catalogue against the probabilities that are declared for them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chdtri

from tfrecall._keras import tf
from tfrecall.errors import ConfigError
from tfrecall.tasks.samplers import StratifiedSampler, draw_weights, inclusion

SHARE = np.array([1, 40, 7, 3, 3, 100, 12, 1, 2, 9, 25, 5]) / 208
every_sampler = pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "unigram"])


def draws(sampler, num_sampled, share=SHARE, alpha=1.0, steps=3000):
    """The sampler, and for each step which rows it drew, bool `[steps, n]`."""
    built = StratifiedSampler.build(sampler, num_sampled, share, alpha)

    def step(seed):
        rows = built.draw(tf.stack([seed, 7]))
        tf.debugging.assert_equal(tf.size(tf.unique(rows)[0]), tf.size(rows))
        return tf.scatter_nd(rows[:, tf.newaxis], tf.ones_like(rows, tf.bool), [len(share)])

    held = tf.function(lambda: tf.map_fn(step, tf.range(steps), fn_output_signature=tf.bool))()
    return built, held.numpy()


# Probabilities


def test_a_hand_worked_catalogue():
    # Shares 5/8, 1/8, 1/8, 1/8 and two draws: the first asks for 1.25 and gets 1, the others share the
    # second draw, 1/3 each. None lies across the border at 1.
    built = StratifiedSampler.build("unigram", 2, np.array([1, 5, 1, 1]) / 8, 1.0)
    np.testing.assert_allclose(built.probability, [1 / 3, 1, 1 / 3, 1 / 3], rtol=1e-6)
    assert built.order.numpy().tolist() == [1, 0, 2, 3]


@pytest.mark.slow
def test_a_candidate_across_two_intervals_may_come_of_either():
    # Three candidates, two draws: 2/3 each. The second lies on [2/3, 4/3): with 1/3 in both intervals
    # it is drawn with 1 - (2/3)^2 = 5/9.
    built, held = draws("uniform", 2, np.ones(3))
    np.testing.assert_allclose(built.probability, [2 / 3, 5 / 9, 2 / 3], rtol=1e-6)
    assert {tuple(row) for row in held.astype(int).tolist()} == {
        (1, 1, 0),
        (1, 0, 1),
        (0, 1, 0),
        (0, 1, 1),
    }


def test_log_uniform_weights_are_those_of_tensorflow():
    # P(r) = (log(r + 2) - log(r + 1)) / log(n + 1): the weights have the sum log(n + 1).
    weights = draw_weights("log_uniform", np.ones(50), 0.0)
    assert weights.sum() == pytest.approx(np.log(51))
    ids = tf.constant([[0, 9, 49]], tf.int64)
    theirs = tf.random.log_uniform_candidate_sampler(ids, 3, 1, False, 50).true_expected_count
    np.testing.assert_allclose(weights[[0, 9, 49]] / np.log(51), theirs.numpy()[0], rtol=1e-5)


def test_a_unigram_weight_is_the_share_to_the_power_of_alpha():
    # Counts 16, 4, 1 to the power of one half: 4, 2, 1.
    weights = draw_weights("unigram", np.array([16, 4, 1]) / 21, 0.5)
    np.testing.assert_allclose(weights / weights[-1], [4, 2, 1])
    np.testing.assert_allclose(draw_weights("unigram", np.array([16, 4, 1]) / 21, 0.0), 1)


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_inclusion_probabilities_have_the_sum_wanted_and_keep_the_order(weights, part):
    weights = np.sort(weights)[::-1]
    num_sampled = 1 + int(part * (len(weights) - 1))
    found = inclusion(weights, num_sampled)
    assert found.sum() == pytest.approx(num_sampled)
    assert (found > 0).all()
    assert (found <= 1 + 1e-9).all()
    assert (np.diff(found) <= 1e-9).all()
    ratios = (found / weights)[found < 1 - 1e-9]  # all that are not certain are in proportion
    np.testing.assert_allclose(ratios, ratios[:1].repeat(len(ratios)), rtol=1e-6)


# Draws


@pytest.mark.slow
@every_sampler
@pytest.mark.parametrize("num_sampled", [1, 3, 8, 12])
def test_candidates_are_drawn_as_often_as_declared(sampler, num_sampled):
    built, held = draws(sampler, num_sampled)
    expected = built.probability.numpy() * len(held)
    found = held.sum(axis=0)
    certain = expected > len(held) * (1 - 1e-6)
    np.testing.assert_array_equal(found[certain], len(held))
    # Variances are below q, so the sum stays below a chi-square of as many degrees of freedom.
    distance = ((found - expected)[~certain] ** 2 / expected[~certain]).sum()
    assert distance < chdtri(max((~certain).sum(), 1), 0.001)


@pytest.mark.slow
@every_sampler
def test_a_large_catalogue_is_drawn_as_often_as_declared(sampler):
    share = np.random.default_rng(0).zipf(1.3, 2000).clip(max=10**6).astype(float)
    built, held = draws(sampler, 50, share, alpha=0.75, steps=2000)
    assert 48 <= held.sum(axis=1).mean() <= 50
    expected = built.probability.numpy() * len(held)
    rare = expected < 5  # a chi-square wants some draws of each: the rare ones are one class
    certain = expected > len(held) * (1 - 1e-6)
    found = held.sum(axis=0)
    classes = [*zip(found[~rare & ~certain], expected[~rare & ~certain], strict=True)]
    classes.append((found[rare].sum(), max(expected[rare].sum(), 1e-9)))
    distance = sum((got - wanted) ** 2 / wanted for got, wanted in classes if wanted > 1)
    assert distance < chdtri(len(classes), 0.001)


@every_sampler
def test_as_many_draws_as_candidates_draw_each_once(sampler):
    built, held = draws(sampler, len(SHARE), alpha=2.0, steps=50)
    np.testing.assert_allclose(built.probability, 1, rtol=1e-6)
    assert held.all()


def test_seeds_decide_what_is_drawn():
    built = StratifiedSampler.build("uniform", 5, SHARE, 0.0)
    first, again, other = (built.draw(tf.constant(seed)).numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_shares_far_apart_keep_their_logarithms_finite():
    share = np.array([1.0, 1e-5, 1e-9])
    built = StratifiedSampler.build("unigram", 1, share, 2.0)
    assert np.isfinite(np.log(built.probability)).all()


# Refusals


def test_more_draws_than_candidates_are_refused():
    with pytest.raises(ConfigError, match=r"draws 13 distinct candidates, but the catalogue has 12"):
        StratifiedSampler.build("uniform", 13, SHARE, 0.0)


@pytest.mark.parametrize("share", [0.0, -1.0, np.nan])
def test_shares_that_have_no_correction_are_refused(share):
    with pytest.raises(ConfigError, match=r"must be above 0.*Received"):
        StratifiedSampler.build("unigram", 1, np.array([0.5, share]), 1.0)
