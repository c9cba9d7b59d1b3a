"""An interaction log with its user and item tables, validated."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.ragged import Histories
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data import assembly
from tfrecall.data.fingerprint import fingerprint
from tfrecall.errors import ConfigError


@dataclass(frozen=True)
class Interactions:
    """Who interacted with what, and when.

    Attributes:
        log: one row an event, in file order. `user_id` and `item_id` are `String`, `timestamp` is
            `Float64`, seconds since 1970 in UTC; optional `rating` and `weight` are `Float64`;
            further columns are context of the event.
        users: one row a user, `user_id` first.
        items: one row an item, `item_id` first: the catalogue, in the order of all item arrays.
        name: what tables and reports call this data.
        notes: what was filtered or repaired on the way, in words.
    """

    log: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    name: str = "log"
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        users: Any = None,
        items: Any = None,
        user_id: str = "user_id",
        item_id: str = "item_id",
        timestamp: str = "timestamp",
        rating: str | None = None,
        weight: str | None = None,
        name: str = "log",
        missing_items: str = "refuse",
        unit: str | None = None,
    ) -> "Interactions":
        """Validates a log and its tables; everything that is wrong is refused here, once.

        Tables that are not given are made of the distinct ids in order of first appearance. Users
        of the log that are not in `users` are added without features, and noted.

        Args:
            frame: the log: Polars `DataFrame` or `LazyFrame`, pandas `DataFrame`, pyarrow `Table`.
            users: the user table, of the same kinds; its key is the column `user_id` names.
            items: the item table; its order is the order of the catalogue.
            user_id: the name of that column in the log and in `users`; likewise `item_id`.
            timestamp: the name of the column of times; see `tfrecall.data.timestamps`.
            rating: the name of the column of ratings; without it a column "rating", if there is.
            weight: the name of the column of sample weights, finite and at least 0; without it a
                column "weight", if there is.
            name: what tables and reports call this data.
            missing_items: what to do about items of the log that are not in `items`: "refuse",
                "add" them without features, or "drop" their events. Both are noted and logged.
            unit: "s", "ms", "us" or "ns": the unit of numeric timestamps, if it is not to be
                recognised by magnitude.

        Raises:
            DataError: if the log or a table cannot be used as it is.
            MissingColumnError: if a column is not there.

        >>> log = pl.DataFrame({"who": [7, 8], "what": ["a", "b"], "timestamp": [0, 60]})
        >>> Interactions.from_frame(log, user_id="who", item_id="what").log.rows()
        [('7', 'a', 0.0), ('8', 'b', 60.0)]
        """
        columns = assembly.Columns(user_id, item_id, timestamp, rating, weight)
        tables = assembly.assemble(frame, users, items, columns, missing_items, unit)
        return cls(tables.log, tables.users, tables.items, name, tuple(tables.notes))

    def __len__(self) -> int:
        return self.log.height

    @cached_property
    def user_vocabulary(self) -> Vocabulary:
        return Vocabulary(self.users["user_id"])

    @cached_property
    def item_vocabulary(self) -> Vocabulary:
        return Vocabulary(self.items["item_id"])

    @cached_property
    def user_rows(self) -> np.ndarray:
        """The row in `users` of each event: int32 `[n_rows]`."""
        return self.user_vocabulary.rows(self.log["user_id"])

    @cached_property
    def item_rows(self) -> np.ndarray:
        """The row in `items` of each event: int32 `[n_rows]`."""
        return self.item_vocabulary.rows(self.log["item_id"])

    @cached_property
    def histories(self) -> Histories:
        return Histories.build(
            self.user_rows, self.item_rows, self.log["timestamp"].to_numpy(), self.users.height
        )

    @cached_property
    def event_times(self) -> np.ndarray:
        """The time of each entry of `histories.items`: float64 `[n_rows]`, ascending within a user."""
        return self.log["timestamp"].to_numpy()[self.histories.order]

    @property
    def queries(self) -> pl.DataFrame:
        """The log with the user table's columns joined: what a query tower is asked with."""
        return self.log.join(self.users, on="user_id", how="left", maintain_order="left")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content of log and tables, in hexadecimal; not of the name or notes."""
        return fingerprint(self.log, self.users, self.items)

    def describe(self) -> dict[str, Any]:
        """What a report says about the data; `users` and `items` count the rows of the tables."""
        return {
            "name": self.name,
            "users": self.users.height,
            "items": self.items.height,
            "rows": self.log.height,
            "fingerprint": self.fingerprint,
        }

    def with_log(self, log: pl.DataFrame, *notes: str) -> "Interactions":
        """Other rows of the same log, with the same users and items."""
        return replace(self, log=log, notes=(*self.notes, *notes))


def ratings(log: Interactions, setting: str) -> np.ndarray:
    """The rating of each row of a log: float64 `[n_rows]`, NaN where there is none.

    Args:
        log: the log.
        setting: which one asks for them, for the message.

    Raises:
        ConfigError: if the log has no ratings.
    """
    if "rating" not in log.log.columns:
        raise ConfigError(
            f"`{setting}` chooses events by their rating, but the log has no ratings. Received the columns: "
            f"{', '.join(log.log.columns)}. Name theirs in `data.rating_column`, or leave `{setting}` out."
        )
    return log.log["rating"].to_numpy()
