"""Metrics worked by hand; the loops over their definitions are in tests/evaluation."""

from math import log2

import numpy as np
import pytest

from tfrecall.data.inspection.profiles import gini
from tfrecall.evaluation import metrics
from tfrecall.evaluation.metrics import MISS, UserTargets

# User 0 has three targets at ranks 0, 3 and 12; user 1 has one that no list can hold.
TARGETS = UserTargets(users=np.array([0, 0, 0, 1]), ranks=np.array([3, 0, 12, MISS]))


def test_rank_k_minus_one_is_the_last_hit() -> None:
    assert metrics.hit_rate(np.array([9, 10]), k=10).tolist() == [1.0, 0.0]


def test_gain_halves_at_the_third_place() -> None:
    assert metrics.ndcg(np.array([2]), k=3).tolist() == [0.5]  # 1 / log2(4)
    assert metrics.ndcg(np.array([2]), k=2).tolist() == [0.0]


def test_a_miss_is_a_miss_at_any_k() -> None:
    missed = np.array([MISS])
    assert metrics.hit_rate(missed, k=10**12) == 0
    assert metrics.ndcg(missed, k=10**12) == 0
    assert metrics.mrr(missed) == 0


def test_recall_divides_by_all_targets() -> None:
    assert metrics.user_recall(TARGETS, k=1).tolist() == [1 / 3, 0.0]
    assert metrics.user_recall(TARGETS, k=5).tolist() == [2 / 3, 0.0]


def test_precision_divides_by_k() -> None:
    assert metrics.user_precision(TARGETS, k=5).tolist() == [2 / 5, 0.0]


def test_user_ndcg_divides_by_the_best_list_that_k_allows() -> None:
    gain = 1 + 1 / log2(5)  # places 1 and 4
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert metrics.user_ndcg(TARGETS, k=5)[0] == pytest.approx(gain / ideal)
    assert metrics.user_ndcg(TARGETS, k=1).tolist() == [1.0, 0.0]


def test_map_is_one_for_a_list_that_opens_with_hits() -> None:
    opening = UserTargets(users=np.zeros(4, dtype=int), ranks=np.array([2, 0, 1, 50]))
    assert metrics.user_map(opening, k=3).tolist() == [1.0]
    # Four targets would fit into ten places: (1/1 + 2/2 + 3/3) / 4.
    assert metrics.user_map(opening, k=10).tolist() == [0.75]


def test_map_takes_precision_at_each_hit() -> None:
    # Hits at places 1 and 4: (1/1 + 2/4) / min(3, 5).
    assert metrics.user_map(TARGETS, k=5).tolist() == [0.5, 0.0]


def test_gini_of_one_item_shown_to_all_is_one_less_its_share() -> None:
    assert gini(np.array([0, 0, 0, 7])) == 0.75
    # 0 and 2 of mean 1: mean absolute difference (0 + 2 + 2 + 0) / 4 over twice the mean.
    assert gini(np.array([2, 0])) == 0.5


def test_novelty_is_counted_in_bits() -> None:
    # One slot shows what 4 of 8 users have (1 bit), three show what one has (3 bits).
    found = metrics.novelty(np.array([1, 3]), users_of_item=np.array([4, 1]), n_users=8)
    assert found == (1 + 3 * 3) / 4


def test_an_item_that_nobody_has_is_as_novel_as_one_user_makes_it() -> None:
    exposure = np.array([1])
    assert metrics.novelty(exposure, np.array([0]), n_users=8) == 3.0
    assert metrics.novelty(exposure, np.array([1]), n_users=8) == 3.0


def test_catalogue_metrics_of_no_list_are_zero() -> None:
    nothing = np.zeros(3, dtype=int)
    assert metrics.coverage(nothing) == 0
    assert metrics.novelty(nothing, np.ones(3), n_users=2) == 0
    assert metrics.popularity_share(nothing, np.ones(3, dtype=bool)) == 0
    assert gini(nothing) == 0


def test_popularity_share_counts_slots_not_items() -> None:
    popular = np.array([True, False])
    assert metrics.popularity_share(np.array([6, 2]), popular) == 0.75


@pytest.mark.parametrize(("n_items", "marked"), [(10, 1), (11, 2), (30, 3), (100, 10), (1, 1)])
def test_a_tenth_of_the_items_is_rounded_up(n_items: int, marked: int) -> None:
    counts = np.arange(n_items) + 1
    assert metrics.most_popular(counts, 0.1).nonzero()[0].tolist() == list(
        range(n_items - marked, n_items)
    )


def test_a_share_that_gives_a_whole_number_is_not_rounded_up() -> None:
    assert metrics.most_popular(np.ones(100), share=0.07).sum() == 7


def test_an_item_without_interactions_is_not_popular() -> None:
    assert metrics.most_popular(np.array([0, 0, 5, 0]), share=0.5).tolist() == [
        False,
        False,
        True,
        False,
    ]
