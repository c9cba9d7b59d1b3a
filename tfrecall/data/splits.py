"""Splits of a log into training, validation and test rows."""

from typing import Literal, NamedTuple, overload

import numpy as np
import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data.histories import basket_starts
from tfrecall.data.interactions import Interactions, ratings
from tfrecall.errors import ConfigError, DataError


class Split(NamedTuple):
    """Two parts of a log, each in file order, with the same user and item tables.

    Attributes:
        train: rows to train on.
        test: rows to evaluate on.
    """

    train: Interactions
    test: Interactions


class ValidatedSplit(NamedTuple):
    """Three parts of a log, each in file order, with the same user and item tables.

    Attributes:
        train: rows to train on.
        validation: rows to choose settings and epochs by.
        test: rows to evaluate on.
    """

    train: Interactions
    validation: Interactions
    test: Interactions


class UserSplit(NamedTuple):
    """Parts of a log, each in file order, with the same user and item tables.

    Attributes:
        train: all events of the training users.
        known: `train`, and the events of the other users before their test rows: histories and seen items.
        test: one event of each other user.
    """

    train: Interactions
    known: Interactions
    test: Interactions


def split_random(data: Interactions, test_fraction: float = 0.2, seed: int = 42) -> Split:
    """Splits a log at random.

    Args:
        data: the log.
        test_fraction: share of test rows, above 0 and below 1; rounded to whole rows.
        seed: equal seeds give equal splits of logs of equal length.

    Raises:
        ConfigError: if the fraction is out of range.
        DataError: if a part would be empty.

    Example:

    >>> from tfrecall.data import synthetic
    >>> train, test = split_random(synthetic(n_rows=1000), test_fraction=0.2)
    >>> len(train), len(test)
    (800, 200)
    """
    if not 0 < test_fraction < 1:
        raise ConfigError(
            f"{argument('test_fraction')} must be above 0 and below 1. "
            f"Received: {test_fraction}. 0.2 keeps four fifths for training."
        )
    n_test = round(len(data) * test_fraction)
    chosen = np.zeros(len(data), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(data))[:n_test]] = True
    return Split(
        part_of(data, ~chosen, "train", f"random split, seed {seed}"),
        part_of(data, chosen, "test", f"random split, seed {seed}"),
    )


def split_folds(data: Interactions, folds: int = 5, seed: int = 42) -> list[Split]:
    """Splits a log into random folds for cross-validation.

    The i-th split tests on the i-th fold and trains on all others. Each row is a test row of exactly one
    split, and folds differ by at most one row. If they are equal, the first split is that of `split_random`
    with the fraction `1 / folds` and the same seed.

    Args:
        data: the log.
        folds: number of folds, from 2 to the number of rows.
        seed: equal seeds give equal folds of logs of equal length.

    Raises:
        ConfigError: if there cannot be so many folds.

    Example:

    >>> from tfrecall.data import synthetic
    >>> [len(test) for train, test in split_folds(synthetic(n_rows=1000), folds=4)]
    [250, 250, 250, 250]
    """
    if not 2 <= folds <= len(data):
        raise ConfigError(
            f"`folds` must be from 2 to the {len(data):,} rows of the log. Received: {folds}. 5 is usual."
        )
    rows = np.random.default_rng(seed).permutation(len(data))
    splits = []
    # Sizes differ by one row at most, and each row is a test row once.
    for i, chosen in enumerate(np.array_split(rows, folds)):
        test = np.zeros(len(data), dtype=bool)
        test[chosen] = True
        why = f"fold {i + 1} of {folds}, seed {seed}"
        splits.append(Split(part_of(data, ~test, "train", why), part_of(data, test, "test", why)))
    return splits


@overload
def split_leave_last_out(
    data: Interactions, validation: Literal[True] = True, baskets: bool = False
) -> ValidatedSplit: ...
@overload
def split_leave_last_out(
    data: Interactions, validation: Literal[False], baskets: bool = False
) -> Split: ...
def split_leave_last_out(
    data: Interactions, validation: bool = True, baskets: bool = False
) -> Split | ValidatedSplit:
    """Splits off each user's last event for the test and the last but one for validation (leave-one-out).

    Last is by time; events at the same time keep the order of the file. The event of a user with a single
    one stays in train, because there is no history to predict it from. A user with two has a test row and
    no validation row, so that train keeps an event of every user. The notes count both, where there are any.

    Args:
        data: the log.
        validation: whether to split off validation rows.
        baskets: whether events of a user at one time stay together, as one purchase of several items: then
            the last basket is the test and the last but one validation, with a row for each item.

    Returns:
        `ValidatedSplit`, or `Split` without validation.

    Raises:
        DataError: if a part would be empty.

    Example:

    >>> log = pl.DataFrame(
    ...     {"user_id": list("aaabb"), "item_id": list("xyzxy"), "timestamp": [1, 2, 3, 1, 2]}
    ... )
    >>> train, validation, test = split_leave_last_out(Interactions.from_frame(log))
    >>> train.log["item_id"].to_list(), validation.log["item_id"].to_list(), test.log["item_id"].to_list()
    (['x', 'x'], ['y'], ['z', 'y'])
    """
    from_end, visits = _visits_from_end(data, baskets)
    lengths = visits[data.user_rows]
    test = (from_end == 1) & (lengths > 1)
    word = "basket" if baskets else "event"
    single, two = int((visits == 1).sum()), int((visits == 2).sum())
    if not test.any():
        raise DataError(
            f"No user of the log has two {word}s ({single:,} users have one), so none can be left out for the "
            'test. Split by time (split.method="by_time", split.at) or at random '
            '(split.method="random"), or check that the user column is the right one.'
        )
    notes = ["leave-last-out split with validation" if validation else "leave-last-out split"]
    if single:
        notes.append(f"{single:,} users with a single {word} are in train only")
    if not validation:
        return Split(part_of(data, ~test, "train", *notes), part_of(data, test, "test", *notes))
    if two:
        notes.append(f"{two:,} users with two {word}s have none in the validation")
    held = (from_end == 2) & (lengths > 2)
    return ValidatedSplit(
        part_of(data, ~test & ~held, "train", *notes),
        part_of(data, held, "validation", *notes),
        part_of(data, test, "test", *notes),
    )


def _visits_from_end(data: Interactions, baskets: bool) -> tuple[np.ndarray, np.ndarray]:
    """Place of each event from the end of its user's history, and the number of visits of each user.

    Args:
        data: the log.
        baskets: whether all events of a user at one time are one visit; else each event is one.

    Returns:
        int64 `[n_rows]`, 1 for the last visit, in the order of the log, and int64 `[n_users]`.
    """
    histories = data.histories
    places = np.arange(len(data))
    starts = (basket_starts(data) if baskets else places) == places
    # Visits up to each offset, so that differences are counts even for users without events.
    before = np.concatenate([[0], np.cumsum(starts)])
    visits = np.diff(before[histories.offsets])
    from_end = np.empty(len(data), dtype=np.int64)
    ends = np.repeat(before[histories.offsets[1:]], histories.lengths)
    from_end[histories.order] = ends - before[1:] + 1
    return from_end, visits


def split_by_user(
    data: Interactions, train_users: int, target_min_rating: float | None = None
) -> UserSplit:
    """Splits a log by users: some train, and one event of each other user tests.

    The test row of a user is the last event with an earlier one; last is by time, and events at the same
    time keep the order of the file. Earlier events are known (history, seen items) but not trained on. Later
    events, which `target_min_rating` can leave, are in no part. A user without a test row has all events
    known. The notes count both.

    Args:
        data: the log.
        train_users: number of training users, the first of the user table.
        target_min_rating: least rating of a test row; None for any.

    Raises:
        ConfigError: if no user would train or none test, or ratings are needed that the log does not have.
        DataError: if a part would be empty.

    Example:

    >>> log = pl.DataFrame(
    ...     {"user_id": list("aabb"), "item_id": list("xyxy"), "timestamp": [1, 2, 3, 4]}
    ... )
    >>> train, known, test = split_by_user(Interactions.from_frame(log), train_users=1)
    >>> len(train), len(known), len(test)
    (2, 3, 1)
    """
    if not 1 <= train_users < data.users.height:
        raise ConfigError(
            f"{argument('train_users')} must leave users to train on and users to test on: 1 to "
            f"{data.users.height - 1:,} of {data.users.height:,}. Received: {train_users}."
        )
    histories, users = data.histories, data.user_rows
    # Position of each event in its user's history, 0 for the first, brought back to the order of the log.
    place = np.empty(len(data), dtype=np.int64)
    place[histories.order] = histories.positions()
    train = users < train_users
    possible = ~train & (place > 0)
    if target_min_rating is not None:
        possible &= ratings(data, "target_min_rating") >= target_min_rating
    # The position of each user's test row, -1 without one.
    last = np.full(data.users.height, -1)
    np.maximum.at(last, users[possible], place[possible])
    test = ~train & (place == last[users])
    after = ~train & (last[users] >= 0) & (place > last[users])
    untested = np.unique(users[~train & (last[users] < 0)])
    notes = [f"split by users, the first {train_users:,} train"]
    if len(untested):
        notes.append(f"{len(untested):,} other users have no event to test by and are known only")
    if after.any():
        notes.append(f"{after.sum():,} events after their users' test rows left out")
    return UserSplit(
        part_of(data, train, "train", *notes),
        part_of(data, ~test & ~after, "known", *notes),
        part_of(data, test, "test", *notes),
    )


def split_new_items(data: Interactions, test_fraction: float = 0.2, seed: int = 42) -> Split:
    """Splits a log by items: all events of some items test, so that no target has an event in train.

    What a model knows of a test item is its features. Queries have the histories of the other items.

    Args:
        data: the log.
        test_fraction: share of the items with events that test, above 0 and below 1; rounded to whole items.
        seed: equal seeds give equal items of equal item tables.

    Raises:
        ConfigError: if the fraction is out of range, or all items or none would test.

    Example:

    >>> from tfrecall.data import synthetic
    >>> train, test = split_new_items(synthetic(n_items=10, n_rows=1000), test_fraction=0.2)
    >>> train.log["item_id"].n_unique(), test.log["item_id"].n_unique()
    (8, 2)
    """
    items = np.unique(data.item_rows)
    count = round(len(items) * test_fraction) if 0 < test_fraction < 1 else 0
    if not 0 < count < len(items):
        raise ConfigError(
            f"{argument('test_fraction')} must leave items to train on and items to test on: it is a share of "
            f"the {len(items):,} items with events. Received: {test_fraction}."
        )
    chosen = np.random.default_rng(seed).permutation(items)[:count]
    test = np.isin(data.item_rows, chosen)
    why = f"{count:,} of {len(items):,} items are new in the test, seed {seed}"
    return Split(part_of(data, ~test, "train", why), part_of(data, test, "test", why))


def part_of(
    data: Interactions, mask: np.ndarray, part: str, *notes: str, times: np.ndarray | None = None
) -> Interactions:
    """Takes the rows of one part; none are refused."""
    if not mask.any():
        span = "" if times is None else f", which spans {_day(times.min())} to {_day(times.max())}"
        raise DataError(
            f"The {part} part has no rows: {'; '.join(notes)}; {len(data):,} rows in the log{span}."
            " Choose another split, or use a log with more events."
        )
    return data.with_log(data.log.filter(pl.Series(mask)), *(f"{part}: {note}" for note in notes))


def _day(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s"))
