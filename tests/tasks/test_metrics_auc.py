"""AUC and GAUC: the numbers of a loop over all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfrecall._keras import tf
from tfrecall.evaluation import metrics
from tfrecall.tasks.metrics import ExactAUC, PairAUC, bins_of


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


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_gauc_of_numpy_counts_pairs_of_few_rows(rows):
    positives, users, scores = (
        (np.array(c, float) for c in zip(*rows, strict=True)) if rows else (np.zeros(0),) * 3
    )
    won = [
        np.mean([(s > o) + (s == o) / 2 for q, v, o in rows if not q and v == u])
        for p, u, s in rows
        if p and any(not q and v == u for q, v, _ in rows)
    ]
    p = positives > 0
    found = metrics.gauc(scores[p], users[p], scores[~p], users[~p])
    assert found == pytest.approx(np.mean(won) if won else np.nan, nan_ok=True)


def exact(labels, scores, weights=None, size=7):
    metric = ExactAUC()
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        metric.update_state(
            labels[part, None], scores[part, None], None if weights is None else weights[part]
        )
    return metric


@given(
    arrays(np.float32, st.integers(0, 40), elements=st.integers(-20, 20).map(lambda n: n / 4)),
    st.randoms(use_true_random=False),
    st.sampled_from([0, 5, 1000]),
)
def test_auc_of_clicks_is_exact(scores, random, waiting):
    labels = np.float32([random.random() < 0.3 for _ in scores])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfrecall.tasks.metrics._WAITING", waiting)  # rows are joined often, or never
        metric = exact(labels, scores)
    expected = metrics.auc(scores[labels > 0], scores[labels == 0])
    assert float(metric.result()) == pytest.approx(0 if np.isnan(expected) else expected, abs=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_auc_of_clicks_that_are_rare_sees_beyond_thresholds():
    # Logits near -9: all probabilities lie below the first of 200 thresholds.
    random = np.random.default_rng(0)
    scores = (-9 + random.normal(size=20_000)).astype(np.float32)
    labels = (random.random(len(scores)) < np.exp(scores + 3)).astype(np.float32)
    expected = metrics.auc(scores[labels > 0], scores[labels == 0])
    assert expected > 0.7
    assert float(exact(labels, scores, size=4096).result()) == pytest.approx(expected, abs=1e-6)


def test_auc_of_clicks_weighs_pairs():
    metric = exact(np.float32([1, 1, 0, 0]), np.float32([3, 1, 2, 1]), np.float32([2, 1, 3, 1]), size=3)
    # 3 is above 2 and 1: 2 * (3 + 1). 1 is below 2 and ties with 1: 1 * 1 / 2. Of 3 * 4 pairs.
    assert float(metric.result()) == pytest.approx(8.5 / 12)


def test_auc_of_clicks_in_a_graph():
    metric = ExactAUC()

    @tf.function
    def step(labels, scores):
        metric.update_state(labels, scores)
        return metric.result()

    step(tf.constant([1.0, 0.0]), tf.constant([1.0, 2.0]))
    assert float(step(tf.constant([0.0, 0.0]), tf.constant([0.0, 0.5]))) == pytest.approx(2 / 3)


def test_gauc_in_training_estimates_that_of_pooled_negatives():
    # 40 users with 25 rows of 20 negatives each; a user shifts all scores, which GAUC does not see.
    users = np.repeat(np.arange(40), 25)
    shift = 3 * normal(40, seed=2)[users]
    positives, negatives = normal(1000) + 0.7 + shift, normal(1000, 20, seed=1) + shift[:, None]
    pooled = metrics.gauc(positives, users, negatives.ravel(), np.repeat(users, 20))
    found = measured(positives.astype(np.float32), negatives.astype(np.float32))
    assert found["gauc"] == pytest.approx(pooled, abs=0.01)
    assert found["auc"] < pooled - 0.05
