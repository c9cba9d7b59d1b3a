"""Interaction log with its user and item tables, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.core.dates import date_text
from tfrecall.core.html import html_facts, html_list, html_table
from tfrecall.core.ragged import Histories
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data import assembly
from tfrecall.data.cleaning import Cleaning
from tfrecall.data.fingerprint import fingerprint
from tfrecall.data.formats.text_types import NULL_VALUES
from tfrecall.data.shards.read import read_shards
from tfrecall.data.timestamps import TimeForm
from tfrecall.errors import ConfigError

# Rows of the log that a notebook shows.
_SHOWN = 5


@dataclass(frozen=True)
class Interactions:
    """Interaction log with its user and item tables.

    Attributes:
        log: one row an event, in file order. `user_id` and `item_id` are `String`, `timestamp` is
            `Float64`, seconds since 1970 in UTC; optional `rating` and `weight` are `Float64`; further
            columns are context of the event.
        users: one row a user, `user_id` first.
        items: one row an item, `item_id` first: the catalogue. Its order is that of all item arrays.
        name: name of the data in tables and reports.
        notes: sentences on everything that was filtered, repaired or recognised.

    Example:

    >>> log = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [0, 60]})
    >>> data = Interactions.from_frame(log, name="shop")
    >>> len(data), data.items["item_id"].to_list()
    (2, ['a', 'b'])
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
        timestamp_format: str | None = None,
        null_values: Sequence[str] = NULL_VALUES,
        repeated_rows: str = "drop",
        id_spelling: str = "as_written",
    ) -> "Interactions":
        """Checks a log and its tables.

        Without a table the distinct ids of the log make it, in order of first appearance. Users of the log
        that `users` lacks are added without features, with a note.

        Args:
            frame: the log: Polars `DataFrame` or `LazyFrame`, pandas `DataFrame`, pyarrow `Table`.
            users: the user table, of the same kinds.
            items: the item table, of the same kinds; its order is the order of the catalogue.
            user_id: name of the user column, in the log and in `users`.
            item_id: name of the item column, in the log and in `items`.
            timestamp: name of the column of times: numbers, dates, date-times or text;
                "" takes the order of the rows as the order of the events.
            rating: name of the column of ratings; None for a column "rating", if there is one.
            weight: name of the column of sample weights, finite and at least 0; None for a column
                "weight", if there is one.
            name: name of the data in tables and reports.
            missing_items: treatment of items of the log that `items` lacks: "refuse", "add" without
                features, or "drop" their events; the last two with a note.
            unit: "s", "ms", "us", "ns" or "d" since 1970, the unit of numeric timestamps; None recognises it
                by magnitude, and dates in digits (20240131), years and days of a spreadsheet.
            timestamp_format: format of times as text or digits, as for Python's `strptime`; None recognises
                ISO 8601 and the forms of spreadsheets, web servers and mail.
            null_values: words that stand for no id, whatever their case. Rows with such an id, a null or a
                blank one are dropped, and blanks around ids removed, with notes. `[]` leaves ids as
                they are and refuses null and blank ones.
            repeated_rows: "drop" keeps one of several rows that are equal in every column, time included, with
                a note: an event that was logged twice. "keep" keeps all.
            id_spelling: "numbers" makes "42" of "00042" and "42.0" in all tables; "as_written" does not.

        Raises:
            DataError: if the log or a table cannot be used as it is.
            MissingColumnError: if a column is missing.
            ConfigError: if a setting is invalid.

        Example:

        >>> log = pl.DataFrame({"who": [7, 8], "what": ["a", "b"], "timestamp": [0, 60]})
        >>> Interactions.from_frame(log, user_id="who", item_id="what").log.rows()
        [('7', 'a', 0.0), ('8', 'b', 60.0)]
        """
        columns = assembly.Columns(user_id, item_id, timestamp, rating, weight)
        times = TimeForm(unit, timestamp_format)
        rules = Cleaning(tuple(null_values), repeated_rows, id_spelling)
        tables = assembly.assemble(frame, users, items, columns, missing_items, times, rules)
        return cls(tables.log, tables.users, tables.items, name, tuple(tables.notes))

    @classmethod
    def from_shards(cls, path: str | Path, partitions: Sequence[int] | None = None) -> "Interactions":
        """Reads a folder that `tfrecall prepare` wrote: rows in the order of the log, tables, name and notes.

        Equal to `tr.data.read` and `filter_log` of the log with the settings of the preparation.

        Args:
            path: the folder.
            partitions: numbers of the shards to read, such as those of one worker; None for all. Tables are
                whole either way, and a shard may have no event.

        Raises:
            DataError: if the folder or one of its files is missing, damaged, altered or foreign.
            ConfigError: if there is no such partition.

        Example:

        >>> import pathlib, tempfile, tfrecall as tr
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "log.csv").write_text("user_id,item_id,timestamp\\n8,b,60\\n7,a,0\\n7,c,30\\n")
        >>> _ = tr.data.prepare(folder / "log.csv", folder / "shards", partitions=2)
        >>> Interactions.from_shards(folder / "shards").log.rows()
        [('8', 'b', 60.0), ('7', 'a', 0.0), ('7', 'c', 30.0)]
        """
        return cls(*read_shards(path, partitions))

    def __len__(self) -> int:
        return self.log.height

    def _repr_html_(self) -> str:
        times = self.log[TIMESTAMP].to_numpy()
        facts = {
            "rows": len(self),
            "users": self.users.height,
            "items": self.items.height,
            "from": date_text(times.min()) if len(times) else None,
            "to": date_text(times.max()) if len(times) else None,
            "columns of the log": ", ".join(self.log.columns),
            "of users": ", ".join(self.users.columns),
            "of items": ", ".join(self.items.columns),
        }
        head = self.log.head(_SHOWN).with_columns(pl.col(TIMESTAMP).map_elements(date_text, pl.String))
        rows = html_table(head.to_dicts(), "First rows")
        return html_facts(self.name, facts) + html_list(self.notes) + rows

    @cached_property
    def user_vocabulary(self) -> Vocabulary:
        """Ids of the user table with their rows."""
        return Vocabulary(self.users[USER])

    @cached_property
    def item_vocabulary(self) -> Vocabulary:
        """Ids of the item table with their rows."""
        return Vocabulary(self.items[ITEM])

    @cached_property
    def user_rows(self) -> np.ndarray:
        """Row in `users` of each event: int32 `[n_rows]`."""
        return self.user_vocabulary.rows(self.log[USER])

    @cached_property
    def item_rows(self) -> np.ndarray:
        """Row in `items` of each event: int32 `[n_rows]`."""
        return self.item_vocabulary.rows(self.log[ITEM])

    @cached_property
    def histories(self) -> Histories:
        """Events of each user, sorted by time; events at the same time keep the order of the log."""
        return Histories.build(
            self.user_rows, self.item_rows, self.log[TIMESTAMP].to_numpy(), self.users.height
        )

    @cached_property
    def event_times(self) -> np.ndarray:
        """Time of each entry of `histories.items`: float64 `[n_rows]`, ascending within a user."""
        return self.log[TIMESTAMP].to_numpy()[self.histories.order]

    @property
    def queries(self) -> pl.DataFrame:
        """Raw queries: the log joined with the user table, in the order of the log."""
        return self.log.join(self.users, on=USER, how="left", maintain_order="left")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of log and tables in hexadecimal; name and notes do not count."""
        return fingerprint(self.log, self.users, self.items)

    def describe(self) -> dict[str, Any]:
        """Facts for reports; `users` and `items` count the rows of the tables."""
        return {
            "name": self.name,
            "users": self.users.height,
            "items": self.items.height,
            "rows": self.log.height,
            "fingerprint": self.fingerprint,
        }

    def with_log(self, log: pl.DataFrame, *notes: str) -> "Interactions":
        """Returns a copy with other rows of the log and further notes, with the same users and items."""
        return replace(self, log=log, notes=(*self.notes, *notes))


def ratings(log: Interactions, setting: str) -> np.ndarray:
    """Ratings of the rows of a log: float64 `[n_rows]`, NaN where there is none.

    Args:
        log: the log.
        setting: the setting that needs them, for the message.

    Raises:
        ConfigError: if the log has no ratings.
    """
    if "rating" not in log.log.columns:
        raise ConfigError(
            f"`{setting}` needs ratings, but the log has none. Received the columns: "
            f"{', '.join(log.log.columns)}. Name theirs in `data.rating_column`, or omit `{setting}`."
        )
    return log.log["rating"].to_numpy()
