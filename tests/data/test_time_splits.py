"""Splits at one moment for all users: which events test, and which come before each."""

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.evaluation.helpers import make_log
from tfrecall.core.columns import EVENTS_BEFORE
from tfrecall.data import split_by_time
from tfrecall.data.histories import events_before, slices_of
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError

EVENTS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abc"), st.integers(0, 6).map(float)),
    min_size=2,
    max_size=24,
)


def rows(part: Interactions) -> list[int]:
    return part.log["row"].to_list()


def in_time(events: list, user: str) -> list[int]:
    """Rows of a user's events, the oldest first; events at one time in the order of the file."""
    return sorted((row for row, one in enumerate(events) if one[0] == user), key=lambda r: events[r][2])


def chosen_by_hand(events: list, at: float, test_events: str) -> list[int]:
    found = []
    for user in {one[0] for one in events}:
        own = in_time(events, user)
        later = [row for place, row in enumerate(own) if events[row][2] >= at and place > 0]
        if test_events == "last":
            later = [row for row in later if row == own[-1]]
        found += later
    return sorted(found)


@given(EVENTS, st.integers(1, 6), st.sampled_from(["last", "successive"]))
def test_rows_are_those_of_a_loop_over_the_users(events, at, test_events):
    times = [one[2] for one in events]
    expected = chosen_by_hand(events, at, test_events)
    assume(min(times) < at and expected)
    train, test = split_by_time(make_log(events), at, test_events=test_events)
    assert rows(test) == expected
    assert rows(train) == [row for row, time in enumerate(times) if time < at]
    first = sum(events[own[0]][2] >= at for own in (in_time(events, u) for u in {e[0] for e in events}))
    if test_events == "successive" and first:
        assert (
            f"test: {first} events without an earlier one of their users are no test rows" in test.notes
        )


@given(EVENTS, st.integers(1, 9))
def test_a_share_of_the_events_begins_with_the_event_at_its_quantile(events, tenths):
    times = np.sort([one[2] for one in events])
    # The event with nine tenths of the distances between events before it, or the next one.
    at = times[int(np.ceil((len(times) - 1) * (1 - tenths / 10) - 1e-9))]
    assume(times[0] < at)
    train, test = split_by_time(make_log(events), test_fraction=tenths / 10)
    assert (len(train), len(test)) == ((times < at).sum(), (times >= at).sum())


def test_users_and_items_without_training_rows_are_counted_or_left_out():
    # u and "a" train; v comes later and is asked from her second event on; "c" has no training row.
    log = make_log([("u", "a", 1), ("v", "a", 5), ("v", "c", 6), ("u", "a", 7)])
    test = split_by_time(log, 4, test_events="successive").test
    assert rows(test) == [2, 3]
    assert "test: 1 of 2 test rows are of users not in train" in test.notes
    assert "test: 1 of 2 test rows are of items not in train" in test.notes
    warm = split_by_time(log, 4, known_users=True, test_events="successive").test
    assert rows(warm) == [3]
    assert "test: 1 test rows of users not in train left out" in warm.notes
    assert rows(split_by_time(log, 4, known_items=True, test_events="last").test) == [3]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Or give `test_fraction`"),
        ({"at": 4, "test_fraction": 0.1}, "Received: `at` 4 and `test_fraction` 0.1. Give one of them"),
        ({"test_fraction": 1.0}, "must be above 0 and below 1. Received: 1.0"),
        ({"at": 4, "test_events": "lats"}, "Received: 'lats'. Did you mean \"last\"?"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ConfigError) as refusal:
        split_by_time(make_log([("u", "a", 1), ("u", "b", 5)]), **settings)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("events", "settings", "part"),
    [
        ([("u", "a", 1), ("u", "b", 5)], {"at": 9}, "test"),
        ([("u", "a", 1), ("u", "b", 5)], {"at": 0}, "train"),
        ([("u", "a", 5), ("v", "b", 5)], {"test_fraction": 0.1}, "train"),
        # v has no event before the one after the split, and u none after it.
        ([("u", "a", 1), ("v", "b", 5)], {"at": 4, "test_events": "last"}, "test"),
        ([("u", "a", 1), ("v", "b", 5), ("v", "b", 6)], {"at": 4, "known_users": True}, "test"),
    ],
)
def test_a_part_without_rows_is_refused(events, settings, part):
    with pytest.raises(DataError, match=f"The {part} part has no rows"):
        split_by_time(make_log(events), **settings)


@given(EVENTS, st.data())
def test_histories_end_before_the_event_also_among_equal_times(events, data):
    log = make_log(events)
    some = data.draw(st.lists(st.sampled_from(range(len(events))), unique=True).map(sorted))
    test = log.with_log(log.log[some])
    before = events_before(test, log)
    expected = []
    for row in some:
        # Of equal events the last of the test rows is the last of the log.
        copies = [r for r in range(len(events)) if events[r] == events[row]][::-1]
        copy = copies[[r for r in some[::-1] if events[r] == events[row]].index(row)]
        expected.append(in_time(events, events[row][0]).index(copy))
    assert before.tolist() == expected
    queries = test.log.select("user_id", "timestamp").with_columns(pl.Series(EVENTS_BEFORE, before))
    starts, ends = slices_of(log, queries)
    items = log.items["item_id"]
    for place, row in enumerate(some):
        own = in_time(events, events[row][0])[: expected[place]]
        found = items[log.histories.items[starts[place] : ends[place]].tolist()].to_list()
        assert found == [events[r][1] for r in own]


def test_a_history_without_the_test_rows_is_refused():
    log = make_log([("u", "a", 1), ("u", "b", 5)])
    train, test = split_by_time(log, 4)
    with pytest.raises(DataError, match="a log without 1 of 1 test rows"):
        events_before(test, train)
