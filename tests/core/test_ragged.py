"""Histories are the user's items, oldest first, ties in file order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.core.ragged import Histories, Ragged, offsets_of, positions, ranges, stable_order
from tfrecall.errors import DataError

N_USERS = 5


@st.composite
def logs(draw):
    """Users, items and times with many ties, in any order."""
    events = st.tuples(st.integers(0, N_USERS - 1), st.integers(0, 9), st.integers(0, 4))
    rows = draw(st.lists(events, max_size=40))
    return tuple(np.array([row[k] for row in rows], dtype=np.int64) for k in range(3))


def by_hand(users, items, times, user):
    """Python's sort is stable, so equal times keep the order of the log."""
    rows = [row for row in range(len(users)) if users[row] == user]
    return [int(items[row]) for row in sorted(rows, key=lambda row: times[row])]


@given(logs())
def test_histories_agree_with_a_sort_user_by_user(log):
    histories = Histories.build(*log, N_USERS)
    assert len(histories) == N_USERS
    for user in range(N_USERS):
        assert histories[user].tolist() == by_hand(*log, user)


@given(logs())
def test_nothing_from_the_future_stands_before_an_event(log):
    users, _, times = log
    histories = Histories.build(*log, N_USERS)
    for user in range(N_USERS):
        rows = histories.order[histories.offsets[user] : histories.offsets[user + 1]]
        for place, target in enumerate(rows):
            for earlier in rows[:place]:
                assert users[earlier] == users[target] == user
                # At the same time the order of the file decides; both ways it is never the event itself.
                assert (times[earlier], earlier) < (times[target], target)


@pytest.mark.slow
@given(st.lists(st.integers(0, N_USERS - 1), max_size=40))
def test_events_at_one_time_keep_the_order_of_the_file(users):
    histories = Histories.build(
        np.array(users, int), np.arange(len(users)), np.ones(len(users)), N_USERS
    )
    for user in range(N_USERS):
        assert histories[user].tolist() == [row for row, owner in enumerate(users) if owner == user]


NUMBERS = st.one_of(
    st.lists(st.integers(-3, 3), max_size=30).map(np.array),  # many ties
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=30).map(lambda n: np.array(n, np.int32)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30).map(lambda n: np.array(n, np.int64)),
    st.lists(st.sampled_from([0, 1, 2**16 - 1, 2**16, 2**17, 2**32 - 1, 2**32]), max_size=30).map(
        np.array
    ),
    st.lists(st.floats(), max_size=30).map(np.array),
    st.lists(st.integers(1_500_000_000, 1_500_200_000), max_size=30).map(lambda n: np.array(n, float)),
    st.lists(st.sampled_from([0.5, 0.25, 1.0, 2.0]), max_size=30).map(np.array),
)


@given(NUMBERS)
def test_the_stable_order_is_that_of_numpy(numbers):
    order = stable_order(numbers)
    assert order.dtype == np.int64
    assert order.tolist() == np.argsort(numbers, kind="stable").tolist()


def test_the_stable_order_of_nan_is_the_end():
    assert stable_order(np.array([np.nan, 1.0])).tolist() == [1, 0]
    assert stable_order(np.array([np.nan, 2.0, np.nan, 1.0])).tolist() == [3, 1, 0, 2]


def test_the_stable_order_of_many_numbers_is_that_of_numpy():
    for high in (100, 2**16, 10**5, 10**6, 2**32, 2**33):
        numbers = np.random.default_rng(0).integers(0, high, 5_000)
        expected = np.argsort(numbers, kind="stable")
        for kind in (np.int64, np.float64):
            assert (stable_order(numbers.astype(kind)) == expected).all()


@given(logs())
def test_order_leads_back_to_the_rows_of_the_log(log):
    users, items, _ = log
    histories = Histories.build(*log, N_USERS)
    assert sorted(histories.order.tolist()) == list(range(len(users)))
    assert np.array_equal(items[histories.order], histories.items)
    assert np.array_equal(histories.lengths, np.bincount(users, minlength=N_USERS))


@given(logs(), st.lists(st.integers(-1, N_USERS - 1), max_size=8))
def test_flat_is_the_histories_one_after_the_other(log, asked):
    histories = Histories.build(*log, N_USERS)
    positions, items = histories.flat(np.array(asked, dtype=np.int64))
    expected = [(at, item) for at, user in enumerate(asked) if user >= 0 for item in histories[user]]
    assert list(zip(positions.tolist(), items.tolist(), strict=True)) == expected


def test_a_history_is_a_view():
    histories = Histories.build(np.array([0, 0]), np.array([3, 4]), np.array([2, 1]), 1)
    assert histories[0].tolist() == [4, 3]
    assert np.shares_memory(histories[0], histories.items)
    assert histories.items.dtype == np.int32


def test_no_users_and_no_rows():
    none = np.array([], dtype=np.int64)
    histories = Histories.build(none, none, none, 0)
    assert len(histories) == 0
    assert histories.flat(np.array([-1]))[1].size == 0


def test_rows_of_unknown_users_are_refused():
    with pytest.raises(DataError, match="from 0 to 1"):
        Histories.build(np.array([0, -1]), np.array([1, 1]), np.array([1, 1]), 2)
    with pytest.raises(DataError, match="Received rows from 0 to 2"):
        Histories.build(np.array([0, 2]), np.array([1, 1]), np.array([1, 1]), 2)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="Received: 2, 1, 2"):
        Histories.build(np.array([0, 1]), np.array([1]), np.array([1, 1]), 2)


LISTS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8)


@given(LISTS, st.lists(st.integers(-1, 7), max_size=10))
def test_lists_come_back_one_by_one(lists, rows):
    ragged = Ragged.of_lists(lists)
    rows = [row for row in rows if row < len(lists)]
    assert [one.tolist() for one in map(ragged.__getitem__, range(len(ragged)))] == lists
    taken = ragged.take(np.array(rows, dtype=int))
    assert [taken[i].tolist() for i in range(len(taken))] == [
        [] if row < 0 else lists[row] for row in rows
    ]


@given(LISTS, st.integers(0, 7))
def test_the_last_of_each_list_is_its_tail(lists, n):
    tails = Ragged.of_lists(lists).last(n)
    assert [tails[i].tolist() for i in range(len(tails))] == [
        one[len(one) - n :] if n < len(one) else one for one in lists
    ]


@given(LISTS)
def test_owners_and_positions_name_each_value(lists):
    ragged = Ragged.of_lists(lists)
    named = [(i, place) for i, one in enumerate(lists) for place in range(len(one))]
    assert list(zip(ragged.owners().tolist(), ragged.positions().tolist(), strict=True)) == named
    assert positions(ragged.lengths).tolist() == ragged.positions().tolist()


@given(LISTS, st.sampled_from(["left", "right"]), st.none() | st.integers(1, 7))
def test_rows_are_padded_on_one_side_and_keep_the_newest(lists, side, width):
    rows = Ragged.of_lists(lists).padded(side, -1, width)
    cells = max([1, *map(len, lists)]) if width is None else width
    expected = []
    for one in lists:
        kept, gap = one[-cells:], [-1] * (cells - len(one))
        expected.append(kept + gap if side == "right" else gap + kept)
    assert rows.tolist() == expected
    assert rows.shape == (len(lists), cells)


def test_texts_are_padded_with_texts():
    lists = Ragged(np.array(["a", "b", "c"], object), np.array([0, 2, 3]))
    assert lists.padded("right", "").tolist() == [["a", "b"], ["c", ""]]


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4)), max_size=8))
def test_ranges_are_counted_up_one_after_the_other(pairs):
    starts, lengths = np.array(pairs, dtype=int).reshape(-1, 2).T
    expected = [start + i for start, length in pairs for i in range(length)]
    assert ranges(starts, lengths).tolist() == expected
    assert offsets_of(lengths).tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]


def test_lists_may_begin_within_their_values():
    # 0 1 belong to no list: [2], [3, 4].
    lists = Ragged(np.arange(5), np.array([2, 3, 5]))
    assert lists.positions().tolist() == [0, 0, 1]
    assert lists.padded("left", fill=-1).tolist() == [[-1, 2], [3, 4]]
