"""An interaction log with its user and item tables, validated."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from tfrecall.data.histories import Histories
from tfrecall.data.vocabulary import Vocabulary


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

    @property
    def queries(self) -> pl.DataFrame:
        """The log with the user table's columns joined: what a query tower is asked with."""
        return self.log.join(self.users, on="user_id", how="left", maintain_order="left")

    def with_log(self, log: pl.DataFrame, *notes: str) -> "Interactions":
        """Other rows of the same log, with the same users and items."""
        return replace(self, log=log, notes=(*self.notes, *notes))
