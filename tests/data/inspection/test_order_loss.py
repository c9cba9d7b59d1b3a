"""What a transition model loses when histories are shuffled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.inspection.test_order import walks
from tests.properties import examples
from tfrecall.core.ragged import Ragged
from tfrecall.data.inspection import order_loss as module
from tfrecall.data.inspection.order_loss import order_loss


def by_loops(lists):
    """NDCG@10 of the last items by counts of what follows within five events, one pair at a time."""
    n_items = 1 + max(max(row) for row in lists)
    counts, pairs = np.zeros(n_items), np.zeros((n_items, n_items))
    for row in lists:
        for place, item in enumerate(row[:-1]):
            counts[item] += 1
            for d in range(1, 6):
                if place >= d:
                    pairs[row[place - d], item] += 1 / d
    counts = np.maximum(counts, 1)
    gains = []
    for row in lists:
        if len(row) < 5 - 1:
            continue
        scores = np.zeros(n_items)
        for d in range(1, min(5, len(row) - 1) + 1):
            scores += pairs[row[-1 - d]] / (counts[row[-1 - d]] ** 0.75 * counts**0.25) / d
        own = scores[row[-1]]
        rank = (scores >= own * (1 - 1e-12)).sum() - 1
        gains.append(1 / np.log2(rank + 2) if own > 0 and rank < 10 else 0.0)
    return np.mean(gains), len(gains)


@examples(10)
@given(st.integers(0, 1_000), st.sampled_from([0.3, 0.9]))
def test_the_figure_of_histories_in_order_agrees_with_a_loop_over_the_pairs(seed, follow):
    histories = walks(follow, seed, users=60, events=8)
    found = order_loss(histories)
    expected, users = by_loops([histories[row].tolist() for row in range(len(histories))])
    assert found["users"] == users
    assert found["ordered"] == pytest.approx(expected, abs=0.01)  # sums that tie in other orders


def test_order_that_matters_is_lost_and_taste_is_not():
    ordered, taste = order_loss(walks(0.9, users=600)), order_loss(walks(0.0, users=600))
    assert ordered["loss"] > 0.3
    # 600 users of whom a third is right have a standard error of six hundredths.
    assert abs(taste["loss"]) < 0.2
    for found in (ordered, taste):
        assert found["loss"] == pytest.approx(1 - found["shuffled"] / found["ordered"])


def test_more_order_is_a_larger_loss():
    losses = [order_loss(walks(follow, users=600))["loss"] for follow in (0.3, 0.6, 0.9)]
    assert losses == sorted(losses)


@pytest.mark.parametrize("lists", [[], [[1], [2]], [[1, 2, 3]] * 99, [[1, 2, 3, 4]] * 9])
def test_too_little_to_tell_is_no_figure(lists):
    assert order_loss(Ragged.of_lists(lists)) is None


def test_a_long_log_is_judged_by_its_first_users(monkeypatch):
    monkeypatch.setattr(module, "MOST_EVENTS", 1200)
    monkeypatch.setattr(module, "MOST_USERS", 80)
    found = order_loss(walks(0.9, users=300))
    first = walks(0.9, users=300).take(np.arange(100))
    assert found["users"] == 80
    assert found == order_loss(first)
