"""Standings of models on the same rows: scores by hand, noise by a loop over users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.evaluation.metrics import MISS
from tfrecall.evaluation.standings import standings


def test_a_score_is_the_mean_of_three_ratios_to_the_best_that_counts():
    ranks = {
        "popularity": np.array([0, MISS, MISS, 50]),  # hits at 10: 1/4; at 100: 2/4; ndcg 1/4
        "item_cf": np.array([1, 1, MISS, MISS]),  # 2/4, 2/4, 2 / (4 log2(3)) = .3155
        "network": np.array([0, 0, 20, MISS]),  # 2/4, 3/4, 2/4
    }
    found = standings(ranks, ["popularity", "item_cf"], np.arange(4), (1, 10, 100))
    best = 2 / (4 * np.log2(3))
    assert found["network"].score == pytest.approx((1 + 1.5 + 0.5 / best) / 3)
    assert found["item_cf"].score == pytest.approx(1)
    assert found["popularity"].score == pytest.approx((0.5 + 1 + 0.25 / best) / 3)
    assert (found["item_cf"].lead, found["item_cf"].noise) == (0, 0)
    assert found["network"].lead == pytest.approx(found["network"].score - 1)
    assert found["network"].figures == {"hit_rate@10": 0.5, "hit_rate@100": 0.75, "ndcg@10": 0.5}


def test_noise_is_the_standard_error_over_users_whose_rows_depend():
    users = np.array([0, 0, 0, 1, 2])
    ranks = {"popularity": np.array([0, 2, 4, 30, 1]), "network": np.array([1, 0, 0, 3, MISS])}
    found = standings(ranks, ["popularity"], users, (10,))["network"]

    def gain(rank, name):
        best = {"hit": np.mean(ranks["popularity"] < 10), "ndcg": ndcg("popularity").mean()}
        return np.mean([(rank < 10) / best["hit"], (rank < 10) / np.log2(rank + 2.0) / best["ndcg"]])

    def ndcg(name):
        return np.array([(r < 10) / np.log2(r + 2.0) for r in ranks[name]])

    differences = np.array(
        [gain(a, 0) - gain(b, 0) for a, b in zip(ranks["network"], ranks["popularity"], strict=True)]
    )
    mean = differences.mean()
    squares = sum((differences[users == user] - mean).sum() ** 2 for user in range(3))
    assert found.lead == pytest.approx(mean)
    assert found.noise == pytest.approx(np.sqrt(squares) / 5)


def test_a_lead_within_noise_is_none():
    many = np.zeros(1000, int)
    users = np.arange(1000)
    better = np.where(users < 500, 5, many)
    found = standings({"a": better, "b": many}, ["a"], users, (10,))
    assert found["b"].leads
    # One of two users gains, the other loses a little less: the mean is above 0, by less than its noise.
    found = standings({"a": np.array([0, 5]), "b": np.array([4, 0])}, ["a"], np.arange(2), (10,))
    assert found["b"].lead > 0
    assert not found["b"].leads


def test_a_metric_without_a_hit_of_any_that_counts_is_left_out():
    ranks = {"a": np.array([50, MISS]), "b": np.array([3, 60])}
    found = standings(ranks, ["a"], np.arange(2), (10, 100))
    assert found["b"].score == 2  # hit_rate@100 alone: 2 of 2 rows beside 1
    nothing = standings({"a": np.array([MISS]), "b": np.array([0])}, ["a"], np.zeros(1, int), (10,))
    assert (nothing["a"].score, nothing["b"].score) == (0, 1)  # ratios to the best of all
    none_at_all = standings({"a": np.array([MISS])}, ["a"], np.zeros(1, int), (10,))["a"]
    assert (none_at_all.score, none_at_all.leads) == (0, False)


@given(st.lists(st.integers(0, 120), min_size=2, max_size=30), st.integers(0, 5))
def test_a_copy_of_a_model_has_its_score_and_no_lead(ranks, seed):
    users = np.random.default_rng(seed).integers(0, 5, len(ranks))
    rows = np.array(ranks)
    found = standings({"a": rows, "copy": rows.copy()}, ["a"], users, (1, 10, 100))
    assert found["a"].score == found["copy"].score
    assert not found["copy"].leads
