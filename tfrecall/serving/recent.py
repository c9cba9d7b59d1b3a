"""Events that came after the training log: they count at once as history and seen items of their users."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from math import floor
from typing import NamedTuple, TypeVar

import numpy as np


class RecentEvent(NamedTuple):
    """An item that a user had, and the time in seconds since 1970."""

    item_id: str
    time: float


class _User(NamedTuple):
    """Newest events of a user, and their items, each once."""

    events: list[RecentEvent]
    items: list[str]


_NOTHING = _User([], [])
One = TypeVar("One")


class RecentEvents:
    """The newest items of the users who were active last.

    One thread writes, others may read: each user's items are a list that is never changed.

    Args:
        max_users: number of users; beyond it the one who was active longest ago is forgotten.
        max_items: number of newest items of each user, and of newest events.

    Example:

    >>> recent = RecentEvents(max_users=2, max_items=2)
    >>> for user, item in [("u1", "a"), ("u1", "b"), ("u1", "c"), ("u2", "a"), ("u1", "b"), ("u3", "a")]:
    ...     recent.add(user, item, 1.7e9)
    >>> recent.items("u1"), recent.items("u2")
    (['c', 'b'], [])
    """

    def __init__(self, max_users: int = 100_000, max_items: int = 200) -> None:
        self._max_users = max_users
        self._max_items = max_items
        self._users: OrderedDict[str, _User] = OrderedDict()

    def __len__(self) -> int:
        """Number of users."""
        return len(self._users)

    def add(self, user_id: str, item_id: str, time: float) -> None:
        """Add the newest event of a user; among the items one that came before moves to the end."""
        before = self._users.get(user_id, _NOTHING)
        items = [item for item in before.items if item != item_id]
        self._users[user_id] = _User(
            self._newest(before.events, RecentEvent(item_id, time)), self._newest(items, item_id)
        )
        self._users.move_to_end(user_id)
        if len(self._users) > self._max_users:
            self._users.popitem(last=False)

    def add_all(self, events: Iterable[tuple[str, str, float]]) -> None:
        """Add user, item and time of each event, oldest first."""
        for event in events:
            self.add(*event)

    def items(self, user_id: str) -> list[str]:
        """Items of a user, each once, the newest last. Not to be changed."""
        return self._users.get(user_id, _NOTHING).items

    def events(self, user_id: str) -> list[RecentEvent]:
        """Events of a user, an item as often as it came, the newest last. Not to be changed."""
        return self._users.get(user_id, _NOTHING).events

    def _newest(self, before: list[One], last: One) -> list[One]:
        return [*before, last][-self._max_items :]


def unlogged(
    events: Sequence[RecentEvent], items: Sequence[str], times: np.ndarray | None
) -> list[RecentEvent]:
    """Events that a release's log does not hold, in order: a log of later training has the feedback, too.

    Args:
        events: recent events of a user.
        items: items of the user's stored events.
        times: times of those; None where none are stored: then an item that is stored counts as held.

    Example:

    >>> events = [RecentEvent("a", 1.7e9), RecentEvent("a", 1.7e9 + 60.5)]
    >>> unlogged(events, ["b", "a"], np.array([1.6e9, 1.7e9]))
    [RecentEvent(item_id='a', time=1700000060.5)]
    """
    if times is None:
        held = set(items)
        return [event for event in events if event.item_id not in held]
    # Logs have whole seconds or fractions of them.
    moments = np.floor(times).tolist()
    logged = set(zip(items, moments, strict=True))
    return [event for event in events if (event.item_id, floor(event.time)) not in logged]
