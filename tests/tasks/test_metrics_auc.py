"""AUC and GAUC: the numbers of a loop over all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfrecall.evaluation import metrics
from tfrecall.tasks.metrics import PairAUC, bins_of


def measured(positives, negatives, counts=None, weights=None):
    metric = PairAUC()
    counts = np.ones(negatives.shape, bool) if counts is None else counts
    half = len(positives) // 2
    for part in (slice(half), slice(half, None)):
        w = None if weights is None else weights[part]
        metric.update_state(positives[part], negatives[part], counts[part], sample_weight=w)
    return {name: float(value) for name, value in metric.result().items()}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_auc_is_that_of_all_pairs_within_a_thousandth():
    positives, negatives = normal(300) + 0.5, normal(300, 4, seed=1)
    found = measured(positives, negatives)
    assert found["auc"] == pytest.approx(metrics.auc(positives, negatives.ravel()), abs=1e-3)
    wins = np.mean(negatives < positives[:, None])
    assert found["gauc"] == pytest.approx(wins, abs=1e-6)


def test_scores_close_together_are_told_apart():
    # Cosines between .9 and .91: two hundred even thresholds would see one or two values.
    positives, negatives = 0.905 + 0.005 * normal(500), 0.9 + 0.005 * normal(500, 2, seed=1)
    exact = metrics.auc(positives, negatives.ravel())
    assert measured(positives, negatives)["auc"] == pytest.approx(exact, abs=0.01)


def test_ties_count_half():
    found = measured(np.float32([0.5, 0.5]), np.float32([[0.5, 0.2], [0.5, 0.9]]))
    # 0.5 against .5, .2, .5, .9: .5 + 1 + .5 + 0 of 4; within rows (1.5 + .5) / 4.
    assert found == pytest.approx({"auc": 0.5, "gauc": 0.5})


def test_weights_and_missing_negatives_are_left_out():
    positives = np.float32([1.0, 2.0, 9.0, 9.0])
    negatives = np.float32([[0.0, 5.0], [1.5, 7.0], [0.0, 0.0], [0.0, 0.0]])
    counts = np.array([[1, 1], [1, 0], [1, 1], [0, 0]], bool)
    weights = np.float32([1, 3, 0, 1])
    found = measured(positives, negatives, counts, weights)
    # Within rows: .5 with weight 1, 1 with weight 3. The third weighs nothing, the fourth has none.
    assert found["gauc"] == pytest.approx((0.5 + 3) / 4)
    # All pairs: 1 is above 0 (weight 1) of 0, 5 (1 each) and 1.5 (3): 1 / 5; 2 is above 0 and 1.5: 4 / 5.
    assert found["auc"] == pytest.approx((1 * 1 + 3 * 4) / (4 * 5))


def test_reset_forgets():
    metric = PairAUC()
    metric.update_state(normal(5), normal(5, 2), np.ones((5, 2), bool))
    metric.reset_state()
    assert [float(v) for v in metric.result().values()] == [0.0, 0.0]


@pytest.mark.slow
@given(arrays(np.float32, st.integers(2, 30), elements=st.floats(-1e6, 1e6, width=32)))
def test_bins_are_in_the_order_of_the_scores(scores):
    ordered = np.sort(scores)
    assert (np.diff(bins_of(ordered).numpy()) >= 0).all()
    assert (
        bins_of(-ordered).numpy() + bins_of(ordered).numpy() == 2 * bins_of(np.float32(0)).numpy()
    ).all()


def test_auc_of_numpy_is_a_loop_over_pairs():
    positives, negatives = np.round(normal(40), 1), np.round(normal(70, seed=1), 1)
    pairs = [(p > n) + (p == n) / 2 for p in positives for n in negatives]
    assert metrics.auc(positives, negatives) == pytest.approx(np.mean(pairs))
    assert np.isnan(metrics.auc(positives, negatives[:0]))


def test_gauc_of_numpy_is_a_loop_over_users():
    random = np.random.default_rng(3)
    positives, negatives = np.round(normal(60), 1), np.round(normal(90, seed=1), 1)
    users, owners = random.integers(0, 8, 60), random.integers(2, 10, 90)
    total, weight = 0.0, 0
    for user in range(10):
        own, others = positives[users == user], negatives[owners == user]
        if len(own) and len(others):
            total += len(own) * metrics.auc(own, others)
            weight += len(own)
    assert metrics.gauc(positives, users, negatives, owners) == pytest.approx(total / weight)
    assert np.isnan(metrics.gauc(positives, users, negatives, owners + 100))


def test_gauc_in_training_estimates_that_of_pooled_negatives():
    # 40 users with 25 rows of 20 negatives each; a user shifts all scores, which GAUC does not see.
    users = np.repeat(np.arange(40), 25)
    shift = 3 * normal(40, seed=2)[users]
    positives, negatives = normal(1000) + 0.7 + shift, normal(1000, 20, seed=1) + shift[:, None]
    pooled = metrics.gauc(positives, users, negatives.ravel(), np.repeat(users, 20))
    found = measured(positives.astype(np.float32), negatives.astype(np.float32))
    assert found["gauc"] == pytest.approx(pooled, abs=0.01)
    assert found["auc"] < pooled - 0.05
