"""Splits lose nothing, invent nothing and let no future into the past."""

from datetime import date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall.data import (
    Interactions,
    split_by_time,
    split_by_user,
    split_folds,
    split_leave_last_out,
    split_new_items,
    split_random,
)
from tfrecall.errors import ConfigError, DataError


@st.composite
def logs(draw, min_size=4):
    """Up to 40 events of up to 6 users in any order, with many ties in time.

    `row` is the place in the file; the first two rows make sure of two users and two items.
    """
    events = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 6))
    rows = [(0, 0, draw(st.integers(0, 6))), (1, 1, draw(st.integers(0, 6)))]
    rows += draw(st.lists(events, min_size=min_size - 2, max_size=38))
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return Interactions.from_frame(log.with_row_index("row"))


def rows(part):
    return part.log["row"].to_list()


def assert_partition(data, *parts):
    """Each row of the log is in exactly one part, unchanged, and each part is in file order."""
    together = pl.concat([part.log for part in parts])
    assert together.sort("row").equals(data.log)
    assert all(rows(part) == sorted(rows(part)) for part in parts)
    assert all(part.items is data.items and part.users is data.users for part in parts)


@given(logs(), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_random_split_is_a_partition(data, fraction, seed):
    assume(0 < round(len(data) * fraction) < len(data))
    train, test = split_random(data, fraction, seed)
    assert_partition(data, train, test)
    assert len(test) == round(len(data) * fraction)


@given(logs(min_size=6), st.integers(2, 6), st.integers(0, 5))
def test_each_row_is_tested_on_in_one_fold(data, folds, seed):
    found = split_folds(data, folds, seed)
    assert len(found) == folds
    assert_partition(data, *(fold.test for fold in found))
    for train, test in found:
        assert_partition(data, train, test)
        # 8 rows in 3 folds are 3, 3 and 2.
        assert len(test) in (len(data) // folds, -(-len(data) // folds))


def test_the_first_fold_is_the_random_split_of_the_same_share():
    data = simple("abcdefghij" * 2)  # 20 rows
    (train, test), *_ = split_folds(data, 5, seed=3)
    again = split_random(data, 1 / 5, seed=3)
    assert rows(test) == rows(again.test)
    assert rows(train) == rows(again.train)
    assert "fold 1 of 5" in test.notes[-1]


@pytest.mark.parametrize("folds", [1, 0, -2, 21])
def test_so_many_folds_cannot_be_made(folds):
    with pytest.raises(ConfigError, match=f"from 2 to the 20 rows.*Received: {folds}"):
        split_folds(simple("ab" * 10), folds)


@given(logs(min_size=6), st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_split_of_new_items_leaves_no_event_of_them_in_train(data, fraction, seed):
    items = data.log["item_id"].n_unique()
    assume(0 < round(items * fraction) < items)
    train, test = split_new_items(data, fraction, seed)
    assert_partition(data, train, test)
    known, new = set(train.log["item_id"]), set(test.log["item_id"])
    assert not known & new
    assert len(new) == round(items * fraction)
    assert f"{len(new)} of {items} items are new" in test.notes[-1]
    assert rows(split_new_items(data, fraction, seed).test) == rows(test)


def test_items_without_events_are_not_among_the_new_ones():
    log = pl.DataFrame({"user_id": [*"aabb"], "item_id": [*"xyxy"], "timestamp": range(4)})
    items = pl.DataFrame({"item_id": [*"pqrstxy"]})
    train, test = split_new_items(Interactions.from_frame(log, items=items), 0.5)
    assert len(train) == len(test) == 2


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 0.1, 0.9, float("nan")])
def test_a_share_that_leaves_no_item_on_one_side_is_refused(fraction):
    log = pl.DataFrame({"user_id": [*"aabb"], "item_id": [*"xyxy"], "timestamp": range(4)})
    with pytest.raises(
        ConfigError, match=r"`test_fraction` must leave items .* the 2 items with events"
    ):
        split_new_items(Interactions.from_frame(log), fraction)


def simple(users, times=None):
    """Each user's events at the given times, items in turn."""
    n = len(users)
    times = list(range(n)) if times is None else times
    log = {"user_id": list(users), "item_id": [f"i{k % 3}" for k in range(n)], "timestamp": times}
    return Interactions.from_frame(pl.DataFrame(log).with_row_index("row"))


def test_a_random_split_depends_on_the_seed_only():
    data = simple("ab" * 50)
    assert rows(split_random(data, seed=1).test) == rows(split_random(data, seed=1).test)
    assert rows(split_random(data, seed=1).test) != rows(split_random(data, seed=2).test)


def test_a_random_split_reaches_every_part_of_the_file():
    test = split_random(simple("ab" * 500), 0.5).test
    # 500 of 1,000 rows: a fifth of the file holds 100 of them, +-45 is five deviations.
    counts = [sum(low <= row < low + 200 for row in rows(test)) for low in range(0, 1000, 200)]
    assert all(55 < count < 145 for count in counts)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_fractions_outside_0_and_1_are_refused(fraction):
    with pytest.raises(ConfigError, match=f"Received: {fraction}"):
        split_random(simple("abab"), fraction)


@pytest.mark.parametrize(("fraction", "part"), [(0.01, "test"), (0.99, "train")])
def test_a_split_that_leaves_a_part_empty_is_refused(fraction, part):
    with pytest.raises(DataError, match=f"The {part} part has no rows"):
        split_random(simple("abab"), fraction)


def leave_out_by_hand(data, validation):
    """Row numbers of train, validation and test by a sort user by user."""
    users, times = data.log["user_id"].to_list(), data.log["timestamp"].to_list()
    train, held, test = [], [], []
    for user in set(users):
        mine = sorted((k for k in range(len(users)) if users[k] == user), key=lambda k: times[k])
        test += mine[-1:] if len(mine) > 1 else []
        held += mine[-2:-1] if validation and len(mine) > 2 else []
        train += [k for k in mine if k not in test and k not in held]
    return sorted(train), sorted(held), sorted(test)


@given(logs())
def test_leave_last_out_agrees_with_a_sort_user_by_user(data):
    expected = leave_out_by_hand(data, validation=True)
    assume(expected[1] and expected[2])
    parts = split_leave_last_out(data)
    assert_partition(data, *parts)
    assert tuple(rows(part) for part in parts) == expected


@pytest.mark.slow
@given(logs())
def test_leave_last_out_without_validation(data):
    train, _, test = leave_out_by_hand(data, validation=False)
    assume(test)
    parts = split_leave_last_out(data, validation=False)
    assert_partition(data, *parts)
    assert (rows(parts.train), rows(parts.test)) == (train, test)


@pytest.mark.slow
@given(logs())
def test_leave_last_out_lets_no_future_into_the_past(data):
    expected = leave_out_by_hand(data, validation=True)
    assume(expected[1] and expected[2])
    train, validation, test = split_leave_last_out(data)
    for earlier, later in [(train, validation), (train, test), (validation, test)]:
        pairs = earlier.log.join(later.log, on="user_id", suffix="_later")
        moment, moment_later = pl.struct("timestamp", "row"), pl.struct("timestamp_later", "row_later")
        before = [
            tuple(pair["past"].values()) < tuple(pair["future"].values())
            for pair in pairs.select(past=moment, future=moment_later).to_dicts()
        ]
        assert all(before)


@pytest.mark.slow
@examples(15)
@given(logs())
def test_baskets_are_kept_whole(data):
    # By hand: the distinct times of each user, the last of them tests, the one before validates.
    times = {}
    for user, _, time, *_ in data.log.select("user_id", "item_id", "timestamp").rows():
        times.setdefault(user, set()).add(time)
    assume(any(len(own) > 1 for own in times.values()) and any(len(own) > 2 for own in times.values()))

    def part(user, time):
        place = sorted(times[user], reverse=True).index(time)
        if place == 0 and len(times[user]) > 1:
            return "test"
        return "validation" if place == 1 and len(times[user]) > 2 else "train"

    wanted = {"train": [], "validation": [], "test": []}
    for row, user, time in data.log.select("row", "user_id", "timestamp").rows():
        wanted[part(user, time)].append(row)
    split = split_leave_last_out(data, baskets=True)
    assert_partition(data, *split)
    assert [rows(one) for one in split] == [*wanted.values()]
    without = split_leave_last_out(data, validation=False, baskets=True)
    assert [rows(one) for one in without] == [
        sorted(wanted["train"] + wanted["validation"]),
        wanted["test"],
    ]


def test_users_with_one_basket_are_counted():
    log = pl.DataFrame({"user_id": list("aabb"), "item_id": list("xyxy"), "timestamp": [1, 1, 1, 2]})
    train, test = split_leave_last_out(Interactions.from_frame(log), validation=False, baskets=True)
    assert "1 users with a single basket are in train only" in test.notes[-1]
    assert (len(train), len(test)) == (3, 1)
    with pytest.raises(DataError, match="No user of the log has two baskets"):
        split_leave_last_out(Interactions.from_frame(log[:2].vstack(log[2:3])), baskets=True)


@given(logs())
def test_every_user_keeps_an_event_in_train(data):
    expected = leave_out_by_hand(data, validation=True)
    assume(expected[1] and expected[2])
    train = split_leave_last_out(data).train
    assert set(train.log["user_id"]) == set(data.log["user_id"])


def test_ties_in_time_are_broken_by_file_order():
    train, validation, test = split_leave_last_out(simple("aabaab", times=[5] * 6))
    # a has rows 0, 1, 3, 4; b has rows 2 and 5 and so none in the validation.
    assert (rows(train), rows(validation), rows(test)) == ([0, 1, 2], [3], [4, 5])


def test_users_with_one_or_two_events_are_counted():
    train, validation, test = split_leave_last_out(simple("aaabbc"))
    assert (rows(train), rows(validation), rows(test)) == ([0, 3, 5], [1], [2, 4])
    assert any("1 users with a single event are in train only" in note for note in test.notes)
    assert any("1 users with two events have none" in note for note in validation.notes)
    assert not any("users with" in note for note in split_leave_last_out(simple("aaabbb")).test.notes)


def test_leave_last_out_of_single_events_is_refused():
    with pytest.raises(DataError, match=r"No user of the log has two events \(3 users have one\)"):
        split_leave_last_out(simple("abc"), validation=False)


def test_a_validation_without_rows_is_refused():
    with pytest.raises(DataError, match=r"The validation part has no rows"):
        split_leave_last_out(simple("aabb"))


@given(logs(), st.integers(1, 6))
def test_a_split_by_time_is_a_partition_with_the_future_in_the_test(data, at):
    times = data.log["timestamp"]
    assume(times.min() < at <= times.max())
    train, test = split_by_time(data, at)
    assert_partition(data, train, test)
    assert train.log["timestamp"].max() < at <= test.log["timestamp"].min()


@pytest.mark.slow
@given(logs(), st.integers(1, 6), st.booleans(), st.booleans())
def test_known_only_options_leave_out_just_what_they_say_and_count_it(data, at, users, items):
    times = data.log["timestamp"]
    assume(times.min() < at <= times.max())
    train, everything = split_by_time(data, at)
    expected, left_out = [], 0
    for event in everything.log.to_dicts():
        known_user = event["user_id"] in set(train.log["user_id"])
        known_item = event["item_id"] in set(train.log["item_id"])
        if (users and not known_user) or (items and not known_item):
            left_out += 1
        else:
            expected.append(event["row"])
    assume(expected)
    test = split_by_time(data, at, known_users=users, known_items=items).test
    assert rows(test) == expected
    counts = [int(note.split()[1]) for note in test.notes if "left out" in note]
    assert sum(counts) == left_out


def by_user_by_hand(data, train_users, least):
    """Row numbers of train, known and test, how many rows are in none, and how many users in no test."""
    events = data.log.select("user_id", "timestamp", "item_id").rows()
    train, known, test, left_out, untested = [], [], [], 0, 0
    for place, user in enumerate(data.users["user_id"]):
        mine = [row for row in range(len(events)) if events[row][0] == user]
        mine.sort(key=lambda row: events[row][1])
        if place < train_users:
            train += mine
            known += mine
            continue
        possible = [k for k in range(1, len(mine)) if least is None or int(events[mine[k]][2]) >= least]
        if possible:
            test.append(mine[possible[-1]])
            known += mine[: possible[-1]]
            left_out += len(mine) - possible[-1] - 1
        else:
            known += mine
            untested += bool(mine)
    return sorted(train), sorted(known), sorted(test), left_out, untested


@pytest.mark.slow
@given(logs(), st.integers(1, 4), st.none() | st.integers(1, 5))
def test_a_split_by_user_agrees_with_a_loop_over_the_users(data, train_users, least):
    assume(train_users < data.users.height)
    data = data.with_log(data.log.with_columns(rating=pl.col("item_id").cast(pl.Float64)))
    train, known, test, left_out, untested = by_user_by_hand(data, train_users, least)
    assume(train and test)
    parts = split_by_user(data, train_users, least)
    assert tuple(map(rows, parts)) == (train, known, test)
    for count, words in [(left_out, "events after their"), (untested, "other users have no event")]:
        noted = [int(note.split()[1]) for note in parts.test.notes if words in note]
        assert noted == [count] * bool(count)


@pytest.mark.slow
@given(logs(), st.integers(1, 4), st.none() | st.integers(1, 5))
def test_a_split_by_user_knows_nothing_of_what_comes_after_a_test_row(data, train_users, least):
    assume(train_users < data.users.height)
    data = data.with_log(data.log.with_columns(rating=pl.col("item_id").cast(pl.Float64)))
    assume(by_user_by_hand(data, train_users, least)[2])
    train, known, test = split_by_user(data, train_users, least)
    pairs = known.log.join(test.log, on="user_id", suffix="_test")
    past, future = pl.struct("timestamp", "row"), pl.struct("timestamp_test", "row_test")
    for pair in pairs.select(past=past, future=future).to_dicts():
        assert tuple(pair["past"].values()) < tuple(pair["future"].values())
    assert not set(train.log["user_id"]) & set(test.log["user_id"])


def test_a_split_by_user_by_hand():
    # Users in the order of the table: a, b, c, d. Two train; of c and d the last event is tested by.
    train, known, test = split_by_user(simple("abcabccdd"), 2)
    assert (rows(train), rows(known), rows(test)) == ([0, 1, 3, 4], [0, 1, 2, 3, 4, 5, 7], [6, 8])


def test_the_test_row_of_a_user_is_the_last_that_was_liked():
    data = simple("aabbbbccd")
    data = data.with_log(data.log.with_columns(rating=pl.Series([1.0, 1, 5, 4, 5, 2, 5, 2, 5])))
    train, known, test = split_by_user(data, 1, target_min_rating=3)
    # b was last content with row 4, and row 5 came after; c and d liked their first event only.
    assert (rows(train), rows(known), rows(test)) == ([0, 1], [0, 1, 2, 3, 6, 7, 8], [4])
    assert "test: 1 events after their users' test rows left out" in test.notes
    assert "test: 2 other users have no event to test by and are known only" in test.notes


@pytest.mark.parametrize("train_users", [0, 3, 4])
def test_a_split_by_user_needs_users_on_both_sides(train_users):
    with pytest.raises(ConfigError, match=f"1 to 2 of 3. Received: {train_users}"):
        split_by_user(simple("aabbcc"), train_users)


def test_a_split_by_user_does_not_ask_a_log_without_ratings():
    with pytest.raises(ConfigError, match=r"`target_min_rating` needs ratings, but the log has none"):
        split_by_user(simple("aabb"), 1, target_min_rating=3)


def test_a_split_by_user_without_a_test_row_is_refused():
    with pytest.raises(DataError, match=r"The test part has no rows: .*1 other users have no event"):
        split_by_user(simple("aab"), 1)


DAY = 86_400


@pytest.mark.parametrize(
    "at",
    [
        date(1970, 1, 3),
        datetime(1970, 1, 3),
        datetime(1970, 1, 3, tzinfo=timezone.utc),
        datetime(1970, 1, 3, 2, tzinfo=timezone(timedelta(hours=2))),
        "1970-01-03",
        "1970-01-03T00:00:00Z",
        2 * DAY,
        2.0 * DAY,
    ],
)
def test_the_moment_can_be_written_in_many_ways(at):
    data = simple("abab", times=[0, 2 * DAY - 1, 2 * DAY, 3 * DAY])
    train, test = split_by_time(data, at)
    assert (rows(train), rows(test)) == ([0, 1], [2, 3])


@pytest.mark.parametrize("at", ["next week", None, True, float("nan"), [1]])
def test_what_is_no_moment_is_refused(at):
    with pytest.raises(ConfigError, match="Received"):
        split_by_time(simple("abab"), at)


@pytest.mark.parametrize(("at", "part"), [("1960-01-01", "train"), ("2030-01-01", "test")])
def test_a_moment_outside_the_log_is_refused_with_the_span(at, part):
    data = simple("abab", times=[0, DAY, DAY, 2 * DAY])
    with pytest.raises(DataError, match=f"The {part} part has no rows.*1970-01-01.*1970-01-03"):
        split_by_time(data, at)


@pytest.mark.slow
def test_movielens_1m_split_at_2003(movielens_folder):
    from tfrecall.data import movielens

    if not (movielens_folder / "ml-1m").exists():
        pytest.skip("MovieLens 1M is not here.")
    train, test = split_by_time(movielens("1m", movielens_folder), "2003-01-01")
    # The figures of the published DSSM comparison.
    assert (len(train), len(test), test.log["user_id"].n_unique()) == (996_861, 3_348, 178)
