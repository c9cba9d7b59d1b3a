"""The baselines by name, as configurations and the command line call them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from tfrecall.errors import nearest


class Place(NamedTuple):
    """Where the class of a baseline is, and what it is made with."""

    module: str
    cls: str
    settings: Mapping[str, Any] = MappingProxyType({})


# Places, not classes: a configuration is checked before anything is imported that computes.
BASELINES = {
    "popularity": Place("popularity", "Popularity"),
    "item_cf": Place("item_cf", "ItemCF"),
    "ease": Place("ease", "EASE"),
    "swing": Place("swing", "Swing"),
    "user_cf": Place("user_cf", "UserCF"),
    "item_transitions": Place("item_transitions", "ItemTransitions"),
    "als": Place("als", "ALS"),
    "own_most_frequent": Place("popularity", "OwnItems", {"by": "frequency"}),
    "own_most_recent": Place("popularity", "OwnItems", {"by": "recency"}),
}


def checked_baselines(names: Sequence[str]) -> tuple[str, ...]:
    """The names themselves.

    Raises:
        ValueError: if there is no such baseline, or one is named twice.
    """
    for name in names:
        if name not in BASELINES:
            raise ValueError(
                f'There is no baseline "{name}".{nearest(str(name), BASELINES)} Choose of: '
                f"{', '.join(BASELINES)}. Received: {list(names)}."
            )
    if len(set(names)) < len(names):
        raise ValueError(f"Each baseline is named once. Received: {list(names)}.")
    return tuple(names)
