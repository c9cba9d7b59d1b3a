"""What two models know of the same users, as one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecall.release.past_items import PastItems, same_width
from tfrecall.release.people import People


def join_people(first: People, second: People) -> People:
    """People whose features are those of both models.

    A column that both take has one value: that of the first model, or of the second for users whom the
    first does not have. Of a history that both take the longer one is kept. What users have seen is what
    the first says.
    """
    rows = dict(first.rows)
    for user in second.rows:
        rows.setdefault(user, len(rows))
    here, there = (_places(people, rows) for people in (first, second))
    features, gaps = {}, {}
    for column in dict.fromkeys([*first.features, *second.features]):
        parts = [
            _Column(people.features[column], people.gaps[column], places)
            for people, places in ((first, here), (second, there))
            if column in people.features
        ]
        default = (first if column in first.features else second).defaults[column]
        features[column], gaps[column] = _merged(parts, default)
    histories = {name: _Placed.of(past, there) for name, past in second.histories.items()}
    for name, past in first.histories.items():
        if name not in histories or past.length >= histories[name].length:
            histories[name] = _Placed.of(past, here)
    added = len(rows) - len(first.rows)
    offsets = first.seen_offsets
    if added:
        offsets = np.concatenate([offsets, np.full(added, offsets[-1])])
    contexts = {
        name: tuple(dict.fromkeys([*first.contexts.get(name, ()), *second.contexts.get(name, ())]))
        for name in (*first.contexts, *second.contexts)
    }
    return People(
        {**second.forms, **first.forms},
        {**second.defaults, **first.defaults},
        rows,
        features,
        gaps,
        offsets,
        first.seen_items,
        histories,
        tuple(dict.fromkeys([*first.item_lists, *second.item_lists])),
        contexts,
    )


@dataclass(frozen=True, eq=False)
class _Column:
    """The values of some users, and where they stand: -1 for a user who is not among them."""

    values: np.ndarray
    gaps: np.ndarray
    places: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Placed(PastItems):
    """A history whose users stand in other rows.

    Attributes:
        places: for each user the row in `offsets`, -1 for one who is not there.
    """

    places: np.ndarray

    @classmethod
    def of(cls, past: PastItems, places: np.ndarray | None) -> PastItems:
        if places is None:
            return past
        return cls(past.offsets, past.items, past.length, past.item_ids, places)

    def ids(self, users: np.ndarray) -> np.ndarray:
        known = self.places[np.maximum(users, 0)] if len(self.places) else users
        return super().ids(np.where(users < 0, -1, known))


def _places(people: People, rows: Mapping[str, int]) -> np.ndarray | None:
    """The row of each user among some people; None where it is the same."""
    if list(people.rows) == list(rows):
        return None
    return np.array([people.rows.get(user, -1) for user in rows], dtype=np.int64)


def _merged(parts: list[_Column], default: Any) -> tuple[np.ndarray, np.ndarray]:
    """One column of all users: the first that has a user says what it is."""
    first = parts[0]
    if first.places is None:
        return first.values, first.gaps
    count = len(first.places)
    values = np.full((count, *first.values.shape[1:]), default, first.values.dtype)
    gaps = np.ones(count, dtype=bool)
    for part in reversed(parts):
        places = np.arange(count) if part.places is None else part.places
        there = places >= 0
        values, own = same_width(values, part.values)
        values[there] = own[places[there]]
        gaps[there] = part.gaps[places[there]]
    return values, gaps
