"""Whether people come back to what they had, and what follows for lists and figures."""

from typing import Literal

from tfrecall.data.interactions import Interactions

# Share of repeated events from which a seen item is a target like any other. Below, keeping what
# users had fills their lists with what they hardly ever want.
MOSTLY_REPEATED = 0.1

Rule = Literal["seen_kept", "seen_removed"]


def repeated_share(log: Interactions) -> float:
    """The share of events whose user had the same item before."""
    return 1 - log.log.select("user_id", "item_id").n_unique() / max(len(log), 1)


def is_repeated(log: Interactions) -> bool:
    """Whether an item that a user had may well be what the user wants next."""
    return repeated_share(log) >= MOSTLY_REPEATED


def leading_rule(seen: Literal["auto", "removed", "kept"], log: Interactions) -> Rule:
    """The rule that leads tables, and that a release answers by: the one asked for, or the log's."""
    if seen == "auto":
        return "seen_kept" if is_repeated(log) else "seen_removed"
    return "seen_kept" if seen == "kept" else "seen_removed"
