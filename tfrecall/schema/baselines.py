"""Names of the baselines in configurations and on the command line."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

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
    "feature_popularity": Place("feature_popularity", "FeaturePopularity"),
    # One class under several names, since a name among `evaluation.baselines` takes no settings.
    "recent_popularity": Place("popularity", "Popularity", {"window_days": 30.0}),
    "own_most_frequent": Place("popularity", "OwnItems", {"by": "frequency"}),
    "own_most_recent": Place("popularity", "OwnItems", {"by": "recency"}),
    "trending": Place("trending", "Trending"),
}


# Baselines that only score, for tables: no recipe trains and exports them.
SCORES_ONLY = ("trending",)

# The other names as a type, for `model.type` of a recipe; a test holds both together.
BaselineName = Literal[
    "popularity",
    "item_cf",
    "ease",
    "swing",
    "user_cf",
    "item_transitions",
    "als",
    "feature_popularity",
    "recent_popularity",
    "own_most_frequent",
    "own_most_recent",
]


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
