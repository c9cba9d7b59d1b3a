"""Statistics of a log and its tables before training."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.ragged import Ragged, offsets_of
from tfrecall.data.assembly import FILE_ORDER
from tfrecall.data.cleaning import Cleaning
from tfrecall.data.formats.text_types import NULL_VALUES
from tfrecall.data.inspection.advice import advise
from tfrecall.data.inspection.columns import words_of
from tfrecall.data.inspection.conflicts import (
    Conflicts,
    find_conflicts,
    missing_items_policy,
    refusals,
)
from tfrecall.data.inspection.description import Description
from tfrecall.data.inspection.order import is_sorted, order_lift
from tfrecall.data.inspection.order_loss import order_loss
from tfrecall.data.inspection.profiles import concentration, profiles, spread
from tfrecall.data.inspection.raw_tables import RawTables, open_tables
from tfrecall.data.time_doubts import doubts
from tfrecall.data.timestamps import TimeForm, to_seconds
from tfrecall.errors import DataError

# Words in names of columns that count how often something was done.
_COUNTS = """
count counts plays play playcount listens listencount views viewcount quantity qty units times visits
clicks purchases frequency freq hits
"""
COUNT_WORDS = frozenset(_COUNTS.split())


def describe(
    log: Any,
    users: Any = None,
    items: Any = None,
    *,
    user_id: str | None = None,
    item_id: str | None = None,
    timestamp: str | None = None,
    rating: str | None = None,
    weight: str | None = None,
    separator: str | None = None,
    unit: str | None = None,
    timestamp_format: str | None = None,
    null_values: Sequence[str] = NULL_VALUES,
    repeated_rows: str = "drop",
    id_spelling: str = "as_written",
) -> Description:
    """Computes statistics of a log and its tables, with advice.

    The log is cleaned as `tr.data.read` cleans it; `cleaned` says what was dropped. Data that a run would
    refuse are described as far as possible; `refused` lists the reasons.

    Args:
        log: a path, a frame, an `Interactions`, or a folder with MovieLens in GroupLens' format.
        users: the user table: a path or a frame.
        items: the item table: a path or a frame.
        user_id, item_id, timestamp, rating, weight: names of columns; None guesses the first four from
            names and content, and `guessed` says how.
        separator: the mark between columns of text files; None recognises it.
        unit, timestamp_format: how times are written, as for `tr.data.from_frame`; None recognises it.
        null_values, repeated_rows, id_spelling: as for `tr.data.read`.

    Raises:
        DataError: if a file cannot be read, a column cannot be guessed, or no row has both ids.

    Example:

    >>> log = pl.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "x"], "time": [0, 60, 120]})
    >>> description = describe(log)
    >>> description.users, description.items, description.density
    (2, 2, 0.75)
    >>> description.advice[1]
    "Split: leave_last_out, each user's last event is the test; 50% of the users have one event and are \
only trained on."
    """
    given = {
        "user_id": user_id,
        "item_id": item_id,
        "timestamp": timestamp,
        "rating": rating,
        "weight": weight,
    }
    rules = Cleaning(tuple(null_values), repeated_rows, id_spelling)
    return describe_tables(
        open_tables(log, users, items, given, separator, rules, TimeForm(unit, timestamp_format))
    )


def describe_tables(raw: RawTables, conflicts: Conflicts | None = None) -> Description:
    """Computes statistics of tables that were read already; None finds their conflicts."""
    conflicts = conflicts or find_conflicts(raw)
    events = _events(raw)
    if not events.height:
        cleaned = "".join(f" {text}." for text in raw.cleaned)
        raise DataError(
            f"The log has no row with a user and an item ({raw.rows:,} rows in all, columns: "
            f"{', '.join(raw.log.columns)}). Give a log with events.{cleaned}"
        )
    users = _users(events)
    lengths = users["events"].to_numpy()
    popularity = events["item"].value_counts()["count"].to_numpy()
    pairs = events.select(pl.struct("user", "item").n_unique()).item()
    missing = {table: _missing(raw, events, table) for table in _keyed_tables(raw)}
    policy = missing_items_policy(missing.get("items", {"events": 0})["events"] / events.height)
    description = Description(
        name=raw.name,
        columns=raw.columns,
        guessed=(*raw.guessed, *_doubts(raw), *conflicts.messages),
        cleaned=(
            *raw.cleaned,
            *(f"{one} is not read: {why}" for one, why in conflicts.unread.items()),
        ),
        refused=tuple(refusals(raw, conflicts, policy)),
        rows=raw.rows,
        usable_rows=events.height,
        users=len(lengths),
        items=len(popularity),
        density=pairs / (len(lengths) * len(popularity)),
        time=_time(events),
        equal_times=_equal_times(events),
        basket_items=_basket_items(events),
        exact_duplicates=raw.repeated + _exact_duplicates(raw.log),
        dropped_duplicates=raw.repeated,
        repeated_share=1 - pairs / events.height,
        history_lengths=spread(lengths),
        largest_user={
            "id": users["user"][0],
            "events": int(lengths[0]),
            "share": int(lengths[0]) / events.height,
        },
        single_event_users=int((lengths == 1).sum()),
        single_visit_users=int((users["visits"] == 1).sum()),
        lifetimes=_lifetimes(users),
        **_order(events),
        count_columns=_count_columns(raw),
        popularity=concentration(popularity),
        rating=_rating(events),
        missing=missing,
        never_seen={table: _never_seen(raw, events, table) for table in _keyed_tables(raw)},
        profiles=tuple(one for name, table in raw.tables.items() for one in profiles(name, table)),
        arrays={
            "history_lengths": lengths,
            "visits": users["visits"].to_numpy(),
            "popularity": popularity,
            "seconds": events["seconds"].drop_nulls().to_numpy(),
            "ratings": events["rating"].drop_nulls().to_numpy(),
        },
    )
    return replace(description, advice=advise(description))


def _users(events: pl.DataFrame) -> pl.DataFrame:
    """Events, visits and hours of each user, the user with the most events first."""
    # Without times each event is a visit of its own.
    timed = events["seconds"].null_count() == 0
    visits = pl.col("seconds").n_unique() if timed else pl.len()
    hours = (pl.col("seconds").max() - pl.col("seconds").min()) / 3_600
    users = events.group_by("user", maintain_order=True).agg(
        events=pl.len(), visits=visits, hours=hours
    )
    return users.sort("events", descending=True, maintain_order=True)


def _order(events: pl.DataFrame) -> dict[str, Any]:
    """The lift of the order of times, or without them of the file, unless that is sorted by item."""
    timed = not events["seconds"].null_count() and events["seconds"].n_unique() > 1
    ordered = events.sort("user", *(["seconds"] if timed else []), maintain_order=True)
    lengths = ordered["user"].rle().struct.field("len").to_numpy()
    items = ordered["item"].rank("dense").to_numpy().astype(np.int64)
    histories = Ragged(items, offsets_of(lengths))
    if not timed and is_sorted(histories):
        return {"order_lift": 1.0, "sorted_by_item": True, "order_loss": None}
    # `rank` counts from 1: item 0 has no events.
    return {
        "order_lift": order_lift(histories),
        "sorted_by_item": False,
        "order_loss": order_loss(histories),
    }


def _lifetimes(users: pl.DataFrame) -> dict[str, float] | None:
    hours = users.filter(pl.col("events") > 1)["hours"].drop_nulls()
    return spread(hours.to_numpy()) if len(hours) else None


def _basket_items(events: pl.DataFrame) -> float:
    baskets = events.drop_nulls("seconds").group_by("user", "seconds").agg(pl.col("item").n_unique())
    return float(baskets.filter(pl.col("item") > 1)["item"].mean() or 0.0)  # type: ignore[arg-type]


def _count_columns(raw: RawTables) -> tuple[str, ...]:
    """Columns of whole numbers that are named after a count and hold more than one value."""
    taken = {name for name in raw.columns if name}
    return tuple(
        column.name
        for column in raw.log.iter_columns()
        if column.name not in taken
        and column.dtype.is_integer()
        and any(word in COUNT_WORDS for word in words_of(column.name))
        and not column.null_count()
        and 0 <= int(column.min()) < int(column.max())  # type: ignore[arg-type]
    )


def _side_tables(raw: RawTables) -> list[str]:
    return [table for table in raw.tables if table != "log"]


def _keyed_tables(raw: RawTables) -> list[str]:
    """User and item tables that have their key column."""
    return [t for t in _side_tables(raw) if raw.key(t) in raw.tables[t].columns]


def _events(raw: RawTables) -> pl.DataFrame:
    """Rows with both ids: user, item, seconds and rating, null where a value cannot be read."""
    log, columns = raw.log, raw.columns
    events = pl.DataFrame(
        [
            _ids(log[columns.user_id]).alias("user"),
            _ids(log[columns.item_id]).alias("item"),
            seconds_of(log, columns.timestamp, raw.times),
            _numbers(log, columns.rating),
        ]
    )
    return events.filter(pl.col("user").is_not_null() & pl.col("item").is_not_null())


def _ids(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        column = column.fill_nan(None)
        # As pandas writes ids with gaps: 7.0 is "7", as in `checks.as_ids`; a fraction is no id here.
        column = column.set(column.floor() != column, None).cast(pl.Int64, strict=False)
    text = column.cast(pl.String, strict=False)
    return text.set(text.str.strip_chars() == "", None)


def seconds_of(log: pl.DataFrame, name: str, times: TimeForm) -> pl.Series:
    """Times of a log in seconds, null where they cannot be read."""
    nothing = pl.Series("seconds", [None], dtype=pl.Float64).new_from_index(0, log.height)
    if name == FILE_ORDER or not log.height:
        return nothing
    present = log[name].is_not_null()
    try:
        seconds, _ = to_seconds(log[name].filter(present), times.unit, form=times.form)
    except DataError:
        return nothing
    return nothing.scatter(present.arg_true(), seconds).alias("seconds")


def _doubts(raw: RawTables) -> list[str]:
    """Warnings about times that are read as numbers."""
    if raw.columns.timestamp == FILE_ORDER:
        return []
    try:
        column = raw.log[raw.columns.timestamp].drop_nulls()
        seconds, kind = to_seconds(column, raw.times.unit, form=raw.times.form)
    except DataError:
        return []
    return doubts(seconds, kind, declared=raw.times.is_given)


def _numbers(log: pl.DataFrame, name: str | None) -> pl.Series:
    if name is None or not (log[name].dtype.is_numeric() or log[name].dtype == pl.Boolean):
        return pl.Series("rating", [None], dtype=pl.Float64).new_from_index(0, log.height)
    values = log[name].cast(pl.Float64)
    return values.set(~values.is_finite(), None).alias("rating")


def _time(events: pl.DataFrame) -> dict[str, Any] | None:
    seconds = events["seconds"].drop_nulls()
    if not len(seconds):
        return None
    first, last = float(seconds.min()), float(seconds.max())  # type: ignore[arg-type]
    return {"first": _moment(first), "last": _moment(last), "days": (last - first) / 86_400}


def _moment(seconds: float) -> str:
    """ISO 8601, in UTC; beyond the years that NumPy can write, the number."""
    try:
        return str(np.datetime64(int(seconds), "s"))
    except (OverflowError, ValueError):
        return f"{seconds:g}"


def _equal_times(events: pl.DataFrame) -> float | None:
    timed = events.select("user", "seconds").drop_nulls()
    if not timed.height:
        return None
    return timed.select(pl.struct("user", "seconds").is_duplicated().mean()).item()


def _exact_duplicates(log: pl.DataFrame) -> int:
    """Repeated rows by 64-bit hashes: among a billion rows two different ones may count as one."""
    return log.height - log.hash_rows(seed=1).n_unique()


def _rating(events: pl.DataFrame) -> dict[str, Any] | None:
    ratings = events["rating"].drop_nulls()
    if not len(ratings):
        return None
    counts = ratings.value_counts(sort=True).head(20).sort("rating")
    return {
        "rated_rows": len(ratings),
        **spread(ratings.to_numpy()),
        "values": {f"{value:g}": count for value, count in counts.iter_rows()},
    }


def _missing(raw: RawTables, events: pl.DataFrame, table: str) -> dict[str, int]:
    known = _ids(raw.tables[table][raw.key(table)]).drop_nulls()
    absent = events.filter(~pl.col(table[:-1]).is_in(known.implode()))
    return {"ids": absent[table[:-1]].n_unique(), "events": absent.height}


def _never_seen(raw: RawTables, events: pl.DataFrame, table: str) -> int:
    known = _ids(raw.tables[table][raw.key(table)]).drop_nulls().unique()
    return int((~known.is_in(events[table[:-1]].unique().implode())).sum())
