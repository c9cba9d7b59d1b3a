"""Histories of queries: stored ones from the end of training, or given ones of a request."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.ragged import Ragged
from tfrecall.core.raw import number_text
from tfrecall.errors import DataError
from tfrecall.release.parts import history_file

# Ordered types only: a set does not say which event is the newest.
_LISTS = (list, tuple, np.ndarray, pl.Series)


@dataclass(frozen=True, eq=False)
class UserHistories:
    """One history of all users at the end of the training data.

    Attributes:
        offsets, items: catalogue rows of the history of user u, oldest first:
            `items[offsets[u]:offsets[u + 1]]`.
        length: number of newest events that the model reads.
        item_ids: object array of `str` `[n_items]`, the catalogue.
    """

    offsets: np.ndarray
    items: np.ndarray
    length: int
    item_ids: np.ndarray

    @classmethod
    def load(
        cls,
        directory: Path,
        name: str,
        length: int,
        item_ids: np.ndarray,
        seen: tuple[np.ndarray, np.ndarray],
    ) -> "UserHistories":
        """Open the files of `save`; without files, the seen items are the history."""
        # A history that leaves out no event equals the seen items, so the export writes it once.
        files = [directory / history_file(name, part) for part in ("offsets", "items")]
        if files[0].exists():
            arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
            seen = np.asarray(arrays[0]), np.asarray(arrays[1])
        return cls(*seen, length, item_ids)

    def save(self, directory: Path, name: str) -> None:
        np.save(directory / history_file(name, "offsets"), self.offsets)
        np.save(directory / history_file(name, "items"), self.items)

    def newest(self) -> "UserHistories":
        """Cut each history to its newest `length` events."""
        lists = Ragged(self.items, self.offsets).last(self.length)
        return replace(self, offsets=lists.offsets, items=lists.values)

    def ids(self, users: np.ndarray) -> np.ndarray:
        """Newest `length` item ids of some users, oldest first.

        Args:
            users: int `[n]`, rows of users; -1 for the empty history.

        Returns:
            Object array of `str` `[n, any]`; "" pads at the end.
        """
        lists = Ragged(self.items, self.offsets).take(users).last(self.length)
        return Ragged(self.item_ids[lists.values], lists.offsets).padded("right", fill="")


@dataclass(frozen=True, eq=False)
class UserContexts(UserHistories):
    """Context of the events of one history of all users, in step with its `UserHistories`.

    Attributes:
        offsets, items: positions in `item_ids` instead of catalogue rows.
        item_ids: object array of `str`, the distinct context values; "" is "not known".
    """

    @classmethod
    def load_beside(cls, directory: Path, name: str, past: UserHistories) -> UserHistories:
        """Open the files of `save`; without files, empty lists for all users."""
        file = directory / history_file(name, "values", "json")
        values = json.loads(file.read_text("utf-8")) if file.exists() else [""]
        # One offset and no items: a ragged array of no users, for which every user is empty.
        nobody = np.zeros(1, np.int64), np.zeros(0, np.int32)
        return cls.load(directory, name, past.length, np.array(values, object), nobody)

    def save(self, directory: Path, name: str) -> None:
        super().save(directory, name)
        values = json.dumps(self.item_ids.tolist(), ensure_ascii=False)
        (directory / history_file(name, "values", "json")).write_text(values, "utf-8")


def checked_ids(name: str, given: Any) -> list[str]:
    """The item ids of a list that a request gives, without padding; None is the empty list.

    Raises:
        DataError: if `given` is not a list, or an id is neither a string nor a whole number.
    """
    if given is None:
        return []
    if not isinstance(given, _LISTS) or getattr(given, "ndim", 1) != 1:
        raise DataError(
            f'"{name}" takes a list of item ids, which are strings, oldest first. Received: {given!r:.200} '
            f"of type {type(given).__name__}."
        )
    ids = []
    for place, item in enumerate(given, start=1):
        text = id_text(item)
        if text is None:
            raise DataError(
                f'"{name}" takes a list of item ids, which are strings, oldest first. Received as number '
                f"{place} of {len(given):,}: {item!r:.200} of type {type(item).__name__}."
            )
        check_text(name, text)
        ids.append(text)
    return [item for item in ids if item]


def id_text(value: Any) -> str | None:
    """An id as the log has it, None for what is no id: JSON may hold 42 for "42".

    >>> id_text("007"), id_text(42), id_text(42.0), id_text(4.5)
    ('007', '42', '42', None)
    """
    if isinstance(value, str):
        return value
    text = number_text(value)
    return text if text is not None and text.lstrip("-").isdecimal() else None


def check_text(column: str, text: str) -> None:
    """Refuse a text that would reach the model as another one.

    Raises:
        DataError: if it ends in NUL, which fixed-width strings drop, or holds a lone surrogate, half a
            character, which UTF-8 cannot write.
    """
    if text.endswith("\0"):
        raise DataError(f'"{column}" cannot end in NUL. Received: {text!r:.200}.')
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise DataError(
            f'"{column}" holds a lone surrogate, which is no text. Received: {text!r:.200}.'
        )


def padded_ids(lists: Sequence[Sequence[str]]) -> np.ndarray:
    """Lists of ids as one object array `[n, any]`; "" pads at the end."""
    return Ragged.of_lists(lists, object).padded("right", fill="")


def same_width(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Padded lists with "" added to the narrower ones; features of one value stay as they are."""
    if left.ndim < 2:
        return left, right
    width = max(left.shape[1], right.shape[1])
    # Vectors are padded only where none is known, by the zeros that stand for that.
    padding = 0.0 if left.dtype.kind == "f" else ""
    return tuple(  # type: ignore[return-value]
        np.pad(part, [(0, 0), (0, width - part.shape[1])], constant_values=padding)
        for part in (left, right)
    )
