"""Split of a log at one moment for all users, with three kinds of test rows."""

from datetime import date, datetime
from typing import Literal

import numpy as np
import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.core.columns import TIMESTAMP
from tfrecall.core.dates import date_text
from tfrecall.data.interactions import Interactions
from tfrecall.data.splits import Split, part_of
from tfrecall.data.timestamps import to_seconds
from tfrecall.errors import ConfigError, DataError, nearest

TestEvents = Literal["all", "last", "successive"]
TEST_EVENTS = ("all", "last", "successive")


def split_by_time(
    data: Interactions,
    at: datetime | date | str | float | None = None,
    known_users: bool = False,
    known_items: bool = False,
    *,
    test_fraction: float | None = None,
    test_events: TestEvents = "all",
) -> Split:
    """Splits a log at a moment: earlier events train, later ones test.

    With `test_events` "last" or "successive", test rows are predicted from all events of their users before
    them, also from those after the moment: pass the whole log as `history` to `tfrecall.evaluate`. Users
    without training rows count, too, from their second event on; events with none before them, by time and
    then by the order of the file, are no test rows, and the notes count them. Rows of items without
    training rows stay, misses for models that know items by their ids alone, and are counted as well.

    Args:
        data: the log.
        at: first moment of the test: a date (midnight), a date-time, an ISO string or seconds since 1970;
            UTC without a time zone.
        known_users: whether to drop test rows whose user has no row in train; the notes count them.
        known_items: whether to drop test rows whose item has no row in train; the notes count them.
        test_fraction: in place of `at`, the share of the latest events that test, above 0 and below 1: the
            test begins with the event at that quantile of all times.
        test_events: "all" events from the moment on, each user's "last" one, or all of them "successive": the
            same rows as "all" but first events.

    Raises:
        ConfigError: if `at` is no moment, or there are both or neither of `at` and `test_fraction`.
        DataError: if a part would be empty.

    Example:

    >>> days = ["2024-01-01", "2024-01-10", "2024-02-01", "2024-02-03"]
    >>> log = pl.DataFrame({"user_id": list("abaa"), "item_id": list("xyyx"), "timestamp": days})
    >>> train, test = split_by_time(Interactions.from_frame(log), at="2024-01-15")
    >>> len(train), len(test)
    (2, 2)
    >>> last = split_by_time(Interactions.from_frame(log), test_fraction=0.5, test_events="last").test
    >>> last.log["item_id"].to_list()
    ['x']

    Reference:
        Gusak et al., "Time to Split: Exploring Data Splitting Strategies for Offline Evaluation of
        Sequential Recommenders", RecSys 2025: the last event of each test user, and successive evaluation.
    """
    seconds = data.log[TIMESTAMP].to_numpy()
    moment = _start_of_test(seconds, at, test_fraction)
    future = seconds >= moment
    latest = f"{date_text(moment)}, where the latest {test_fraction} of the events begin"
    why = f"split at {latest if at is None else at} (timestamp {moment:.0f})"
    train = part_of(data, ~future, "train", why, times=seconds)
    test, note = _chosen(data, future, test_events)
    notes = [why, *note]
    for only_known, rows, size, word in (
        (known_users, data.user_rows, data.users.height, "users"),
        (known_items, data.item_rows, data.items.height, "items"),
    ):
        known = np.zeros(size, dtype=bool)
        known[rows[~future]] = True
        unknown = test & ~known[rows]
        if only_known:
            test = test & ~unknown
            notes.append(f"{unknown.sum():,} test rows of {word} not in train left out")
        elif unknown.any() and test_events != "all":
            notes.append(f"{unknown.sum():,} of {test.sum():,} test rows are of {word} not in train")
    return Split(train, part_of(data, test, "test", *notes, times=seconds))


def _start_of_test(
    seconds: np.ndarray, at: datetime | date | str | float | None, test_fraction: float | None
) -> float:
    if test_fraction is None or at is not None:
        if test_fraction is not None:
            raise ConfigError(
                f"The test begins at a moment or at a share of the events. Received: {argument('at')} {at!r} "
                f"and {argument('test_fraction')} {test_fraction}. Give one of them."
            )
        return _moment(at)
    if not 0 < test_fraction < 1:
        raise ConfigError(
            f"{argument('test_fraction')} must be above 0 and below 1. "
            f"Received: {test_fraction}. 0.1 keeps the first nine tenths for training."
        )
    return latest_from(seconds, test_fraction)


def latest_from(seconds: np.ndarray, fraction: float) -> float:
    """Time of the first event of the latest share of a log; events at the same time are in it, too."""
    # "higher" gives the time of an event: no moment between two events, which notes could not name.
    return float(np.quantile(seconds, 1 - fraction, method="higher"))


def _chosen(
    data: Interactions, future: np.ndarray, test_events: TestEvents
) -> tuple[np.ndarray, list[str]]:
    """Marks the test rows: bool `[n_rows]`, with a note on those that have no event before them."""
    if test_events not in TEST_EVENTS:
        raise ConfigError(
            f"{argument('test_events')} must be one of {list(TEST_EVENTS)}. Received: {test_events!r}."
            f"{nearest(str(test_events), TEST_EVENTS)}"
        )
    if test_events == "all":
        return future, []
    histories = data.histories
    place, after = np.empty(len(data), np.int64), np.empty(len(data), np.int64)
    place[histories.order] = histories.positions()
    after[histories.order] = histories.lengths[histories.owners()] - 1 - histories.positions()
    chosen = future & (after == 0) if test_events == "last" else future
    first = chosen & (place == 0)
    note = f"{first.sum():,} events without an earlier one of their users are no test rows"
    return chosen & ~first, [note] if first.any() else []


def _moment(at: datetime | date | str | float | None) -> float:
    if isinstance(at, bool) or not isinstance(at, date | str | int | float | np.number):
        raise ConfigError(
            f"{argument('at')} must be a date, a date-time, an ISO string or seconds since 1970. "
            f"Received: {at!r}. Or give {argument('test_fraction')}, the share of the latest events."
        )
    try:
        return float(to_seconds(pl.Series(TIMESTAMP, [at]), calendar=False)[0].item())
    except DataError as error:
        raise ConfigError(
            f"{argument('at')} cannot be read as a moment. Received: {at!r}. "
            'Write an ISO date or date-time, such as "2003-01-01".'
        ) from error
