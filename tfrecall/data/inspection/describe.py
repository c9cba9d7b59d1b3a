"""What is in a log, in figures and in words, before anything is learned from it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tfrecall.data import assembly, checks
from tfrecall.data.assembly import FILE_ORDER, Columns
from tfrecall.data.inspection.advice import advise
from tfrecall.data.inspection.opening import Opened, open_data
from tfrecall.data.inspection.profiles import Profile, concentration, profiles, spread
from tfrecall.data.timestamps import to_seconds
from tfrecall.errors import DataError


@dataclass(frozen=True)
class Description:
    """Figures of a log and its tables.

    Attributes:
        name: what tables and reports call the data.
        columns: which columns of the log are what.
        guessed: what was guessed about them, in words.
        refused: what `read` would refuse, in words; empty if the data can be used as they are.
        rows: of the log.
        usable_rows: rows with both ids, on which the figures stand.
        users, items: how many different ones the log has.
        density: the share of all pairs of user and item that occur.
        time: first and last moment and the days between; None if times cannot be read.
        equal_times: the share of events at the same time as another event of the same user.
        exact_duplicates: rows that repeat a row before them in every column.
        repeated_share: the share of events whose user had the same item before.
        history_lengths: events of a user: mean and quantiles.
        single_event_users: users with one event.
        popularity: events of an item: mean, quantiles, Gini coefficient, shares of the most frequent.
        rating: mean, quantiles and values of the ratings; None without ratings.
        missing: for a table: ids of the log that it lacks, and the events they have.
        never_seen: for a table: ids that have no event.
        profiles: figures of each column.
        arrays: what pictures are drawn from: `history_lengths`, `popularity`, `seconds`, `ratings`.
    """

    name: str
    columns: Columns
    guessed: tuple[str, ...]
    refused: tuple[str, ...]
    rows: int
    usable_rows: int
    users: int
    items: int
    density: float
    time: dict[str, Any] | None
    equal_times: float | None
    exact_duplicates: int
    repeated_share: float
    history_lengths: dict[str, float]
    single_event_users: int
    popularity: dict[str, float]
    rating: dict[str, Any] | None
    missing: dict[str, dict[str, int]]
    never_seen: dict[str, int]
    profiles: tuple[Profile, ...]
    arrays: dict[str, np.ndarray] = field(repr=False)

    @property
    def all_times_equal(self) -> bool:
        """Whether times say nothing, because there are none or all are one."""
        return self.time is None or self.time["first"] == self.time["last"]

    @property
    def single_event_share(self) -> float:
        return self.single_event_users / max(1, self.users)

    @property
    def advice(self) -> list[str]:
        """What to do about it, in words."""
        return advise(self)

    def to_dict(self) -> dict[str, Any]:
        """The plain form, with the advice, for JSON."""
        values = {name: value for name, value in vars(self).items() if name != "arrays"}
        return {
            **values,
            "columns": self.columns._asdict(),
            "profiles": [asdict(one) for one in self.profiles],
            "advice": self.advice,
        }


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
) -> Description:
    """Looks at a log and its tables.

    It goes as far as it can with data that `read` would refuse, and says what would be refused.

    Args:
        log: a path, a frame, an `Interactions`, or a folder with MovieLens as GroupLens ships it.
        users: the user table: a path or a frame; likewise `items`.
        user_id: the name of that column; guessed, and said, if it is not given; likewise the others.

    Raises:
        DataError: if a file cannot be read, the columns cannot be told, or no row has both ids.
    """
    given = {
        "user_id": user_id,
        "item_id": item_id,
        "timestamp": timestamp,
        "rating": rating,
        "weight": weight,
    }
    return describe_opened(open_data(log, users, items, given))


def describe_opened(opened: Opened) -> Description:
    """Looks at tables that are open."""
    events = _events(opened)
    if not events.height:
        raise DataError(
            f"The log has no row with a user and an item ({opened.log.height:,} rows in all, columns: "
            f"{', '.join(opened.log.columns)}). Give a log with events."
        )
    lengths = events["user"].value_counts()["count"].to_numpy()
    popularity = events["item"].value_counts()["count"].to_numpy()
    pairs = events.select(pl.struct("user", "item").n_unique()).item()
    return Description(
        name=opened.name,
        columns=opened.columns,
        guessed=opened.guessed,
        refused=tuple(refusals(opened)),
        rows=opened.log.height,
        usable_rows=events.height,
        users=len(lengths),
        items=len(popularity),
        density=pairs / (len(lengths) * len(popularity)),
        time=_time(events),
        equal_times=_equal_times(events),
        exact_duplicates=_exact_duplicates(opened.log),
        repeated_share=1 - pairs / events.height,
        history_lengths=spread(lengths),
        single_event_users=int((lengths == 1).sum()),
        popularity=concentration(popularity),
        rating=_rating(events),
        missing={table: _missing(opened, events, table) for table in _keyed_tables(opened)},
        never_seen={table: _never_seen(opened, events, table) for table in _keyed_tables(opened)},
        profiles=tuple(one for name, table in opened.tables.items() for one in profiles(name, table)),
        arrays={
            "history_lengths": lengths,
            "popularity": popularity,
            "seconds": events["seconds"].drop_nulls().to_numpy(),
            "ratings": events["rating"].drop_nulls().to_numpy(),
        },
    )


def refusals(opened: Opened) -> list[str]:
    """What `read` would refuse, each in the words of the refusal."""
    columns, found = opened.columns, []

    def attempt(check: Callable[..., Any], *arguments: Any) -> None:
        try:
            check(*arguments)
        except DataError as error:
            found.append(str(error))

    log = opened.log
    attempt(checks.as_ids, log[columns.user_id], "log")
    attempt(checks.as_ids, log[columns.item_id], "log")
    if columns.timestamp != FILE_ORDER:
        attempt(to_seconds, log[columns.timestamp])
    for name in (columns.rating, columns.weight):
        if name is not None:
            attempt(checks.as_number, log[name], "log")
    others = log.drop(name for name in set(columns) if name)
    for column in checks.plain(others).iter_columns():
        attempt(checks.refuse_not_finite, column.to_frame(), "log")
    for table in _side_tables(opened):
        key = f"{table[:-1]}_id"
        attempt(assembly.side_table, opened.tables[table], key, getattr(columns, key))
    if not found:  # what only shows in the whole
        attempt(assembly.assemble, log, opened.users, opened.items, columns, "refuse", None)
    return found


def _side_tables(opened: Opened) -> list[str]:
    return [table for table in opened.tables if table != "log"]


def _keyed_tables(opened: Opened) -> list[str]:
    """The tables that have the column that names their rows."""
    return [t for t in _side_tables(opened) if opened.key(t) in opened.tables[t].columns]


def _events(opened: Opened) -> pl.DataFrame:
    """Rows with both ids: user, item, seconds and rating, null where they cannot be read."""
    log, columns = opened.log, opened.columns
    events = pl.DataFrame(
        [
            _ids(log[columns.user_id]).alias("user"),
            _ids(log[columns.item_id]).alias("item"),
            _seconds(log, columns.timestamp),
            _numbers(log, columns.rating),
        ]
    )
    return events.filter(pl.col("user").is_not_null() & pl.col("item").is_not_null())


def _ids(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        column = column.fill_nan(None)
        column = column.set(column.floor() != column, None).cast(pl.Int64, strict=False)
    text = column.cast(pl.String, strict=False)
    return text.set(text.str.strip_chars() == "", None)


def _seconds(log: pl.DataFrame, name: str) -> pl.Series:
    nothing = pl.Series("seconds", [None], dtype=pl.Float64).new_from_index(0, log.height)
    if name == FILE_ORDER or not log.height:
        return nothing
    there = log[name].is_not_null()
    try:
        seconds, _ = to_seconds(log[name].filter(there))
    except DataError:
        return nothing
    return nothing.scatter(there.arg_true(), seconds).alias("seconds")


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
    """Told by 64-bit hashes of the rows: two different rows of a billion may count as one."""
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


def _missing(opened: Opened, events: pl.DataFrame, table: str) -> dict[str, int]:
    known = _ids(opened.tables[table][opened.key(table)]).drop_nulls()
    absent = events.filter(~pl.col(table[:-1]).is_in(known.implode()))
    return {"ids": absent[table[:-1]].n_unique(), "events": absent.height}


def _never_seen(opened: Opened, events: pl.DataFrame, table: str) -> int:
    known = _ids(opened.tables[table][opened.key(table)]).drop_nulls().unique()
    return int((~known.is_in(events[table[:-1]].unique().implode())).sum())
