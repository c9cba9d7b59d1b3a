"""Tiny logs, and the loops that baselines are held against."""

import polars as pl
from hypothesis import strategies as st

from tfrecall.data import Interactions

USERS, ITEMS = "uvwxy", "abcdef"
DAY = 86_400.0
# User, item and day.
EVENTS = st.lists(
    st.tuples(st.sampled_from(USERS[:4]), st.sampled_from(ITEMS[:5]), st.integers(0, 6)),
    min_size=1,
    max_size=24,
)


def make_train(events, users=USERS, items=ITEMS):
    """A log of (user, item, day); the last user and the last item of `EVENTS` are in no event."""
    chosen, had, days = zip(*events, strict=True)
    log = {"user_id": chosen, "item_id": had, "timestamp": [DAY * day for day in days]}
    return Interactions(
        log=pl.DataFrame(log),
        users=pl.DataFrame({"user_id": list(users)}),
        items=pl.DataFrame({"item_id": list(items)}),
    )


def log_of(**histories):
    """Each user's items in order, an event a day."""
    return make_train([(user, item, t) for user in histories for t, item in enumerate(histories[user])])


def asked(*users):
    return pl.DataFrame({"user_id": list(users)}, schema={"user_id": pl.String})


def sets_of(events):
    """The distinct items of each user."""
    return {user: {item for who, item, _ in events if who == user} for user in USERS}


def first_days(events, user):
    """(position, day) of a user's first event with each item, in the order of time and file."""
    own = sorted((event for event in events if event[0] == user), key=lambda event: event[2])
    found = {}
    for place, (_, item, day) in enumerate(own):
        found.setdefault(item, (place, day))
    return found


def last_days(events, user):
    found = {}
    for _, item, day in sorted((e for e in events if e[0] == user), key=lambda event: event[2]):
        found[item] = day
    return found
