"""What a log says of its events, row by row."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.data import Interactions
from tfrecall.data.context_columns import EventContext
from tfrecall.errors import ConfigError, DataError, MissingColumnError

DAY = 86400
# Names and the seconds from which they hold, written down once more.
BOUNDS = {"seconds": 0, "minutes": 60, "hours": 3600, "days": DAY, "weeks": 7 * DAY, "months": 30 * DAY}


def log_of(rows: list[tuple[int, int]], **columns) -> Interactions:
    """A log of (user, time), and two users more, as a log needs them."""
    rows = [*rows, (8, 0), (9, 0)]
    frame = {
        "user_id": [f"u{user}" for user, _ in rows],
        "item_id": [f"i{place % 3}" for place in range(len(rows))],
        "timestamp": [time for _, time in rows],
        **columns,
    }
    return Interactions.from_frame(pl.DataFrame(frame))


def gaps(log: Interactions) -> list[str]:
    return EventContext.of(log, "gap").series.to_list()


def expected_gaps(log: Interactions) -> list[str]:
    """By a loop over the events in the order of their times."""
    last: dict[str, float] = {}
    found = {}
    for row in log.log.with_row_index("row").sort("timestamp", "row").rows(named=True):
        since = row["timestamp"] - last.get(row["user_id"], float("nan"))
        names = [name for name, least in BOUNDS.items() if since >= least]
        found[row["row"]] = names[-1] if names else "start"
        last[row["user_id"]] = row["timestamp"]
    return [found[row] for row in range(len(log))]


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 59, 60, 4000, DAY, 9 * DAY, 99 * DAY])),
    max_size=30,
)


def test_a_gap_is_the_time_since_the_event_before_of_the_same_user():
    # u0 at 30, 0, 90 and again 90; u1 at 50.
    log = log_of([(0, 30), (0, 0), (1, 50), (0, 90), (0, 90)])
    assert gaps(log)[:5] == ["seconds", "start", "start", "minutes", "seconds"]


@pytest.mark.slow
@given(EVENTS)
def test_gaps_are_what_a_loop_finds(rows):
    assert gaps(log_of(rows)) == expected_gaps(log_of(rows))


@pytest.mark.slow
@given(EVENTS, st.sampled_from([0, 59, 4000, 9 * DAY]))
def test_what_comes_later_changes_no_gap(rows, end):
    log = log_of(rows)
    early = log.with_log(log.log.filter(pl.col("timestamp") <= end))
    kept = (log.log["timestamp"] <= end).to_list()
    assert gaps(early) == [name for name, is_kept in zip(gaps(log), kept, strict=True) if is_kept]


def test_users_without_events_have_no_gap():
    log = log_of([(0, 5), (0, 5)])
    users = pl.concat([pl.DataFrame({"user_id": ["idle"]}), log.users.select("user_id")])
    with_idle = Interactions(log.log, users, log.items)
    assert gaps(with_idle) == gaps(log)


def test_a_column_gives_its_texts_in_the_order_of_the_log():
    log = log_of([(0, 9), (1, 3)], rating=[4.0, 3.5, 4.0, 5.0], device=["web", None, "", "app"])
    rating, device = (EventContext.of(log, name) for name in ("rating", "device"))
    assert rating.series.to_list() == ["4", "3.5", "4", "5"]
    assert rating.values.tolist() == ["4", "3.5", "5"]
    assert device.series.to_list() == ["web", "", "", "app"]


def test_a_column_that_is_not_there_is_refused_with_the_nearest():
    log = log_of([], ratings=[1, 2])
    with pytest.raises(MissingColumnError, match=r'context "rating".*Did you mean "ratings"'):
        EventContext.of(log, "rating")


def test_a_log_with_a_column_called_gap_is_refused():
    with pytest.raises(ConfigError, match=r'"gap".*Rename the column'):
        EventContext.of(log_of([], gap=[1, 2]), "gap")


def test_lists_are_no_context():
    with pytest.raises(DataError, match="takes one value an event"):
        EventContext.of(log_of([], tags=[["a"], []]), "tags")
