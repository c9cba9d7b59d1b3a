"""Names of the baselines in configurations and on the command line."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from tfrecall.errors import nearest


class Place(NamedTuple):
    """Module, class and settings of a baseline."""

    module: str
    cls: str
    settings: Mapping[str, Any] = MappingProxyType({})


# Places, not classes, so that a configuration is checked without importing the models.
BASELINES = {
    "popularity": Place("popularity", "Popularity"),
    "item_cf": Place("item_cf", "ItemCF"),
    "ease": Place("ease", "EASE"),
    "swing": Place("swing", "Swing"),
    "user_cf": Place("user_cf", "UserCF"),
    "item_transitions": Place("item_transitions", "ItemTransitions"),
    "als": Place("als", "ALS"),
    # One class under two names, since a name in a recipe takes no settings.
    "own_most_frequent": Place("popularity", "OwnItems", {"by": "frequency"}),
    "own_most_recent": Place("popularity", "OwnItems", {"by": "recency"}),
}


def checked_baselines(names: Sequence[str]) -> tuple[str, ...]:
    """Checks names of baselines, for pydantic.

    Raises:
        ValueError: if there is no such baseline, or one is named twice.
    """
    for name in names:
        if name not in BASELINES:
            raise ValueError(
                f'There is no baseline "{name}".{nearest(str(name), BASELINES)} Choose from: '
                f"{', '.join(BASELINES)}. Received: {list(names)}."
            )
    if len(set(names)) < len(names):
        raise ValueError(f"Each baseline can be named once. Received: {list(names)}.")
    return tuple(names)
