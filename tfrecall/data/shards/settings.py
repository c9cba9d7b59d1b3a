"""How a log is read, cleaned and filtered, for the tasks that prepare it."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data import filters
from tfrecall.data.assembly import Columns, check_policy
from tfrecall.data.cleaning import Cleaning
from tfrecall.data.formats.text_types import NULL_VALUES
from tfrecall.data.frames import find_name
from tfrecall.data.timestamps import AS_FOUND, TimeForm
from tfrecall.errors import ConfigError

# Arguments of `tr.data.read` that a log is prepared with, at their defaults.
DEFAULTS: dict[str, Any] = {
    "user_id": "user_id",
    "item_id": "item_id",
    "timestamp": "timestamp",
    "rating": None,
    "weight": None,
    "missing_items": "refuse",
    "unit": None,
    "timestamp_format": None,
    "separator": None,
    "ignore_columns": (),
    "list_separators": {},
    "null_values": NULL_VALUES,
    "repeated_rows": "drop",
    "id_spelling": "as_written",
}


@dataclass(frozen=True)
class Settings:
    """Settings of a preparation; small, so that each task can have them.

    Attributes:
        columns: columns of the log by role, as the files name them.
        times: how times are written, as somebody said.
        cleaning: rules of cleaning.
        ignored: columns to leave out, each with its table: `log.price`.
        list_separators: columns of text that hold lists, and the mark between the values.
        missing_items: treatment of items of the log that the item table lacks.
        filters: arguments of `filter_log`.
    """

    columns: Columns = field(default_factory=Columns)
    times: TimeForm = AS_FOUND
    cleaning: Cleaning = field(default_factory=Cleaning)
    ignored: tuple[str, ...] = ()
    list_separators: Mapping[str, str] = field(default_factory=dict)
    missing_items: str = "refuse"
    filters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any], filtering: Mapping[str, Any]) -> "Settings":
        """The settings of arguments of `tr.data.read` and of `filter_log`.

        Raises:
            ConfigError: if one is invalid.
            TypeError: if there is no such argument, as with a call.
        """
        if unknown := sorted(given.keys() - DEFAULTS.keys()):
            raise TypeError(f"`prepare` takes no argument {', '.join(map(repr, unknown))}.")
        all_of = {**DEFAULTS, **{name: value for name, value in given.items() if value is not None}}
        check_policy(all_of["missing_items"])
        own = {
            name: one.default
            for name, one in inspect.signature(filters.filter_log).parameters.items()
            if name != "data"
        }
        return cls(
            Columns(*(all_of[name] for name in Columns._fields)),
            TimeForm(all_of["unit"], all_of["timestamp_format"]),
            Cleaning(tuple(all_of["null_values"]), all_of["repeated_rows"], all_of["id_spelling"]),
            tuple(all_of["ignore_columns"]),
            dict(all_of["list_separators"]),
            all_of["missing_items"],
            {**own, **filtering},
        )

    @property
    def ignored_of_log(self) -> tuple[str, ...]:
        """Columns of the log to leave out."""
        return tuple(name for name in self.ignored if name.startswith("log."))

    def id_columns(self, frame: pl.DataFrame) -> dict[str, str]:
        """Word of each role of ids -> column of the frame."""
        return {
            "user": find_name(frame.columns, self.columns.user_id),
            "item": find_name(frame.columns, self.columns.item_id),
        }

    def time_column(self, columns: Collection[str]) -> str:
        """Column of times among those as read, which need not be there."""
        return find_name(columns, self.columns.timestamp)

    @property
    def minima(self) -> tuple[int, int]:
        """Least numbers of events of a user and of an item."""
        return self.filters["min_user_interactions"], self.filters["min_item_interactions"]

    @property
    def within_users(self) -> dict[str, Any]:
        """Arguments of `steps_within_users`."""
        names = ("min_rating", "duplicates", "max_user_interactions")
        return {name: self.filters[name] for name in names}


@dataclass(frozen=True)
class Decisions:
    """What was recognised in the whole log.

    Attributes:
        repeats: whether equal rows are one event.
        calendar: whether times as numbers may be dates in digits.
        hints: witnesses for the types and times of columns, as cleaned.
    """

    repeats: bool
    calendar: bool
    hints: pl.DataFrame


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from their defaults, as JSON holds them."""
    kept = {name: _plain(value) for name, value in given.items() if value is not None}
    return {name: value for name, value in kept.items() if value != _plain(DEFAULTS[name])}


def refuse_contradictions(told: Mapping[str, Any], given: Mapping[str, Any], folder: Any) -> None:
    """Refuses settings of reading that are not those that shards were prepared with.

    Args:
        told: settings of the manifest.
        given: arguments of `tr.data.read`; those at their defaults do not count.
        folder: names the shards in the message.

    Raises:
        ConfigError: naming the first that differs.
    """
    for name, value in chosen(given).items():
        # Shards have their columns under these names.
        if name in Columns._fields and value == name:
            continue
        if value != told.get(name, _plain(DEFAULTS[name])):
            raise ConfigError(
                f"{folder} holds shards that were prepared with "
                f"{name}={told.get(name, DEFAULTS[name])!r}. Received: {name}={value!r}. Leave "
                f"{argument(name)} out, or prepare the log again."
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
