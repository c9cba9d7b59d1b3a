"""Column decisions for the log: only circumstances known before the item is chosen become query features."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from tfrecall.config.inference.columns import ColumnDecision, decide
from tfrecall.data.inspection.columns import words_of

# Words in names of columns that are recorded with the choice or after it.
_OUTCOMES = """
rating stars score review comment feedback quantity qty amount count price paid cost total sum
revenue sales value margin discount coupon tax tip basket cart session order invoice transaction
receipt ticket trip visit event action behavior behaviour click clicked view viewed viewing purchase
purchased bought buy sold returned refund label target duration dwell watched watch playtime play
listen listened progress position rank weight
"""
OUTCOMES = frozenset(_OUTCOMES.split())
# Smallest number of events of an item that shows whether a column follows from the item.
ENOUGH_EVENTS = 5
# Value of `follows_from_item` from which a column gives the item away; 0 is chance, 1 one value an item.
FOLLOWS_FROM_ITEM = 0.5
# The same for the time: a few events are written into the next day's partition.
FOLLOWS_FROM_TIME = 0.95
# Distinct values above which a column is a code of the event, not a circumstance of it.
MANY_VALUES = 1_000


def decide_log_column(
    events: pl.DataFrame, name: str, seconds: pl.Series | None = None
) -> ColumnDecision:
    """Decide about a column of the log that is no id, time, rating or weight.

    Args:
        events: the log with additional columns `user` and `item`.
        name: name of the column.
        seconds: times of the events; None for a log without times.
    """
    column = events[name]
    of_event = decide("log", column)
    if of_event.feature is None and column.n_unique() <= 1:
        return of_event
    if _is_outcome(name):
        return _left_out(name, "known only with the event, not when recommendations are asked for")
    if part := follows_from_time(events, name, seconds):
        return _left_out(
            name,
            f"follows from the time ({part}), which orders the log; as a feature it is learned by heart",
        )
    if column.dtype.is_nested():
        return (
            of_event if of_event.feature is None else _left_out(name, "lists that come with the event")
        )
    # Before the test on items: where users stay with one item, their own columns follow from it as well.
    if _same_for_each(events, "user", name):
        users = events.unique("user", keep="last", maintain_order=True)
        decision = decide("log", users[name])
        return replace(decision, why=f"the same in all events of a user: {decision.why}")
    if follows_from_item(events, name) >= FOLLOWS_FROM_ITEM:
        return _left_out(
            name, "follows from the item and would give it away; it belongs in an item table (--items)"
        )
    if column.dtype.is_numeric():
        return _left_out(name, "a number that comes with the event; put it in if it is known before")
    if column.n_unique() > MANY_VALUES:
        return _left_out(name, f"{column.n_unique():,} different values: a code of the event")
    if of_event.feature is None or of_event.feature["type"] != "categorical":
        why = "text that comes with the event" if of_event.feature else of_event.why
        return _left_out(name, why)
    return replace(of_event, why=f"circumstance of the event, {of_event.why}; to be given when asking")


def follows_from_item(events: pl.DataFrame, name: str) -> float:
    """Measure how far the item determines a column (Goodman and Kruskal's lambda): 0 by chance, 1 fully.

    The share of events with the most frequent value of their item, above the share of the most frequent
    value overall. Items with fewer than `ENOUGH_EVENTS` events are left out; 0 if none is left.
    """
    return _determined(events["item"], events[name])


def follows_from_time(events: pl.DataFrame, name: str, seconds: pl.Series | None) -> str:
    """The part of the time that a column follows from, such as "the day"; empty if it follows from none.

    A partition of the files, a week or a month tells nothing beyond the time. Times are taken in UTC.

    Args:
        events: the log with an additional column `user`.
        name: name of the column.
        seconds: times of the events; None for a log without times.
    """
    column = events[name]
    if seconds is None or column.dtype.is_nested() or seconds.null_count() or column.n_unique() < 2:
        return ""
    moments = pl.from_epoch((seconds * 1_000).cast(pl.Int64), time_unit="ms")
    for word, part in _PARTS.items():
        if _determined(part(moments), column) >= FOLLOWS_FROM_TIME:
            return word
    return (
        "each value has an interval of its own"
        if _has_intervals(events["user"], column, seconds)
        else ""
    )


_PARTS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "the year": lambda moments: moments.dt.year(),
    "the month": lambda moments: moments.dt.month(),
    "the week": lambda moments: moments.dt.truncate("1w"),
    "the day of the month": lambda moments: moments.dt.day(),
    "the day of the week": lambda moments: moments.dt.weekday(),
    "the hour": lambda moments: moments.dt.hour(),
    "the day": lambda moments: moments.dt.date(),
}


def _has_intervals(users: pl.Series, column: pl.Series, seconds: pl.Series) -> bool:
    """Whether each value occurs in an unbroken stretch of time, in which several users have events."""
    # Values of a user or a basket have stretches of their own, too.
    values = pl.DataFrame({"value": column, "user": users, "seconds": seconds})
    counts = values.group_by("value").agg(pl.len(), users=pl.col("user").n_unique())
    if float(counts["users"].median() or 0) < 2 or len(column) < ENOUGH_EVENTS * counts.height:  # type: ignore[arg-type]
        return False
    runs = values.sort("seconds", "value")["value"].rle_id().max()
    return int(runs) + 1 == counts.height  # type: ignore[arg-type]


def _determined(owner: pl.Series, column: pl.Series) -> float:
    """How far an owner, such as the item, determines a column, as `follows_from_item` says."""
    counts = pl.DataFrame({"owner": owner, "value": column}).group_by("owner", "value").len()
    owners = counts.group_by("owner").agg(
        pl.col("len").sum().alias("all"), pl.col("len").max().alias("top")
    )
    owners = owners.filter(pl.col("all") >= ENOUGH_EVENTS)
    if owners.height < 1:
        return 0.0
    # Example: 10 events, 5 of them "red", and 9 agree with their item's most frequent colour:
    # (.9 - .5) / (1 - .5) = .8.
    chance = int(column.value_counts()["count"].to_numpy().max()) / len(column)
    agreeing = int(owners["top"].sum()) / int(owners["all"].sum())
    return (agreeing - chance) / (1 - chance) if chance < 1 else 0.0


def _same_for_each(events: pl.DataFrame, owner: str, name: str) -> bool:
    """Whether each owner has one value in all events; False unless two owners have two events or more."""
    owners = events.group_by(owner).agg(pl.len().alias("all"), pl.col(name).n_unique().alias("values"))
    owners = owners.filter(pl.col("all") > 1)
    return owners.height > 1 and bool((owners["values"] == 1).all())


def _is_outcome(name: str) -> bool:
    return any(word in OUTCOMES or word.removesuffix("s") in OUTCOMES for word in words_of(name))


def _left_out(name: str, why: str) -> ColumnDecision:
    return ColumnDecision("log", name, None, why)
