"""The order of a log: a figure that is 1 by chance and large where items follow each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.core.ragged import Ragged
from tfrecall.data.inspection.order import is_sorted, order_lift


def walks(follow, seed=0, users=300, events=12, items=60):
    """Users of five groups of items, who take the next item of the group with the probability `follow`."""
    random = np.random.default_rng(seed)
    lists = []
    for user in range(users):
        first = user % 5 * (items // 5)
        item, walk = random.integers(items // 5), []
        for _ in range(events):
            walk.append(first + int(item))
            item = (
                (item + 1) % (items // 5) if random.random() < follow else random.integers(items // 5)
            )
        lists.append(walk)
    return Ragged.of_lists(lists)


@given(st.integers(0, 1_000))
def test_taste_alone_is_no_order(seed):
    assert order_lift(walks(0.0, seed)) == pytest.approx(1, abs=0.15)


def test_the_more_items_follow_each_other_the_larger():
    lifts = [order_lift(walks(follow)) for follow in (0.0, 0.3, 0.6, 0.9)]
    assert lifts == sorted(lifts)
    assert lifts[-1] > 3


def test_shuffled_histories_have_no_order():
    ordered = walks(0.9)
    random = np.random.default_rng(1)
    shuffled = Ragged.of_lists([random.permutation(ordered[row]) for row in range(len(ordered))])
    assert order_lift(shuffled) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("lists", [[], [[1], [2]], [[1, 2], [1, 2]], [[3] * 50] * 9])
def test_too_little_to_tell_is_no_order(lists):
    assert order_lift(Ragged.of_lists(lists)) == 1.0


@given(st.integers(0, 1_000), st.sampled_from([0.0, 0.9]), st.booleans())
def test_a_file_sorted_by_item_is_told_from_a_file_in_order(seed, follow, falls):
    histories = walks(follow, seed)
    # Any order of the items, not that of their numbers: files are sorted by codes that ids do not show.
    code = np.random.default_rng(seed).permutation(60)
    lists = [sorted(histories[row], key=lambda item: code[item]) for row in range(len(histories))]
    assert is_sorted(Ragged.of_lists([list(reversed(row)) if falls else row for row in lists]))
    assert not is_sorted(histories)


def test_neighbours_in_a_sorted_file_recur_though_they_say_nothing():
    histories = walks(0.0)
    lists = [sorted(histories[row]) for row in range(len(histories))]
    assert order_lift(Ragged.of_lists(lists)) > 1.5


@pytest.mark.parametrize("lists", [[], [[1], [2]], [[1, 2], [1, 2]], [[3] * 50] * 9])
def test_too_little_to_tell_is_not_sorted(lists):
    assert not is_sorted(Ragged.of_lists(lists))
