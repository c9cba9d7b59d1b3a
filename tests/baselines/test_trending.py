"""Popularity of the days before a request."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.helpers import make_log
from tfrecall.baselines.trending import Trending
from tfrecall.errors import ConfigError

DAY = 86_400.0
ITEMS = list("abcd")
EVENTS = st.lists(
    st.tuples(
        st.just("u"), st.sampled_from(ITEMS), st.integers(0, 12).map(lambda half: half * DAY / 2)
    ),
    min_size=1,
    max_size=20,
)


def counted(events, asked, days):
    """Events of each item in the days before a moment, by the definition."""
    end = max(time for _, _, time in events)
    if min(time for _, _, time in events) == end:
        return [sum(item == one for _, item, _ in events) for one in ITEMS]
    until, since = (end + 1, end - days * DAY) if asked > end else (asked, asked - days * DAY)
    return [sum(item == one and since < time < until for _, item, time in events) for one in ITEMS]


@given(
    EVENTS,
    st.lists(st.integers(-1, 16).map(lambda half: half * DAY / 2), min_size=1),
    st.integers(1, 4),
)
def test_counts_are_those_of_the_days_before_each_request_in_any_order(events, asked, days):
    model = Trending([days]).fit(make_log(events, items=ITEMS))
    found = model.scores(pl.DataFrame({"user_id": ["x"] * len(asked), "timestamp": asked}))
    assert found.tolist() == [counted(events, moment, days) for moment in asked]
    assert found.dtype == np.float32


@given(EVENTS)
def test_a_request_without_a_time_is_made_at_the_end_of_the_log(events):
    model = Trending([2]).fit(make_log(events, items=ITEMS))
    expected = [counted(events, np.inf, 2)]
    assert model.scores(pl.DataFrame({"user_id": ["x"]})).tolist() == expected
    nulls = pl.DataFrame({"user_id": ["x"], "timestamp": [None]})
    assert model.scores(nulls).tolist() == expected


def test_the_window_is_that_which_ranks_the_newest_events_best():
    # The item of a day was that of the day before, too; over all days each item is as frequent.
    events = [("u", ITEMS[day // 2 % 4], day * DAY + hour) for day in range(80) for hour in range(5)]
    assert Trending([1, 30]).fit(make_log(events)).window_days == 1
    # The favourite of three months is no favourite of a day, where the last day says nothing.
    random = np.random.default_rng(0)
    steady = [("u", ITEMS[random.choice(4, p=[0.4, 0.3, 0.2, 0.1])], day * DAY) for day in range(300)]
    assert Trending([1, 90]).fit(make_log(steady)).window_days == 90


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match=r"number of days above 0\. Received: 0"):
        Trending([0])
    with pytest.raises(ConfigError, match="needs a number of days"):
        Trending([])
    with pytest.raises(ConfigError, match="has not been fitted"):
        Trending().scores(pl.DataFrame({"user_id": ["u"]}))
