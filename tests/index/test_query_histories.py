"""Weights of histories against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.index.history import HistoryWeights, QueryHistories

DAY = 86_400.0
N_ITEMS = 4
# Of each query: items, -1 is an unknown one, and the days that they were had.
LISTS = st.lists(
    st.lists(st.tuples(st.integers(-1, N_ITEMS - 1), st.integers(0, 5)), max_size=6), max_size=4
)


def had_of(lists):
    lists = [sorted(events, key=lambda event: event[1]) for events in lists]
    items = [np.array([item for item, _ in events], dtype=np.int64) for events in lists]
    times = [np.array([day * DAY for _, day in events]) for events in lists]
    return QueryHistories.of_lists(np.arange(len(lists)), items, times), lists


def test_worked_case_of_all_settings():
    # Oldest first a (day 0), b (day 2), a (day 3). Of the latest two events b is 2 back and a day
    # older: 1/2 * 1/2; the latest a weighs 1.
    had, _ = had_of([[(0, 0), (1, 2), (0, 3)]])
    weights = HistoryWeights(window=2, decay=1, half_life_days=1, repeated=True)
    assert weights.matrix(had, N_ITEMS).toarray().tolist() == [[1, 0.25, 0, 0]]
    # With all three events the first a is 3 back and three days older: 1/3 * 1/8 more.
    every = HistoryWeights(decay=1, half_life_days=1, repeated=True).matrix(had, N_ITEMS)
    assert every.toarray()[0, 0] == pytest.approx(1 + 1 / 24)


@given(
    LISTS,
    st.sampled_from([None, 1, 3]),
    st.sampled_from([0, 0.5, 2]),
    st.sampled_from([None, 2]),
    st.booleans(),
)
def test_they_agree_with_loops(lists, window, decay, half_life, repeated):
    had, lists = had_of(lists)
    found = HistoryWeights(window, decay, half_life, repeated).matrix(had, N_ITEMS).toarray()
    expected = np.zeros((len(lists), N_ITEMS))
    for query, events in enumerate(lists):
        done = set()
        for back, (item, day) in enumerate(reversed(events), start=1):
            if item < 0 or (window and back > window) or (not repeated and item in done):
                continue
            done.add(item)
            age = events[-1][1] - day
            expected[query, item] += back**-decay * (0.5 ** (age / half_life) if half_life else 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(LISTS)
def test_equal_queries_are_one(lists):
    had, _ = had_of(lists)
    twice = had.rows(np.array([*range(len(had)), *range(len(had))], dtype=np.int64))
    distinct, back = twice.distinct()
    # Users differ, so only the second half is there before.
    assert len(distinct) == len(had)
    assert [distinct.list(q).tolist() for q in back] == [
        twice.list(q).tolist() for q in range(len(twice))
    ]
