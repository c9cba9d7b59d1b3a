"""Lists of different lengths in one flat array: histories of users, values of items, candidates of queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tfrecall.errors import DataError


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Offsets of lists that lie one after the other: int64 `[n + 1]`, from 0 to the sum of the lengths.

    >>> offsets_of(np.array([2, 0, 1])).tolist()
    [0, 2, 2, 3]
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whole numbers counted up from each start, one range after the other: int64 `[sum of lengths]`.

    Args:
        starts: int `[n]`.
        lengths: int `[n]`, 0 or more; the start of an empty range is ignored.

    >>> ranges(np.array([7, 9, 2]), np.array([2, 0, 3])).tolist()
    [7, 8, 2, 3, 4]
    """
    # One long count 0, 1, 2, ..., shifted for each range by its start less the numbers before it: the count
    # 0 1 | 2 3 4 of lengths 2 and 3 becomes 7 8 | 2 3 4 by the shifts 7 - 0 and 2 - 2.
    ends = np.cumsum(lengths, dtype=np.int64)
    shifts = np.repeat(starts - (ends - lengths), lengths)
    return shifts + np.arange(len(shifts))


def positions(lengths: np.ndarray) -> np.ndarray:
    """The place of each value in its list, from 0: int64 `[sum of lengths]`.

    >>> positions(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return ranges(np.zeros(len(lengths), dtype=np.int64), lengths)


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists as slices of one array: list `i` is `values[offsets[i]:offsets[i + 1]]`.

    Attributes:
        values: `[n_values]`, of any dtype; may be memory-mapped.
        offsets: int `[n_lists + 1]`, ascending.

    >>> lists = Ragged.of_lists([[5, 6, 7], [], [8]])
    >>> lists.lengths.tolist(), lists.positions().tolist(), lists.owners().tolist()
    ([3, 0, 1], [0, 1, 2, 0], [0, 0, 0, 2])
    >>> lists.last(2).take(np.array([2, 0, -1])).padded("right", fill=0).tolist()
    [[8, 0], [6, 7], [0, 0]]
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_lists(cls, lists: Sequence[Any], dtype: Any = np.int64) -> "Ragged":
        """Copies lists, or arrays of one axis, into one array of `dtype`."""
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        # The empty array serves the case of no lists at all, which `concatenate` refuses.
        values = np.concatenate([np.empty(0, dtype), *(np.asarray(one, dtype) for one in lists)])
        return Ragged(values, offsets_of(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        """One list, as a view."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of values of each list: int64 `[n_lists]`."""
        return np.diff(self.offsets)

    def owners(self) -> np.ndarray:
        """The list that each value belongs to, ascending: int64 `[n_values]`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def positions(self) -> np.ndarray:
        """The place of each value in its list, from 0: int64 `[n_values]`."""
        return np.arange(self.offsets[0], self.offsets[-1]) - np.repeat(self.offsets[:-1], self.lengths)

    def flat(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of many lists in one array.

        Args:
            rows: int `[n]`, in any order and repeated at will; -1 for an empty list.

        Returns:
            `(positions, values)`, both `[total]`: `values[j]` belongs to `rows[positions[j]]`.
        """
        taken = self.take(rows)
        return taken.owners(), taken.values

    def take(self, rows: np.ndarray) -> "Ragged":
        """Some of the lists, copied.

        Args:
            rows: int `[n]`, in any order and repeated at will; -1 for an empty list.
        """
        # Row -1 reads some other list's offsets, for a length that is then replaced by 0.
        known = np.maximum(rows, 0)
        if not len(self):
            return Ragged(self.values[:0], np.zeros(len(rows) + 1, dtype=np.int64))
        lengths = np.where(rows < 0, 0, self.offsets[known + 1] - self.offsets[known])
        return Ragged(self.values[ranges(self.offsets[known], lengths)], offsets_of(lengths))

    def last(self, n: int) -> "Ragged":
        """The last `n` values of each list, or all of a shorter one, copied."""
        lengths = np.minimum(self.lengths, n)
        # A list ends where the next one begins: its last `lengths` values begin so many before that.
        return Ragged(self.values[ranges(self.offsets[1:] - lengths, lengths)], offsets_of(lengths))

    def padded(self, side: Literal["left", "right"], fill: Any, width: int | None = None) -> np.ndarray:
        """One row a list: `[n_lists, width]`, of the dtype of `values`.

        Args:
            side: the side on which shorter lists are filled up.
            fill: the padding value.
            width: length of a row, which keeps the last `width` values of a longer list; None for the
                longest list, and 1 at least.
        """
        width = max(1, int(self.lengths.max(initial=0))) if width is None else width
        lists = self if self.lengths.max(initial=0) <= width else self.last(width)
        places = np.arange(width)
        lengths = lists.lengths[:, np.newaxis]
        filled = places < lengths if side == "right" else places >= width - lengths
        rows = np.full(filled.shape, fill, dtype=lists.values.dtype)
        # A mask assigns row by row, left to right, which is the order of the flat values.
        rows[filled] = lists.values[lists.offsets[0] : lists.offsets[-1]]
        return rows


@dataclass(frozen=True, eq=False)
class Histories(Ragged):
    """The rows of a log grouped by user and sorted by time.

    A history is a slice, not a copy: user `u` owns `items[offsets[u]:offsets[u + 1]]`.

    Attributes:
        values: int32 `[n_rows]`, item rows, oldest first within a user; events at the same time keep
            the order of the log.
        offsets: int64 `[n_users + 1]`.
        order: int64 `[n_rows]`, the row of the log that each entry comes from.
    """

    order: np.ndarray

    @classmethod
    def build(
        cls, user_rows: np.ndarray, item_rows: np.ndarray, timestamps: np.ndarray, n_users: int
    ) -> "Histories":
        """Sorts a log once by user, time and position in the log.

        Args:
            user_rows: int `[n_rows]`, each in 0..n_users - 1.
            item_rows: int `[n_rows]`.
            timestamps: number `[n_rows]`.
            n_users: number of users, with or without rows.

        Raises:
            DataError: if the arrays differ in length, or if a user row is out of bounds.
        """
        _check(user_rows, item_rows, timestamps, n_users)
        # Stable, so ties keep the order of the log.
        by_time = stable_order(timestamps)
        order = by_time[stable_order(user_rows[by_time])]
        offsets = offsets_of(np.bincount(user_rows, minlength=n_users))
        return cls(item_rows[order].astype(np.int32), offsets, order)

    @property
    def items(self) -> np.ndarray:
        """The item rows of all users: int32 `[n_rows]`."""
        return self.values


def stable_order(numbers: np.ndarray) -> np.ndarray:
    """The result of `np.argsort(numbers, kind="stable")`, in a third of the time for whole numbers.

    NumPy sorts 16 bits by counting, in one pass; seconds and rows are two such passes. Numbers that
    are sorted already, as the times of most logs are, and none at all cost a comparison each.

    Returns:
        int64 `[n]`.
    """
    # NaN is below nothing, so numbers with NaN would pass for sorted.
    if not (numbers[1:] < numbers[:-1]).any() and not np.isnan(numbers).any():
        return np.arange(len(numbers))
    low = numbers.min()
    # Floats, because the difference of two int64 may overflow; and "not below" rather than "at least", so
    # that the NaN of infinite or missing numbers takes the general sort, too.
    span = float(numbers.max()) - float(low)
    if not span < 2**32 or (numbers != np.floor(numbers)).any():
        return np.argsort(numbers, kind="stable")
    digits = (numbers - low).astype(np.uint32)
    # A radix sort with two digits, the low one first: the second pass keeps its order among equals.
    order = np.argsort(digits.astype(np.uint16), kind="stable")
    if span < 2**16:
        return order
    return order[np.argsort((digits[order] >> 16).astype(np.uint16), kind="stable")]


def _check(users: np.ndarray, items: np.ndarray, timestamps: np.ndarray, n_users: int) -> None:
    if not len(users) == len(items) == len(timestamps):
        raise DataError(
            "Users, items and timestamps of a log must be equally many. "
            f"Received: {len(users):,}, {len(items):,}, {len(timestamps):,}."
        )
    if len(users) and (users.min() < 0 or users.max() >= n_users):
        raise DataError(
            f"User rows must be from 0 to {n_users - 1:,}; look unknown users up in the user table "
            f"first. Received rows from {users.min():,} to {users.max():,}."
        )
