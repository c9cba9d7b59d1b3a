"""What a release knows of users: the features to ask with, and what they have seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrecall.errors import DataError, MissingColumnError, ReleaseError, nearest
from tfrecall.raw import Form, raw_features

Query = str | Mapping[str, Any]


class Asked(NamedTuple):
    """A batch of queries, ready for the query model.

    Attributes:
        features: for each column of the signature an array with one row a query.
        user_ids: for each query its user id, None if it has none.
        users: int `[n]`, the row of each user in the release, -1 for an unknown one.
        defaulted: for each query the columns that were neither given nor known.
    """

    features: dict[str, np.ndarray]
    user_ids: list[str | None]
    users: np.ndarray
    defaulted: list[tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class People:
    """Users as they were at the end of training.

    Attributes:
        forms: the columns that the query model takes and the raw form of each (`tfrecall.raw`).
        defaults: for each column the value that stands for "not known".
        rows: row of each known user id.
        features: for each column the values of the known users: what the user table says, and the
            context of the user's last event.
        seen_offsets, seen_items: item rows that user u has seen:
            `seen_items[seen_offsets[u]:seen_offsets[u + 1]]`.
    """

    forms: dict[str, Form]
    defaults: dict[str, Any]
    rows: dict[str, int]
    features: dict[str, np.ndarray]
    seen_offsets: np.ndarray
    seen_items: np.ndarray

    @classmethod
    def load(cls, directory: Path, forms: dict[str, Form], defaults: dict[str, Any]) -> "People":
        """Reads what `tfrecall.exporting.context` wrote.

        Raises:
            ReleaseError: if a file cannot be read.
        """
        try:
            table = pl.read_parquet(directory / "users.parquet")
            offsets = np.load(directory / "seen_offsets.npy", mmap_mode="r")
            items = np.load(directory / "seen_items.npy", mmap_mode="r")
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise ReleaseError(f"{directory} cannot be read: {error}. Export again.") from error
        rows = {user: row for row, user in enumerate(table["user_id"].to_list())}
        return cls(forms, defaults, rows, raw_features(table, forms), offsets, items)

    def seen(self, user: int) -> np.ndarray:
        """Item rows that a user has seen; none for -1."""
        if user < 0:
            return self.seen_items[:0]
        return self.seen_items[self.seen_offsets[user] : self.seen_offsets[user + 1]]

    def ask(self, queries: Sequence[Query]) -> Asked:
        """Completes queries with what is known of their users.

        Args:
            queries: user ids, or dictionaries with `user_id` and columns of the signature. What a
                dictionary gives takes precedence over what is known.

        Raises:
            DataError: if a query is of another type, or a value does not fit its column.
            MissingColumnError: if a dictionary names a column that the query model does not take.
        """
        given = [self._given(query) for query in queries]
        user_ids = [query.get("user_id") for query in given]
        users = np.array([self.rows.get(user, -1) for user in user_ids], dtype=np.int64)
        features = {column: self._column(column, given, users) for column in self.forms}
        defaulted = [
            tuple(c for c in self.forms if c not in query) if user < 0 else ()
            for query, user in zip(given, users, strict=True)
        ]
        return Asked(features, user_ids, users, defaulted)

    def _given(self, query: Query) -> dict[str, Any]:
        if isinstance(query, str):
            return {"user_id": query}
        if not isinstance(query, Mapping):
            raise DataError(
                "A query is a user id (a string) or a dictionary of features. Received: "
                f"{query!r} of type {type(query).__name__}."
            )
        valid = ["user_id", *self.forms]
        for column in query:
            if column not in valid:
                raise MissingColumnError(
                    f'The query model does not take "{column}".{nearest(str(column), valid)} It takes: '
                    f"{', '.join(dict.fromkeys(valid))}."
                )
        if not isinstance(query.get("user_id", ""), str):
            raise DataError(f"User ids are strings. Received: {query['user_id']!r}.")
        return dict(query)

    def _column(self, column: str, given: list[dict[str, Any]], users: np.ndarray) -> np.ndarray:
        known = self.features[column]
        values = known[users]  # row -1 is replaced below, as is what the query gives
        own = [i for i, query in enumerate(given) if column in query or users[i] < 0]
        if not own:
            return values
        answers = [given[i].get(column, self.defaults[column]) for i in own]
        converted = _convert(column, answers, self.forms[column])
        if values.ndim == 2:
            values, converted = _same_width(values, converted)
        values[own] = converted
        return values


def _convert(column: str, values: list[Any], form: Form) -> np.ndarray:
    types = {"string": pl.String, "strings": pl.List(pl.String), "number": pl.Float64}
    if form == "strings":
        values = [[] if value == "" else value for value in values]
    try:
        series = pl.Series(column, values, dtype=types[form])
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f'The values given for "{column}" do not fit: it takes {form} values. Received: {values!r}.'
        ) from error
    return raw_features(series.to_frame(), {column: form})[column]


def _same_width(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = max(left.shape[1], right.shape[1])
    return tuple(  # type: ignore[return-value]
        np.pad(part, [(0, 0), (0, width - part.shape[1])], constant_values="") for part in (left, right)
    )
