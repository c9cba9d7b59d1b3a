"""Users of a release: stored features and histories, from which queries are completed."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrecall.core.columns import REQUEST_TIME, TIMESTAMP
from tfrecall.core.event_context import aligned, checked_context, context_column
from tfrecall.core.raw import EXACT_BELOW, Form, number_text, raw_features
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.errors import DataError, MissingColumnError, ReleaseError, nearest
from tfrecall.release.histories import (
    UserContexts,
    UserHistories,
    check_text,
    checked_ids,
    id_text,
    padded_ids,
    same_width,
)
from tfrecall.release.parts import TIMES

Query = str | Mapping[str, Any]
_NUMBERS = (int, float, np.number, np.bool_)
# File of ids that histories hold and the catalogue no longer has: their rows follow those of the catalogue.
RETIRED = "retired_items.json"
_NO_ITEMS = np.empty(0, dtype=object)


class QueryBatch(NamedTuple):
    """A batch of queries, ready for the query model.

    Attributes:
        features: for each column of the signature an array with one row a query.
        user_ids: for each query its user id, None if it has none.
        users: int `[n]`, row of each user in the release, -1 for an unknown user.
        known: bool `[n]`, whether the user is in the training log.
        defaulted: for each query of a user without events the columns that neither the query nor the user
            table has a value for.
        lists: for each query the given lists of item ids.
    """

    features: dict[str, np.ndarray]
    user_ids: list[str | None]
    users: np.ndarray
    known: np.ndarray
    defaulted: list[tuple[str, ...]]
    lists: list[dict[str, list[str]]]


@dataclass(frozen=True, eq=False)
class UserStore:
    """Users as they were at the end of training; those without events as the user table has them.

    Attributes:
        forms: the columns that the query model takes and the raw form of each (`tfrecall.core.raw`).
        defaults: for each column the value that stands for "not known".
        vocabulary: user ids.
        features: for each column the values of the users, from the user table and the context of the
            user's last event.
        gaps: for each column a mask of the users without a known value.
        seen_offsets, seen_items: catalogue rows that user u has seen:
            `seen_items[seen_offsets[u]:seen_offsets[u + 1]]`.
        histories: history columns of all users, those of their context included.
        item_lists: names of the lists of item ids that a query may give: the histories, and the repeated
            history of a model with `repeats`.
        contexts: history -> names of its context columns, which are among `histories`.
        seen_times: for each of `seen_items` the time of its event in seconds since 1970; None for a release
            from before version 0.7.0 that is no baseline.
        retired: object array of `str`, items of histories that were removed from the catalogue, whose rows they
            continue; the model still knows them, but no list holds them, and seen items neither.
    """

    forms: dict[str, Form]
    defaults: dict[str, Any]
    vocabulary: Vocabulary
    features: dict[str, np.ndarray]
    gaps: dict[str, np.ndarray]
    seen_offsets: np.ndarray
    seen_items: np.ndarray
    histories: dict[str, UserHistories]
    item_lists: tuple[str, ...]
    contexts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seen_times: np.ndarray | None = None
    retired: np.ndarray = field(default_factory=lambda: _NO_ITEMS)

    @classmethod
    def load(
        cls,
        directory: Path,
        forms: dict[str, Form],
        defaults: dict[str, Any],
        lengths: Mapping[str, int] | None = None,
        item_ids: np.ndarray = _NO_ITEMS,
        item_lists: Sequence[str] = (),
        contexts: Mapping[str, Sequence[str]] | None = None,
    ) -> "UserStore":
        """Read the files of `tfrecall.exporting.context.write_context`.

        Args:
            directory: the part `context` of a version.
            forms: columns of the query model and the raw form of each.
            defaults: for each column the value that stands for "not known".
            lengths: history -> number of newest events that the model reads.
            item_ids: the catalogue, if there are histories.
            item_lists: further lists of item ids that a query may give.
            contexts: history -> names of its context columns.

        Raises:
            ReleaseError: if a file cannot be read.
        """
        try:
            table = pl.read_parquet(directory / "users.parquet")
            # Plain arrays over the mapped files: slices of `np.memmap` take ten times as long.
            offsets, items = (
                np.asarray(np.load(directory / name, mmap_mode="r", allow_pickle=False))
                for name in ("seen_offsets.npy", "seen_items.npy")
            )
            _check_lists("seen", offsets, items, len(table), len(item_ids))
            retired = _retired(directory)
            known_ids = np.concatenate([item_ids, retired])
            histories = {
                name: UserHistories.load(directory, name, length, known_ids, (offsets, items))
                for name, length in (lengths or {}).items()
            }
            lists = tuple(dict.fromkeys([*histories, *item_lists]))
            for name, told in _beside(contexts or {}):
                column = context_column(name, told)
                histories[column] = UserContexts.load_beside(directory, column, histories[name])
            for name, past in histories.items():
                if past.offsets is not offsets and len(past.offsets) > 1:
                    _check_lists(name, past.offsets, past.items, len(table), len(past.item_ids))
            known = (offsets, items, histories)
            store = cls.of(table, *known, forms, defaults, lists, contexts or {})
            return replace(store, seen_times=_times(directory, items), retired=retired)
        # DataError is a ValueError, MissingColumnError a KeyError: both are caught, too.
        except (
            EOFError,
            OSError,
            LookupError,
            TypeError,
            ValueError,
            pl.exceptions.PolarsError,
        ) as error:
            raise ReleaseError(
                f"{directory} cannot be read or is foreign: {error}. Export again."
            ) from error

    @classmethod
    def of(
        cls,
        table: pl.DataFrame,
        seen_offsets: np.ndarray,
        seen_items: np.ndarray,
        histories: dict[str, UserHistories],
        forms: dict[str, Form],
        defaults: dict[str, Any],
        item_lists: tuple[str, ...],
        contexts: Mapping[str, Sequence[str]],
    ) -> "UserStore":
        """Build a store from a table with `user_id` and the columns of the forms that are no histories."""
        vocabulary = Vocabulary(table["user_id"])
        own = {column: form for column, form in forms.items() if column not in histories}
        gaps = {column: table[column].is_null().to_numpy() for column in own}
        numbers = [pl.col(c).fill_null(defaults[c]) for c, form in own.items() if form == "number"]
        features = raw_features(table.with_columns(numbers), own)
        known = (vocabulary, features, gaps, seen_offsets, seen_items, histories)
        return cls(forms, defaults, *known, item_lists, contexts)

    def seen(self, user: int) -> np.ndarray:
        """Item rows that a user has seen; none for -1."""
        if user < 0:
            return self.seen_items[:0]
        return self.seen_items[self.seen_offsets[user] : self.seen_offsets[user + 1]]

    def times(self, user: int) -> np.ndarray | None:
        """Times of the events of `seen`, in seconds since 1970; None where none are stored."""
        if self.seen_times is None or user < 0:
            return None if self.seen_times is None else self.seen_times[:0]
        return self.seen_times[self.seen_offsets[user] : self.seen_offsets[user + 1]]

    def build_queries(self, queries: Sequence[Query]) -> QueryBatch:
        """Complete queries with the stored features and histories of their users.

        Args:
            queries: user ids, or dictionaries with `user_id` and columns of the signature. Values of a
                dictionary take precedence over stored ones.

        Raises:
            DataError: if a query is of another type, or a value does not fit its column.
            MissingColumnError: if a dictionary names a column that the query model does not take.
        """
        given = [self._given(query) for query in queries]
        user_ids = [query.get("user_id") for query in given]
        users = self.rows_of(user_ids)
        features = {column: self._column(column, given, users) for column in self.forms}
        # Of an unknown user, row -1, the first comparison drops whatever the others find.
        known = (users >= 0) & (self.seen_offsets[users + 1] > self.seen_offsets[users])
        defaulted = [
            () if is_known else self._missing(query, user)
            for query, user, is_known in zip(given, users, known, strict=True)
        ]
        lists = [{name: query[name] for name in self.item_lists if name in query} for query in given]
        return QueryBatch(features, user_ids, users, known, defaulted, lists)

    def rows_of(self, user_ids: Sequence[str | None]) -> np.ndarray:
        """The row of each user in the release: int64 `[n]`, -1 for one it does not have."""
        rows = (-1 if user is None else self.vocabulary.row(user) for user in user_ids)
        return np.fromiter(rows, np.int64, len(user_ids))

    @property
    def ids(self) -> list[str]:
        """User ids, in the order of the user table."""
        return self.vocabulary.ids.tolist()

    def of_table(self, queries: pl.DataFrame) -> dict[str, np.ndarray]:
        """A table of queries as features.

        Histories missing in the table are those at the end of the training data, whatever the time of a
        row: a release stores no others. Where it lacks the time of the request, that is
        `timestamp`, or else the present.

        Raises:
            MissingColumnError: if it lacks another column.
        """
        queries = aligned(self._whole(queries), self.contexts)
        if REQUEST_TIME in self.forms and REQUEST_TIME not in queries.columns:
            asked = pl.col(TIMESTAMP) if TIMESTAMP in queries.columns else pl.lit(None)
            present = self.defaults[REQUEST_TIME]
            queries = queries.with_columns(
                asked.cast(pl.Float64).fill_null(present).alias(REQUEST_TIME)
            )
        absent = [name for name in self.histories if name not in queries.columns]
        forms = {column: form for column, form in self.forms.items() if column not in absent}
        features = raw_features(queries, forms)
        if absent:
            users = self.rows_of(raw_features(queries, {"user_id": "string"})["user_id"].tolist())
            features.update({name: self.histories[name].ids(users) for name in absent})
        return features

    def _missing(self, query: dict[str, Any], user: int) -> tuple[str, ...]:
        absent = (column for column in self.forms if column not in query)
        # A user without events may still have features in the user table, but never a history.
        return tuple(
            c
            for c in absent
            # The present is no gap.
            if c != REQUEST_TIME and (user < 0 or c in self.histories or self.gaps[c][user])
        )

    def _given(self, query: Query) -> dict[str, Any]:
        if isinstance(query, str):
            check_text("user_id", query)
            return {"user_id": query}
        if not isinstance(query, Mapping):
            raise DataError(
                "A query is a user id (a string) or a dictionary of features. Received: "
                f"{query!r} of type {type(query).__name__}."
            )
        for column in query:
            if column not in self._valid:
                raise MissingColumnError(
                    f'The query model does not take "{column}".{nearest(str(column), self._valid)} It '
                    f"takes: {', '.join(self._valid)}."
                )
        if "user_id" in query:
            user = id_text(query["user_id"])
            if user is None:
                raise DataError(
                    f"User ids are strings or whole numbers. Received: {query['user_id']!r}."
                )
            check_text("user_id", user)
            query = {**query, "user_id": user}
        lists = {name: checked_ids(name, query[name]) for name in self.item_lists if name in query}
        context = self._context(query) if self.contexts else {}
        return {**query, **lists, **context}

    @cached_property
    def _valid(self) -> dict[str, None]:
        """Columns that a query may give, in the order of messages."""
        return dict.fromkeys(["user_id", *self.forms, *self.item_lists])

    def _context(self, query: Mapping[str, Any]) -> dict[str, list[str]]:
        """Context that a query gives for the events of its lists."""
        found = {}
        for history, name in _beside(self.contexts):
            column = context_column(history, name)
            if column in query:
                ids = query.get(history, ())
                ids = [] if ids is None else list(ids)
                known = ids if history in query else None
                found[column] = checked_context(history, name, query[column], known)
        return found

    def _column(self, column: str, given: list[dict[str, Any]], users: np.ndarray) -> np.ndarray:
        if column in self.histories:
            return self._history(column, given, users)
        known = self.features[column]
        own = [i for i, query in enumerate(given) if column in query or users[i] < 0]
        # Row -1 of an unknown user takes the last user's value, which is replaced below, as the given ones
        # are. A release without users has no row to take.
        values = known[users] if len(known) else np.empty((len(users), *known.shape[1:]), known.dtype)
        if not own:
            return values
        # Null means "not known" in texts and lists; in numbers the default stands for it.
        absent = self.defaults[column] if self.forms[column] == "number" else None
        values_given = [given[i].get(column, absent) for i in own]
        if self.forms[column] == "string":
            values_given = [self._digits(column, value) for value in values_given]
        elif self.forms[column] == "strings":
            values_given = [_texts(values) for values in values_given]
        converted = _convert(column, values_given, self.forms[column])
        if self.forms[column] == "vector":
            self._check_length(column, converted)
        values, converted = same_width(values, converted)
        values[own] = converted
        return values

    def _check_length(self, column: str, vectors: np.ndarray) -> None:
        length = len(self.defaults[column])
        if vectors.shape[1] not in (0, length):
            raise DataError(
                f'The vectors given for "{column}" have {vectors.shape[1]} numbers, and the model takes '
                f"{length}. Give those of the model that made the training data, or null."
            )

    def _digits(self, column: str, value: Any) -> Any:
        """A number as the text that the log has: 10001.0, 10001 and "10001" are one category."""
        text = value if isinstance(value, str) else number_text(value)
        return value if text is None else self._decimal.get(column, {}).get(text, text)

    def _whole(self, queries: pl.DataFrame) -> pl.DataFrame:
        """A table of queries with whole floats as integers, in columns that are categories."""
        columns = [
            column.cast(pl.Int64)
            for column in queries.iter_columns()
            if column.dtype.is_float()
            and self.forms.get(column.name) == "string"
            and column.name not in self._decimal
            and bool(((column.floor() == column) & (column.abs() < EXACT_BELOW)).all())
        ]
        return queries.with_columns(columns) if columns else queries

    @cached_property
    def _decimal(self) -> dict[str, dict[str, str]]:
        """Categories written with a decimal point: column -> "10001" -> "10001.0"."""
        found = {}
        for column, form in self.forms.items():
            if form == "string" and column in self.features:
                values = set(self.features[column])
                decimal = (value for value in values if value.endswith(".0"))
                # A text that is a value itself, such as a version "1" beside "1.0", is left alone.
                whole = {value[:-2]: value for value in decimal if value[:-2] not in values}
                if whole:
                    found[column] = whole
        return found

    def _history(self, name: str, given: list[dict[str, Any]], users: np.ndarray) -> np.ndarray:
        # Stored context belongs to the stored events. A query that gives its own events but not their
        # context gets "" for each, never the stored values of other events.
        ids = next((h for h, told in _beside(self.contexts) if context_column(h, told) == name), name)
        own = [i for i, query in enumerate(given) if ids in query]
        values = self.histories[name].ids(users)
        if own:
            lists = [given[i].get(name, [""] * len(given[i][ids])) for i in own]
            values, padded = same_width(values, padded_ids(lists))
            values[own] = padded
        return values


def _check_lists(name: str, offsets: np.ndarray, items: np.ndarray, users: int, values: int) -> None:
    """Refuse offsets that do not cut the items into one list a user, and items outside the catalogue.

    Raises:
        ValueError: naming the list.
    """
    if offsets.ndim != 1 or items.ndim != 1 or {offsets.dtype.kind, items.dtype.kind} != {"i"}:
        raise ValueError(f"the lists of {name} are no flat arrays of whole numbers")
    if len(offsets) != users + 1 or offsets[0] != 0 or offsets[-1] != len(items):
        raise ValueError(f"the lists of {name} are not those of {users} users")
    if (np.diff(offsets) < 0).any():
        raise ValueError(f"the lists of {name} end before they begin")
    if values and len(items) and not 0 <= items.min() <= items.max() < values:
        raise ValueError(f"the lists of {name} hold rows beyond the {values} there are")


def _retired(directory: Path) -> np.ndarray:
    """Ids of removed items that histories hold; none in most releases."""
    if not (directory / RETIRED).exists():
        return _NO_ITEMS
    ids = json.loads((directory / RETIRED).read_text("utf-8"))
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise ValueError(f"{RETIRED} holds no list of ids")
    return np.array(ids, dtype=object)


def _times(directory: Path, items: np.ndarray) -> np.ndarray | None:
    """Times of the seen items; None in a release without."""
    if not (directory / TIMES).exists():
        return None
    times = np.load(directory / TIMES, mmap_mode="r", allow_pickle=False)
    if times.shape != items.shape or times.dtype.kind != "f":
        raise ValueError(f"{TIMES} holds times of other events")
    return times


def _beside(contexts: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Pairs of history and context column."""
    return [(history, name) for history, names in contexts.items() for name in names]


def _texts(values: Any) -> Any:
    """A list of numbers as texts, whole ones without `.0`; other values are left to be checked."""
    texts = [number_text(value) for value in values] if isinstance(values, list | tuple) else [None]
    return values if None in texts else texts


def _convert(column: str, values: list[Any], form: Form) -> np.ndarray:
    """Convert given values like a column of the training table: whole numbers and dates become text."""
    for value in values:
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                check_text(column, text)
    if form == "string" and all(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)  # the usual case, without a table
    try:
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            raise ValueError("NaN and infinity are no values")
        if form == "number" and not all(isinstance(value, _NUMBERS) for value in values):
            raise TypeError("numbers are wanted")
        dtype = pl.Float64 if form == "number" else None
        series = pl.Series(column, values, dtype=dtype)
        return raw_features(series.to_frame(), {column: form})[column]
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        wanted = {
            "string": "text",
            "strings": "lists of texts",
            "number": "finite numbers",
            "vector": "lists of numbers, equally long",
        }[form]
        raise DataError(
            f'The values given for "{column}" do not fit: it takes {wanted}, all of one type. '
            f"Received: {', '.join(map(repr, values[:5]))}{', ...' if len(values) > 5 else ''}."
        ) from error
