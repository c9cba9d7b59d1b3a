"""Figures of a log, as `tr.data.describe` returns them."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tfrecall.data.assembly import Columns
from tfrecall.data.inspection.profiles import Profile

# Share of users with one event above which too few users are left for a leave-last-out test.
MOSTLY_SINGLE = 0.9
# Share of events at the time of another of the same user above which file order decides most splits.
MOSTLY_EQUAL_TIMES = 0.5
# From here on the item before says more than the taste of the user, which any two events share.
ORDER_LIFT = 1.5
# Nine users in ten whose events lie within so many hours are sessions, if the log lasts so many times as long.
SESSION_HOURS, SESSIONS_A_LOG, ENOUGH_SESSIONS = 24, 10, 50


@dataclass(frozen=True)
class Description:
    """Figures of a log and its tables.

    Rows that cleaning drops count in `rows` and `exact_duplicates` only; other figures stand on `usable_rows`.

    Attributes:
        name: name of the data in tables and reports.
        columns: columns of the log by role.
        guessed: a sentence for each role that was guessed.
        cleaned: a sentence for everything that cleaning dropped or changed.
        refused: a sentence for each thing that an inferred run would refuse; empty if there is none.
        rows: rows of the log.
        usable_rows: rows with a user and an item, without repeated ones.
        users, items: distinct users and items of the log.
        density: share of all pairs of user and item that occur.
        time: `first` and `last` moment (ISO 8601, UTC) and the `days` between; None if times cannot be read.
        equal_times: share of events at the same time as another event of the same user; None without times.
        basket_items: distinct items of a user at one time, the mean over baskets of two items or more; 0
            without times or baskets.
        exact_duplicates: rows that repeat an earlier row in every column.
        dropped_duplicates: those that cleaning dropped.
        repeated_share: share of events whose user had the same item before.
        history_lengths: events a user: mean and quantiles.
        largest_user: `id`, `events` and `share` of all events of the user with the most.
        single_visit_users: users with events at one time only; those with one event, without times.
        lifetimes: hours between the first and the last event of users with two events or more: mean and
            quantiles; None without times or such users.
        order_lift: how many times as often neighbouring events of two users are the same pair of items as any
            two events of theirs, without times in the order of the file; 1 if the order says nothing.
        order_loss: `ordered`, `shuffled` and `loss` of the NDCG@10 of item transitions for the last events of
            `users`, with histories as they are and shuffled; None with too few to tell, or a file sorted
            by item.
        sorted_by_item: whether there are no times, and the file is sorted by item: its order is none of events.
        count_columns: columns of the log that count, such as plays, and could be weights.
        single_event_users: users with one event.
        popularity: events an item: mean, quantiles, Gini coefficient, shares of the most frequent.
        rating: mean, quantiles and counts of the values; None without ratings.
        missing: by table, ids of the log that the table lacks, and their events.
        never_seen: by table, ids without an event.
        profiles: figures of each column.
        arrays: values behind the distributions: `history_lengths`, `visits` (distinct times a user, in the
            same order), `popularity`, `seconds`, `ratings`.
        advice: sentences on split, filters, seen items and data quality, the most important first.
    """

    name: str
    columns: Columns
    guessed: tuple[str, ...]
    cleaned: tuple[str, ...]
    refused: tuple[str, ...]
    rows: int
    usable_rows: int
    users: int
    items: int
    density: float
    time: dict[str, Any] | None
    equal_times: float | None
    basket_items: float
    exact_duplicates: int
    dropped_duplicates: int
    repeated_share: float
    history_lengths: dict[str, float]
    largest_user: dict[str, Any]
    single_event_users: int
    single_visit_users: int
    lifetimes: dict[str, float] | None
    order_lift: float
    order_loss: dict[str, float] | None
    sorted_by_item: bool
    count_columns: tuple[str, ...]
    popularity: dict[str, float]
    rating: dict[str, Any] | None
    missing: dict[str, dict[str, int]]
    never_seen: dict[str, int]
    profiles: tuple[Profile, ...]
    arrays: dict[str, np.ndarray] = field(repr=False)
    advice: list[str] = field(default_factory=list)

    @property
    def all_times_equal(self) -> bool:
        """Whether times do not order the events: there are none, or all are equal."""
        return self.time is None or self.time["days"] == 0

    @property
    def in_baskets(self) -> bool:
        """Whether most events are items of a basket, and most users come more than once."""
        in_baskets = (self.equal_times or 0) > MOSTLY_EQUAL_TIMES and self.basket_items > 0
        return in_baskets and self.single_visit_users <= MOSTLY_SINGLE * self.users

    @property
    def has_order(self) -> bool:
        """Whether the item before tells of the next one: in sessions, and where pairs recur in their order."""
        return self.short_lived or (not self.in_baskets and self.order_lift >= ORDER_LIFT)

    @property
    def short_lived(self) -> bool:
        """Whether users live for hours and never come back, as sessions, visits and orders do."""
        if self.lifetimes is None or self.time is None or self.users < ENOUGH_SESSIONS:
            return False
        hours = self.lifetimes["p90"]
        # In a log of a day every user lives for a day.
        lasting = self.time["days"] * 24 >= SESSIONS_A_LOG * max(hours, 1.0)
        return hours <= SESSION_HOURS and lasting and self.single_event_share <= MOSTLY_SINGLE

    @property
    def single_event_share(self) -> float:
        """Share of users with one event."""
        return self.single_event_users / max(1, self.users)

    def to_dict(self) -> dict[str, Any]:
        """The plain form for JSON, without `arrays`."""
        values = {name: value for name, value in vars(self).items() if name != "arrays"}
        return {
            **values,
            "columns": self.columns._asdict(),
            "profiles": [asdict(profile) for profile in self.profiles],
        }
