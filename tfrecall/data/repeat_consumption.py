"""Repeat consumption: the share of repeated events, and whether seen items stay in the lists."""

from typing import Literal

from tfrecall.core.columns import ITEM, USER
from tfrecall.core.seen import Seen
from tfrecall.data.interactions import Interactions

# Share of repeated events from which a seen item is a target like any other. Below it seen items would fill
# the lists with items that users hardly ever want again.
MOSTLY_REPEATED = 0.1


def repeated_share(log: Interactions) -> float:
    """Share of events whose user had the same item before."""
    return 1 - log.log.select(USER, ITEM).n_unique() / max(len(log), 1)


def is_repeated(log: Interactions) -> bool:
    """Whether users of this log often repeat items."""
    return repeated_share(log) >= MOSTLY_REPEATED


def leading_rule(seen: Literal["auto", "removed", "kept"], log: Interactions) -> Seen:
    """The rule of the primary metric and of a release's answers: as configured, or `auto` by the log."""
    if seen == "auto":
        return Seen.of(exclude_seen=not is_repeated(log))
    return Seen(f"seen_{seen}")
