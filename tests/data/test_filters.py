"""Filters leave out what they say, count it, and come to a fixed point."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.data import Interactions
from tfrecall.data.filters import core, filter_log
from tfrecall.errors import ConfigError, DataError


def events(*rows, columns=("user_id", "item_id", "timestamp")):
    frame = pl.DataFrame(rows, schema=[*columns], orient="row")
    return Interactions.from_frame(frame, repeated_rows="keep")


LOG = events(
    ("a", "x", 3, 5.0),
    ("a", "y", 1, 1.0),
    ("a", "x", 2, 4.0),
    ("b", "x", 4, 3.0),
    ("b", "y", 4, 2.0),
    columns=("user_id", "item_id", "timestamp", "rating"),
)


def brute_core(users, items, min_user, min_item):
    """Takes one event at a time, again and again."""
    alive = list(range(len(users)))
    while True:
        weak = [
            i
            for i in alive
            if sum(users[j] == users[i] for j in alive) < min_user
            or sum(items[j] == items[i] for j in alive) < min_item
        ]
        if not weak:
            return alive
        alive.remove(weak[0])


ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


@given(ROWS, st.integers(1, 4), st.integers(1, 4))
def test_the_core_is_that_of_brute_force(rows, min_user, min_item):
    users, items = np.array(rows).T
    alive = core(users, items, min_user, min_item)
    assert np.flatnonzero(alive).tolist() == brute_core(users, items, min_user, min_item)


@pytest.mark.slow
def test_a_long_chain_falls_completely():
    # u0-i0-u1-i1-u2-...: every one has two events but the ends, where the chain burns down.
    n = 5_000
    users, items = np.arange(1, 2 * n) // 2, np.arange(2 * n - 1) // 2
    assert np.bincount(users).max() == np.bincount(items).max() == 2
    assert not core(users, items, 2, 2).any()
    assert core(users, items, 1, 1).all()


@given(ROWS, st.sampled_from(["first", "last"]))
def test_one_event_of_each_pair_is_kept_by_time_and_place(rows, which):
    log = [(f"u{u}", f"i{i}", (u * i + k) % 3) for k, (u, i) in enumerate([(7, 7), (8, 8), *rows])]
    kept = filter_log(events(*log), duplicates=which)
    order = sorted(range(len(log)), key=lambda k: (log[k][2], k), reverse=which == "last")
    wanted = sorted({log[k][:2]: k for k in reversed(order)}.values())
    assert kept.log.rows() == [log[k] for k in wanted]


@given(ROWS, st.integers(1, 5))
def test_users_with_too_many_events_are_left_out_whole(rows, most):
    data = events(*[(f"u{u}", f"i{i}", k) for k, (u, i) in enumerate([(7, 7), (8, 8), *rows])])
    kept = filter_log(data, max_user_interactions=most)
    counts = Counter(data.log["user_id"])
    assert kept.log.rows() == [row for row in data.log.rows() if counts[row[0]] <= most]
    assert kept.users is data.users
    left_out = sum(count > most for count in counts.values())
    if left_out:
        assert f"{left_out} of {len(counts)} users" in kept.notes[-1]


def test_a_maximum_that_leaves_nothing_or_contradicts_the_minimum_is_refused():
    with pytest.raises(DataError, match="Raise max_user_interactions=1"):
        filter_log(LOG, max_user_interactions=1)
    with pytest.raises(ConfigError, match="max_user_interactions"):
        filter_log(LOG, max_user_interactions=2, min_user_interactions=3)


def test_low_ratings_are_left_out_and_counted():
    kept = filter_log(LOG, min_rating=3)
    assert kept.log["rating"].to_list() == [5.0, 4.0, 3.0]
    assert kept.notes[-1] == "min_rating=3 left out 2 of 5 rows, 0 of 2 users, 1 of 2 items"
    assert kept.items is LOG.items  # the catalogue stays: no minimum of events was set


def test_duplicates_are_judged_after_ratings():
    # Of a and x the first by time is row 3, rated 4; at least 5 leaves only row 1, which stays.
    kept = filter_log(LOG, min_rating=5, duplicates="first")
    assert kept.log.rows() == [("a", "x", 3.0, 5.0)]


def test_the_first_and_the_last_are_by_time_not_by_place():
    assert filter_log(LOG, duplicates="first").log["rating"].to_list() == [1.0, 4.0, 3.0, 2.0]
    assert filter_log(LOG, duplicates="last").log["rating"].to_list() == [5.0, 1.0, 3.0, 2.0]
    assert (
        "left out 1 of 5 rows, 0 of 2 users, 0 of 2 items"
        in filter_log(LOG, duplicates="last").notes[-1]
    )


def test_tables_keep_who_has_enough_events():
    data = events(*[(u, i, 0) for u in "ab" for i in "xy"], ("c", "z", 0))
    by_items = filter_log(data, min_item_interactions=2)
    assert by_items.items["item_id"].to_list() == ["x", "y"]
    assert by_items.users["user_id"].to_list() == ["a", "b", "c"]
    assert by_items.notes[-1] == (
        "min_item_interactions=2 left out 1 of 5 rows, 1 of 3 users, 1 of 3 items; "
        "the catalogue keeps the items that are left"
    )
    by_users = filter_log(data, min_user_interactions=2)
    assert by_users.users["user_id"].to_list() == ["a", "b"]
    assert by_users.items["item_id"].to_list() == ["x", "y", "z"]


def test_no_filter_changes_nothing():
    assert filter_log(LOG) is LOG


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"min_rating": 6}, DataError, "No event is left: min_rating=6 left out 5 of 5 rows"),
        ({"min_user_interactions": 9}, DataError, "Lower min_user_interactions=9"),
        (
            {"min_user_interactions": 2, "min_item_interactions": 9},
            DataError,
            "min_user_interactions=2 and min_item_interactions=9 left out 5 of 5 rows",
        ),
        ({"duplicates": "lst"}, ConfigError, 'Did you mean "last"'),
        ({"min_item_interactions": 0}, ConfigError, "at least 1"),
    ],
)
def test_what_leaves_nothing_or_makes_no_sense_is_refused(settings, error, said):
    with pytest.raises(error, match=said):
        filter_log(LOG, **settings)


def test_a_least_rating_wants_ratings():
    with pytest.raises(ConfigError, match="the log has no ratings"):
        filter_log(events(("a", "x", 1), ("b", "y", 2)), min_rating=3)
