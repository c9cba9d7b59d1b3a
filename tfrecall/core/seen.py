"""The rule for items that a user has interacted with before: removed from lists, or kept."""

from enum import Enum


class Seen(str, Enum):
    """Whether a list may hold items that the user has interacted with before.

    Members equal the keys of `metrics.json`, so figures can be looked up by either.

    >>> Seen.of(exclude_seen=True), Seen("seen_kept").word
    (<Seen.REMOVED: 'seen_removed'>, 'kept')
    >>> [str(rule) for rule in Seen.ordered(leading="seen_kept")]
    ['seen_kept', 'seen_removed']
    """

    REMOVED = "seen_removed"
    KEPT = "seen_kept"

    @classmethod
    def of(cls, exclude_seen: bool) -> "Seen":
        """The rule for a setting `exclude_seen`."""
        return cls.REMOVED if exclude_seen else cls.KEPT

    @classmethod
    def ordered(cls, leading: str) -> list["Seen"]:
        """Both rules, the leading one first."""
        return sorted(cls, key=lambda rule: rule != leading)

    @property
    def word(self) -> str:
        """`removed` or `kept`, as settings and tables have it."""
        return self.value.removeprefix("seen_")

    # Before Python 3.12 an f-string shows the value, since then the name, unless it is defined here.
    def __str__(self) -> str:
        return self.value
