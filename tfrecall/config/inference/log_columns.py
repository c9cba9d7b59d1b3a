"""Column decisions for the log: only circumstances known before the item is chosen become query features."""

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
# Distinct values above which a column is a code of the event, not a circumstance of it.
MANY_VALUES = 1_000


def decide_log_column(events: pl.DataFrame, name: str) -> ColumnDecision:
    """Decide about a column of the log that is no id, time, rating or weight.

    Args:
        events: the log with additional columns `user` and `item`.
        name: name of the column.
    """
    column = events[name]
    of_event = decide("log", column)
    if of_event.feature is None and column.n_unique() <= 1:
        return of_event
    if _is_outcome(name):
        return _left_out(name, "known only with the event, not when recommendations are asked for")
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
    counts = events.group_by("item", name).len()
    items = counts.group_by("item").agg(
        pl.col("len").sum().alias("all"), pl.col("len").max().alias("top")
    )
    items = items.filter(pl.col("all") >= ENOUGH_EVENTS)
    if not items.height:
        return 0.0
    # Example: 10 events, 5 of them "red", and 9 agree with their item's most frequent colour:
    # (.9 - .5) / (1 - .5) = .8.
    chance = int(events[name].value_counts()["count"].to_numpy().max()) / events.height
    agreeing = int(items["top"].sum()) / int(items["all"].sum())
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
