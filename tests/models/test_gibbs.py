"""Gibbs sampling: draws against moments in closed form, and predictions of planted labels."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall.models.gibbs import (
    Block,
    Effect,
    GibbsSampler,
    _Links,
    _Prior,
    _Ridge,
    draw_normal,
    draw_wishart,
)

USERS, ITEMS, NOISE = 60, 50, 0.5


def test_draws_of_a_gaussian_have_its_mean_and_covariance():
    precision, linear = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([1.0, -1.0])
    count = 40_000
    many = np.tile(precision, (count, 1, 1)), np.tile(linear, (count, 1))
    drawn = draw_normal(*many, np.random.default_rng(3))
    # Standard errors are about 1.1 / sqrt(40,000) = .006.
    assert drawn.mean(axis=0) == pytest.approx(np.linalg.solve(precision, linear), abs=0.03)
    assert np.cov(drawn.T) == pytest.approx(np.linalg.inv(precision), abs=0.04)


def test_draws_of_a_wishart_have_its_mean():
    scale, generator = np.array([[1.0, 0.4], [0.4, 0.5]]), np.random.default_rng(3)
    drawn = [draw_wishart(5.0, scale, generator) for _ in range(4000)]
    assert np.mean(drawn, axis=0) == pytest.approx(5 * scale, abs=0.2)


@examples(30)
@given(st.integers(1, 6), st.integers(1, 6), st.floats(0.1, 10), st.integers(0, 9))
def test_a_ridge_is_solved_for_wide_and_for_tall_matrices(rows, columns, ridge, seed):
    generator = np.random.default_rng(seed)
    matrix, targets = generator.normal(size=(rows, columns)), generator.normal(size=(columns, 2))
    expected = np.linalg.solve(matrix.T @ matrix + ridge * np.eye(columns), targets)
    assert _Ridge(sp.csr_matrix(matrix)).solve(targets, ridge) == pytest.approx(expected, abs=1e-6)


def test_sums_over_the_rows_of_a_level_are_those_of_a_loop():
    generator = np.random.default_rng(2)
    levels, others = generator.integers(0, 4, 30), generator.integers(0, 5, 30)
    factors, values = generator.normal(size=(5, 3)), generator.normal(size=30)
    links = _Links(levels, 6, others, 5)  # levels 4 and 5 have no rows
    squares, products = np.zeros((6, 3, 3)), np.zeros((6, 3))
    for level, other, value in zip(levels, others, values, strict=True):
        squares[level] += np.outer(factors[other], factors[other])
        products[level] += value * factors[other]
    assert links.squares(factors) == pytest.approx(squares)
    assert links.products(values, factors) == pytest.approx(products)


def test_coefficients_of_attributes_are_drawn_around_the_truth():
    generator = np.random.default_rng(4)
    attributes = generator.normal(size=(400, 3))
    truth = np.array([[1.0, 0.0], [-2.0, 0.5], [0.0, 3.0]])
    vectors = 0.7 + attributes @ truth + 0.1 * generator.normal(size=(400, 2))
    prior = _Prior(Block(np.arange(400), 400, sp.csr_matrix(attributes)), 2)
    drawn = []
    for _ in range(200):
        prior.draw(vectors, generator)
        drawn.append((prior.coefficients, prior._mean, np.linalg.inv(prior.precision)))
    coefficients, means, covariances = (np.mean(part, axis=0) for part in zip(*drawn[50:], strict=True))
    assert coefficients == pytest.approx(truth, abs=0.03)
    assert means == pytest.approx([0.7, 0.7], abs=0.03)
    # What attributes leave: a variance of .01 each, and a little of the prior.
    assert covariances == pytest.approx(0.01 * np.eye(2), abs=0.004)


@pytest.fixture(scope="module")
def planted():
    """Rows of users and items, labels of rank 2 with biases and noise, and what they are without noise."""
    generator = np.random.default_rng(5)
    users, items = generator.normal(size=(USERS, 3)), generator.normal(size=(ITEMS, 3))
    pairs = generator.permutation(USERS * ITEMS)
    rows = pairs // ITEMS, pairs % ITEMS
    clean = (
        (users[rows[0], :2] * items[rows[1], :2]).sum(axis=1) + users[rows[0], 2] + items[rows[1], 2]
    )
    return rows, clean, clean + NOISE * generator.normal(size=len(clean))


def drawn(rows, labels, train, sweeps=60, dim=2, **blocks):
    """Predictions of all rows in the second half of the sweeps, of a sampler that knows some of the rows."""
    users, items = (part[train] for part in rows)
    blocks = {"user": Block(users, USERS), "item": Block(items, ITEMS), **blocks}
    sampler = GibbsSampler(blocks["user"], blocks["item"], labels[train], dim, seed=1)
    predictions, noise = [], []
    for sweep in range(sweeps):
        sampler.sweep()
        if sweep >= sweeps // 2:
            left, right = sampler.vectors[0][rows[0]], sampler.vectors[1][rows[1]]
            products = (left[:, :-1] * right[:, :-1]).sum(axis=1)
            predictions.append(products + left[:, -1] + right[:, -1])
            noise.append(1 / sampler.precision)
    return np.array(predictions), float(np.mean(noise))


def test_planted_labels_are_found_to_their_noise(planted):
    rows, clean, labels = planted
    train = np.arange(len(labels)) < 1500
    predictions, noise = drawn(rows, labels, train)
    error = np.sqrt(np.square(predictions.mean(axis=0) - clean)[~train].mean())
    assert noise == pytest.approx(NOISE**2, rel=0.25)
    # 330 parameters from 1,500 rows: about .5 * sqrt(330 / 1500) = .23 in the best case.
    assert error < 0.35
    assert np.std(clean) > 1.5


def test_intervals_of_draws_and_noise_hold_their_share_of_the_labels(planted):
    rows, _, labels = planted
    train = np.arange(len(labels)) < 1500
    predictions, noise = drawn(rows, labels, train)
    spread = np.sqrt(predictions.var(axis=0) + noise)
    inside = np.abs(labels - predictions.mean(axis=0)) < 1.645 * spread
    # 90 % within 1.645 standard deviations; 1,500 rows have a standard error of .8 %.
    assert 0.86 < inside[~train].mean() < 0.94


def test_shuffled_labels_are_left_at_their_mean(planted):
    rows, _, labels = planted
    shuffled = np.random.default_rng(6).permutation(labels)
    train = np.arange(len(labels)) < 1500
    predictions, _ = drawn(rows, shuffled, train)
    assert predictions.mean(axis=0)[~train].std() < 0.35 * np.std(shuffled)


def test_an_item_without_rows_is_predicted_by_its_attributes():
    generator = np.random.default_rng(7)
    kind = np.arange(ITEMS) % 2
    taste = np.where(np.arange(USERS) < USERS // 2, 1.0, -1.0)
    pairs = np.arange(USERS * ITEMS)
    rows = pairs // ITEMS, pairs % ITEMS
    clean = taste[rows[0]] * (2.0 * kind[rows[1]] - 1.0)
    labels = clean + 0.3 * generator.normal(size=len(clean))
    train = rows[1] >= 6  # the first six items have no rows
    kinds = sp.csr_matrix(np.stack([kind, 1 - kind], axis=1).astype(float))
    item = Block(rows[1][train], ITEMS, kinds)
    predictions, _ = drawn(rows, labels, train, dim=1, item=item)
    found = predictions.mean(axis=0)[~train]
    assert np.corrcoef(found, clean[~train])[0, 1] > 0.95


def test_effects_of_a_context_are_found(planted):
    rows, _, labels = planted
    day = np.random.default_rng(8).integers(0, 10, len(labels))
    effect = np.linspace(-2, 2, 10)
    labels = labels + effect[day]
    sides = Block(rows[0], USERS), Block(rows[1], ITEMS)
    sampler = GibbsSampler(*sides, labels, 2, seed=1, effects=[Effect(day, 10)])
    found = []
    for sweep in range(40):
        sampler.sweep()
        if sweep >= 20:
            found.append(sampler.effects[0])
    # 300 rows an effect: a standard error of .03, and the biases of users may take a common shift.
    assert np.mean(found, axis=0) - np.mean(found) == pytest.approx(effect, abs=0.15)


def test_equal_seeds_give_equal_draws(planted):
    rows, _, labels = planted
    some = np.arange(len(labels)) < 300
    first, second = (drawn(rows, labels, some, sweeps=4)[0] for _ in range(2))
    assert np.array_equal(first, second)
