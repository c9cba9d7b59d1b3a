"""What a user had before a query, and nothing later."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.data import Interactions, synthetic
from tfrecall.data.histories import as_of
from tfrecall.errors import DataError

USERS = "uvw"
# Few and whole, so that events share their times with each other and with queries.
TIMES = st.integers(0, 5)
EVENT_LISTS = st.lists(st.tuples(st.sampled_from(USERS), TIMES), min_size=1, max_size=40)


def make_log(events):
    """A log of (user, time) whose items are the numbers of the rows in the file: "0", "1", ..."""
    users, times = zip(*events, strict=True)
    items = pl.Series("item_id", [str(row) for row in range(len(events))])
    return Interactions(
        log=pl.DataFrame(
            {"user_id": users, "item_id": items, "timestamp": [float(time) for time in times]}
        ),
        users=pl.DataFrame({"user_id": list(USERS)}),
        items=pl.DataFrame({"item_id": items}),
    )


def items_before(log, users, times):
    times = None if times is None else np.array(times, dtype=np.float64)
    starts, ends = as_of(log, pl.Series(users, dtype=pl.String), times)
    return [log.histories.items[a:b].tolist() for a, b in zip(starts, ends, strict=True)]


EVENTS = [("u", 3), ("v", 1), ("u", 1), ("u", 2), ("v", 2), ("u", 2)]


def test_worked_case():
    # u's rows by time: 2 (at 1), 3 (at 2), 5 (at 2), 0 (at 3); v's: 1 (at 1), 4 (at 2).
    log = make_log(EVENTS)
    found = items_before(log, ["u", "u", "u", "u", "v", "v"], [0, 2, 2.5, 9, 1, 3])
    assert found == [[], [2, 3, 5], [2, 3, 5], [2, 3, 5, 0], [1], [1, 4]]


def test_without_a_time_everything_is_past():
    log = make_log(EVENTS)
    everything = [[1, 4], [2, 3, 5, 0], [], []]
    users = ["v", "u", "w", "stranger"]
    assert items_before(log, users, None) == everything
    assert items_before(log, users, [np.nan] * 4) == everything


@given(
    EVENT_LISTS,
    st.lists(st.tuples(st.sampled_from([*USERS, "stranger"]), TIMES), max_size=10),
)
def test_it_agrees_with_a_loop_over_the_file(events, queries):
    # Python's sort is stable, so equal times keep the order of the file.
    expected = []
    for user, time in queries:
        past = [row for row, event in enumerate(events) if event[0] == user and event[1] <= time]
        expected.append(sorted(past, key=lambda row: events[row][1]))
    users, times = [user for user, _ in queries], [time for _, time in queries]
    assert items_before(make_log(events), users, times) == expected


@given(EVENT_LISTS, st.sampled_from(USERS), TIMES)
def test_what_comes_later_changes_nothing(events, user, time):
    log = make_log(events)
    cut = log.with_log(log.log.filter(pl.col("timestamp") <= time))
    assert items_before(log, [user], [time]) == items_before(cut, [user], None)


def test_event_times_ascend_within_each_user():
    log = synthetic(n_users=20, n_rows=300)
    assert log.event_times.dtype == np.float64
    for start, end in zip(log.histories.offsets[:-1], log.histories.offsets[1:], strict=True):
        assert (np.diff(log.event_times[start:end]) >= 0).all()


def test_slices_are_int64_and_there_may_be_no_queries():
    for times in (None, np.empty(0)):
        starts, ends = as_of(make_log(EVENTS), pl.Series([], dtype=pl.String), times)
        assert starts.dtype == ends.dtype == np.int64
        assert len(starts) == len(ends) == 0


def test_a_log_of_no_rows_has_no_past():
    log = make_log(EVENTS)
    empty = log.with_log(log.log.head(0))
    assert items_before(empty, ["u", "stranger"], [9, 9]) == [[], []]
    assert items_before(empty, ["u"], None) == [[]]


def test_times_and_users_of_different_numbers_are_refused():
    with pytest.raises(DataError, match=r"2 users and timestamps of shape \(3,\)"):
        as_of(make_log(EVENTS), pl.Series(["u", "v"]), np.array([1.0, 2.0, 3.0]))
