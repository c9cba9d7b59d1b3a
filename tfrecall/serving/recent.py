"""Events that came after the training log: they count at once as history and seen items of their users."""

from collections import OrderedDict
from collections.abc import Sequence


class RecentEvents:
    """The newest items of the users who were active last.

    One thread writes, others may read: each user's items are a list that is never changed.

    Args:
        max_users: number of users; beyond it the one who was active longest ago is forgotten.
        max_items: number of newest items of each user.

    Example:

    >>> recent = RecentEvents(max_users=2, max_items=2)
    >>> for user, item in [("u1", "a"), ("u1", "b"), ("u1", "c"), ("u2", "a"), ("u1", "b"), ("u3", "a")]:
    ...     recent.add(user, item)
    >>> recent.items("u1"), recent.items("u2")
    (['c', 'b'], [])
    """

    def __init__(self, max_users: int = 100_000, max_items: int = 200) -> None:
        self._max_users = max_users
        self._max_items = max_items
        self._items: OrderedDict[str, list[str]] = OrderedDict()

    def __len__(self) -> int:
        """Number of users."""
        return len(self._items)

    def add(self, user_id: str, item_id: str) -> None:
        """Add the newest event of a user; an item that came before moves to the end."""
        before = self._items.get(user_id, ())
        items = [item for item in before if item != item_id]
        self._items[user_id] = [*items[-self._max_items + 1 :], item_id][-self._max_items :]
        self._items.move_to_end(user_id)
        if len(self._items) > self._max_users:
            self._items.popitem(last=False)

    def add_all(self, events: Sequence[tuple[str, str]]) -> None:
        """Add pairs of user and item, oldest first."""
        for user_id, item_id in events:
            self.add(user_id, item_id)

    def items(self, user_id: str) -> list[str]:
        """Items of a user, each once, the newest last. Not to be changed."""
        return self._items.get(user_id, [])
