"""Splits of a log into training and test rows: nothing lost, nothing invented."""

from datetime import date, datetime
from typing import Literal, NamedTuple, overload

import numpy as np
import polars as pl

from tfrecall.data.interactions import Interactions, ratings
from tfrecall.data.timestamps import to_seconds
from tfrecall.errors import ConfigError, DataError


class Split(NamedTuple):
    """Two parts of a log, each in file order, with the same user and item tables."""

    train: Interactions
    test: Interactions


class ValidatedSplit(NamedTuple):
    """Three parts of a log, each in file order, with the same user and item tables."""

    train: Interactions
    validation: Interactions
    test: Interactions


class UserSplit(NamedTuple):
    """Parts of a log, each in file order, with the same user and item tables.

    Attributes:
        train: all events of the users who are trained on.
        known: these, and what the other users had before their test rows: histories, seen items.
        test: one event of each other user.
    """

    train: Interactions
    known: Interactions
    test: Interactions


def split_random(data: Interactions, test_fraction: float = 0.2, seed: int = 42) -> Split:
    """Gives a random part of the rows to the test.

    Args:
        test_fraction: the share of test rows, between 0 and 1; rounded to whole rows.
        seed: equal seeds give equal splits of logs of equal length.

    Raises:
        ConfigError: if the fraction is not between 0 and 1.
        DataError: if one of the parts would be empty.
    """
    if not 0 < test_fraction < 1:
        raise ConfigError(
            "`test_fraction` must be between 0 and 1, both left out. "
            f"Received: {test_fraction}. 0.2 keeps four fifths for training."
        )
    n_test = round(len(data) * test_fraction)
    chosen = np.zeros(len(data), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(data))[:n_test]] = True
    return Split(
        _part(data, ~chosen, "train", f"random split, seed {seed}"),
        _part(data, chosen, "test", f"random split, seed {seed}"),
    )


def split_folds(data: Interactions, folds: int = 5, seed: int = 42) -> list[Split]:
    """Cuts a log at random into parts of one size, and tests on each of them once.

    The i-th split tests on the i-th part and trains on all others. Each row is a test row of exactly one
    split, and the parts differ by at most one row. Where they do not differ, the first split is that of
    `split_random` with the fraction `1 / folds` and the same seed.

    Args:
        folds: how many parts: from 2 to the number of rows.
        seed: equal seeds give equal parts of logs of equal length.

    Raises:
        ConfigError: if there cannot be so many parts.
    """
    if not 2 <= folds <= len(data):
        raise ConfigError(
            f"`folds` must be from 2 to the {len(data):,} rows of the log, so that each fold has rows to "
            f"train on and rows to test by. Received: {folds}. 5 is usual."
        )
    rows = np.random.default_rng(seed).permutation(len(data))
    found = []
    for i, chosen in enumerate(np.array_split(rows, folds)):
        test = np.zeros(len(data), dtype=bool)
        test[chosen] = True
        why = f"fold {i + 1} of {folds}, seed {seed}"
        found.append(Split(_part(data, ~test, "train", why), _part(data, test, "test", why)))
    return found


@overload
def split_leave_last_out(data: Interactions, validation: Literal[True] = True) -> ValidatedSplit: ...
@overload
def split_leave_last_out(data: Interactions, validation: Literal[False]) -> Split: ...
def split_leave_last_out(data: Interactions, validation: bool = True) -> Split | ValidatedSplit:
    """Gives each user's last event to the test and the last but one to the validation.

    Last is by time; events at the same time keep the order of the file. Who has a single event
    stays in train, because there is no history to predict it from. Who has two gives the second to
    the test and none to the validation, so that train keeps at least one event of every user. Both
    are counted in the notes.

    Raises:
        DataError: if one of the parts would be empty.
    """
    histories = data.histories
    from_end = np.empty(len(data), dtype=np.int64)
    ends = np.repeat(histories.offsets[1:], histories.lengths)
    from_end[histories.order] = ends - np.arange(len(data))  # 1 is a user's last event
    lengths = histories.lengths[data.user_rows]
    test = (from_end == 1) & (lengths > 1)
    single, two = int((histories.lengths == 1).sum()), int((histories.lengths == 2).sum())
    if not test.any():
        raise DataError(
            f"No user of the log has two events ({single:,} users with one), so no last one can be left "
            'out to test by. Split by time (split.method="by_time", split.at) or at random '
            '(split.method="random"), or look whether the user column is the right one.'
        )
    kept = f"{single:,} users with a single event are in train only"
    if not validation:
        why = "leave-last-out split"
        return Split(_part(data, ~test, "train", why, kept), _part(data, test, "test", why, kept))
    why = "leave-last-out split with validation"
    second = f"{two:,} users with two events have none in the validation"
    held = (from_end == 2) & (lengths > 2)
    return ValidatedSplit(
        _part(data, ~test & ~held, "train", why, kept, second),
        _part(data, held, "validation", why, kept, second),
        _part(data, test, "test", why, kept, second),
    )


def split_by_time(
    data: Interactions,
    at: datetime | date | str | float,
    known_users: bool = False,
    known_items: bool = False,
) -> Split:
    """Trains on what happened before a moment and tests on what happened from then on.

    Args:
        at: the first moment of the test: a date (midnight), a date-time, an ISO string or seconds
            since 1970; UTC where no zone is given.
        known_users: leave test rows out whose user has no row in train.
        known_items: leave test rows out whose item has no row in train.

    What the two options leave out is counted in the notes of the test.

    Raises:
        DataError: if one of the parts would be empty.
    """
    moment = _moment(at)
    seconds = data.log["timestamp"].to_numpy()
    future = seconds >= moment
    why = f"split at {at} (timestamp {moment:.0f})"
    train = _part(data, ~future, "train", why, times=seconds)
    test, notes = future, [why]
    for wanted, rows, size, word in (
        (known_users, data.user_rows, data.users.height, "users"),
        (known_items, data.item_rows, data.items.height, "items"),
    ):
        if wanted:
            known = np.zeros(size, dtype=bool)
            known[rows[~future]] = True
            left_out = test & ~known[rows]
            test = test & ~left_out
            notes.append(f"{left_out.sum():,} test rows of {word} not in train left out")
    return Split(train, _part(data, test, "test", *notes, times=seconds))


def split_by_user(
    data: Interactions, train_users: int, target_min_rating: float | None = None
) -> UserSplit:
    """Trains on some users, and tests on one event of each of the others.

    Of every other user the last event that has one before it is a test row; last is by time, and events
    at the same time keep the order of the file. Those before it are known, but not for training. Those
    after it, which a `target_min_rating` leaves, are in no part. Who has no such event is in no test,
    and all of the user's events are known. Both are counted in the notes.

    Args:
        train_users: the first so many users of the user table are trained on.
        target_min_rating: only events rated so or higher are test rows.

    Raises:
        ConfigError: if there are not so many users and at least one more, or ratings are asked of a log
            that has none.
        DataError: if one of the parts would be empty.
    """
    if not 1 <= train_users < data.users.height:
        raise ConfigError(
            "`train_users` must leave users to train on and users to test on: 1 to "
            f"{data.users.height - 1:,} of {data.users.height:,}. Received: {train_users}."
        )
    histories, users = data.histories, data.user_rows
    place = np.empty(len(data), dtype=np.int64)  # of each event among its user's
    place[histories.order] = histories.positions()
    train = users < train_users
    possible = ~train & (place > 0)
    if target_min_rating is not None:
        possible &= ratings(data, "target_min_rating") >= target_min_rating
    last = np.full(data.users.height, -1)
    np.maximum.at(last, users[possible], place[possible])
    test = ~train & (place == last[users])
    after = ~train & (last[users] >= 0) & (place > last[users])
    untested = np.unique(users[~train & (last[users] < 0)])
    notes = [f"split by users, of whom the first {train_users:,} train"]
    if len(untested):
        notes.append(f"{len(untested):,} other users have no event to test by and are known only")
    if after.any():
        notes.append(f"{after.sum():,} events after their users' test rows left out")
    return UserSplit(
        _part(data, train, "train", *notes),
        _part(data, ~test & ~after, "known", *notes),
        _part(data, test, "test", *notes),
    )


def _moment(at: datetime | date | str | float) -> float:
    if isinstance(at, bool) or not isinstance(at, date | str | int | float | np.number):
        raise ConfigError(
            f"`at` must be a date, a date-time, an ISO string or seconds since 1970. Received: {at!r}."
        )
    try:
        return float(to_seconds(pl.Series("timestamp", [at]))[0].item())
    except DataError as error:
        raise ConfigError(
            f"`at` cannot be read as a moment. Received: {at!r}. "
            'Write an ISO date or date-time, such as "2003-01-01".'
        ) from error


def _part(
    data: Interactions, mask: np.ndarray, part: str, *notes: str, times: np.ndarray | None = None
) -> Interactions:
    """The rows of one part, refused if there are none."""
    if not mask.any():
        span = "" if times is None else f", which spans {_day(times.min())} to {_day(times.max())}"
        raise DataError(
            f"The {part} part has no rows: {'; '.join(notes)}; {len(data):,} rows in the log{span}."
            " Choose another split, or use a log with more events."
        )
    return data.with_log(data.log.filter(pl.Series(mask)), *(f"{part}: {note}" for note in notes))


def _day(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s"))
