"""Targets: who is foreseen, by each rule, against a loop over the events."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.data import Interactions
from tfrecall.data.targets import choose_targets, keep_probability
from tfrecall.errors import ConfigError, DataError


def log_of(users, items=None, times=None, ratings=None):
    """Each letter of `users` is an event of that user, each of `items` its item, in file order."""
    columns = {
        "user_id": list(users),
        "item_id": list(items) if items else [f"i{k % 2}" for k in range(len(users))],
        "timestamp": list(range(len(users))) if times is None else times,
    }
    if ratings is not None:
        columns["rating"] = ratings
    return Interactions.from_frame(pl.DataFrame(columns))


def rows(log, **rules):
    return choose_targets(log, **rules).rows.tolist()


@st.composite
def logs(draw):
    """Up to 40 events of up to 5 users in any order, with many ties in time."""
    events = st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 6), st.integers(1, 5))
    drawn = [(0, 0, 0, 5), (1, 1, 0, 5), (0, 1, draw(st.integers(0, 6)), 3)]
    drawn += draw(st.lists(events, max_size=37))
    log = pl.DataFrame(drawn, schema=["user_id", "item_id", "timestamp", "rating"], orient="row")
    return Interactions.from_frame(log)


def by_hand(
    log, min_rating, minimum_history, which, suppression_threshold, max_per_user, seed, baskets
):
    """The rules, event by event."""
    events = log.log.select("user_id", "item_id", "timestamp", "rating").rows()
    drawn = np.random.default_rng(seed).random(len(events))
    items = [item for _, item, *_ in events]
    chosen = []
    for user in {user for user, *_ in events}:
        mine = [row for row in range(len(events)) if events[row][0] == user]
        mine.sort(key=lambda row: events[row][2])
        targets = mine[minimum_history:]
        if baskets:
            times = [events[row][2] for row in mine]
            targets = [row for row in mine if sum(t < events[row][2] for t in times) >= minimum_history]
        if min_rating is not None:
            targets = [row for row in targets if events[row][3] >= min_rating]
        if which == "last":
            targets = targets[-1:]
        if suppression_threshold is not None:
            t, f = suppression_threshold, {i: items.count(i) / len(items) for i in items}
            targets = [
                row
                for row in targets
                if drawn[row] < ((f[items[row]] / t) ** 0.5 + 1) * t / f[items[row]]
            ]
        if max_per_user is not None:
            targets = targets[-max_per_user:]
        chosen += targets
    return sorted(chosen)


RULES = {
    "min_rating": st.none() | st.integers(2, 5),
    "minimum_history": st.integers(0, 4),
    "which": st.sampled_from(["all", "last"]),
    "suppression_threshold": st.none() | st.floats(0.001, 1),
    "max_per_user": st.none() | st.integers(1, 5),
    "seed": st.integers(0, 3),
    "baskets": st.booleans(),
}


@given(logs(), st.fixed_dictionaries(RULES))
def test_targets_agree_with_a_loop_over_the_events(log, rules):
    expected = by_hand(log, **rules)
    if not expected:
        with pytest.raises(DataError, match="No target is left"):
            choose_targets(log, **rules)
        return
    targets = choose_targets(log, **rules)
    assert targets.rows.tolist() == expected
    assert targets.rows.dtype == np.int64


@given(logs(), st.fixed_dictionaries(RULES))
def test_the_notes_count_every_event_that_is_no_target(log, rules):
    try:
        targets = choose_targets(log, **rules)
    except DataError:
        return
    left_out = sum(int(note.split()[0].replace(",", "")) for note in targets.notes)
    assert len(targets) + left_out == len(log)


def test_only_events_rated_so_are_targets_and_the_last_is_the_last_of_these():
    log = log_of("aaaabb", ratings=[5, 3, 4, 2, 5, 1])
    # Rated 3 or higher: rows 0, 1, 2 of a and 4 of b; 0 and 4 have nothing before them.
    targets = choose_targets(log, min_rating=3)
    assert targets.rows.tolist() == [1, 2]
    assert targets.notes[0] == "2 events are not rated 3 or higher (min_rating)"
    assert rows(log, min_rating=3, which="last") == [2]
    assert rows(log, min_rating=3, minimum_history=0, which="last") == [2, 4]


def test_an_event_without_a_rating_is_no_target_where_ratings_decide():
    rated = log_of("aaab", ratings=[5, 5, 5, 5])
    log = rated.with_log(rated.log.with_columns(rating=pl.Series([5.0, None, 5.0, 5.0])))
    assert rows(log, min_rating=1) == [2]
    assert rows(log) == [1, 2]


def test_ratings_are_not_asked_of_a_log_without():
    with pytest.raises(
        ConfigError, match=r"`min_rating` needs ratings.*none.*user_id, item_id, timestamp"
    ):
        choose_targets(log_of("aabb"), min_rating=3)


def test_a_users_first_event_is_no_target():
    targets = choose_targets(log_of("abaab"))
    # a has rows 0, 2, 3 and b has rows 1, 4; rows 0 and 1 come first.
    assert targets.rows.tolist() == [2, 3, 4]
    assert targets.notes == (
        "2 events have fewer than minimum_history=1 events of their user before them",
    )


def test_minimum_history_counts_earlier_events():
    log = log_of("aaaabb")
    assert rows(log, minimum_history=2) == [2, 3]
    assert rows(log, minimum_history=3) == [3]


def test_no_minimum_takes_first_events_too():
    targets = choose_targets(log_of("abaab"), minimum_history=0)
    assert targets.rows.tolist() == [0, 1, 2, 3, 4]
    assert targets.notes == ()


def test_last_is_by_time_and_targets_are_in_file_order():
    # By time: a has rows 2, 0, 3 and b has rows 4, 1.
    log = log_of("abaab", times=[5, 9, 1, 7, 8])
    assert rows(log) == [0, 1, 3]
    targets = choose_targets(log, which="last")
    assert targets.rows.tolist() == [1, 3]
    assert targets.notes[1] == '1 events are not their user\'s last (which="last")'


def test_events_at_one_time_come_in_file_order():
    log = log_of("abaab", times=[5] * 5)
    assert rows(log) == [2, 3, 4]
    assert rows(log, which="last") == [3, 4]
    assert rows(log, max_per_user=1) == [3, 4]


def test_a_user_whose_last_event_has_too_short_a_history_has_no_target():
    assert rows(log_of("aaab"), which="last") == [2]


def test_the_cap_keeps_the_most_recent_targets():
    targets = choose_targets(log_of("aaaaabb"), max_per_user=2)
    # a has the targets 1, 2, 3, 4 and keeps 3, 4; b has the target 6.
    assert targets.rows.tolist() == [3, 4, 6]
    note = "2 events come before their user's max_per_user=2 most recent targets"
    assert targets.notes[1] == note


@given(logs(), st.integers(1, 4))
def test_no_user_has_more_targets_than_the_cap(log, cap):
    targets = choose_targets(log, max_per_user=cap)
    counts = log.log[targets.rows]["user_id"].value_counts()["count"]
    assert counts.max() <= cap
    assert counts.sum() == sum(min(n, cap) for n in (log.histories.lengths - 1).clip(0))


def test_the_cap_counts_what_the_thinning_left():
    # a's items are all "x", 100 of 102 events: (sqrt(980) + 1) / 980 = 3.3 % are kept at .001.
    log = log_of("bb" + "a" * 100, items="yy" + "x" * 100)
    kept = rows(log, suppression_threshold=0.001)
    capped = rows(log, suppression_threshold=0.001, max_per_user=2)
    assert capped == [row for row in kept if row > 1][-2:] + [row for row in kept if row == 1]
    assert capped[0] < 98  # not among a's last two events, where a cap of events would stop


def test_the_probability_to_be_kept_by_hand():
    shares = np.array([0.0, 0.0005, 0.001, 0.0026, 0.0027, 0.004, 0.1, 1.0])
    expected = [
        1,  # an item that does not occur
        1,  # (sqrt(.5) + 1) / .5 = 3.41
        1,  # (sqrt(1) + 1) / 1 = 2
        1,  # (1.6125 + 1) / 2.6 = 1.005
        0.979,  # (1.6432 + 1) / 2.7
        0.75,  # (2 + 1) / 4
        0.11,  # (10 + 1) / 100
        0.0326,  # (31.623 + 1) / 1000
    ]
    assert keep_probability(shares, 0.001) == pytest.approx(expected, abs=5e-5)


def test_popular_targets_are_kept_as_often_as_they_should_be():
    # 40,000 events of one user: "x" is .04 of them and kept with (sqrt(40) + 1) / 40 = .1831;
    # the other 9,600 items have 4 events each and are all kept.
    items = np.where(np.arange(40_000) % 25 == 0, -1, np.arange(40_000) % 9_600)
    log = Interactions.from_frame(
        pl.DataFrame({"user_id": ["b"] + ["a"] * 40_000, "item_id": [-1, *items]}),
        timestamp="",
    )
    targets = choose_targets(log, suppression_threshold=0.001)
    chosen = items[targets.rows - 1]
    assert (chosen >= 0).sum() == (items >= 0).sum()
    # Of 1,599 or 1,600 targets: 293, and four deviations of sqrt(1600 * .183 * .817) = 15.5.
    assert abs((chosen == -1).sum() - 293) < 62
    count = 40_000 - len(targets)
    words = "events of popular items were thinned out (suppression_threshold=0.001)"
    assert targets.notes[1] == f"{count - 1:,} {words}"


def test_an_event_is_thinned_out_or_not_whatever_the_other_rules_say():
    log = log_of("ab" * 300)
    thinned = set(rows(log, suppression_threshold=0.01))
    assert 0 < len(thinned) < 400
    long = rows(log, minimum_history=200)
    both = rows(log, minimum_history=200, suppression_threshold=0.01)
    assert both == [row for row in long if row in thinned]


def test_the_thinning_depends_on_the_seed_only():
    log = log_of("ab" * 300)
    first, again, other = (rows(log, suppression_threshold=0.01, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_log_in_which_every_user_has_one_event_is_refused():
    with pytest.raises(DataError) as error:
        choose_targets(log_of("abc"))
    assert "No target is left of 3 events by 3 users: 3 events have fewer than" in str(error.value)
    assert "minimum_history=1" in str(error.value)
    assert rows(log_of("abc"), minimum_history=0) == [0, 1, 2]


def test_the_rules_that_took_every_target_are_named():
    with pytest.raises(DataError, match=r"minimum_history=4.*Loosen these rules"):
        choose_targets(log_of("aaaabbb"), minimum_history=4)
    # The only target has the item "x" with 3 of 4 events: kept with .0378 at a threshold of .001;
    # seed 0 draws .0165 for row 3 and keeps it, seed 1 draws .949.
    log = log_of("abca", items="xyxx")
    assert rows(log, suppression_threshold=0.001, seed=0) == [3]
    with pytest.raises(DataError, match="1 events of popular items were thinned out"):
        choose_targets(log, suppression_threshold=0.001, seed=1)


def test_a_log_without_events_is_refused():
    empty = log_of("ab").with_log(log_of("ab").log.clear())
    with pytest.raises(DataError, match=r"No target is left of 0 events.*the log is empty"):
        choose_targets(empty, suppression_threshold=0.001)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"minimum_history": -1}, "at least 0. Received: -1"),
        ({"which": "lats"}, 'Received: "lats". Did you mean "last"'),
        ({"max_per_user": 0}, "at least 1, or None for no limit. Received: 0"),
        ({"suppression_threshold": 0.0}, "above 0 and at most 1 .* Received: 0.0"),
        ({"suppression_threshold": 1.5}, "Received: 1.5"),
        ({"suppression_threshold": float("nan")}, "Received: nan"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule, message):
    with pytest.raises(ConfigError, match=message):
        choose_targets(log_of("aabb"), **rule)
