"""What a score of towers rests on: the same query again and again, each time with one thing less."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecall.answers.lists import Explanation, Reason
from tfrecall.event_context import context_column
from tfrecall.index.interests import best_scores
from tfrecall.index.repeats import Repeats
from tfrecall.raw import UNKNOWN_TOKEN
from tfrecall.release.people import Asked, People

# The first two variants; what is taken away one at a time follows.
WHOLE, NOBODY, FIRST = 0, 1, 2
# Cells of attention in one call, of 4 bytes, several at a time: hundreds of MB. Up to 200 events that
# is one call, 750 take some 26.
CELLS = 2**24
# Rounding in float32 of a network of some layers, as a share of the largest score there could be.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class LeftOut:
    """One query in variants, one a row: whole, as of nobody, without each item, without each feature.

    An item goes from all lists at once, with all its events and what is said of them; the other events
    stay as they are. A feature becomes what it is for somebody of whom it is not known. Where a list is
    longer than what counts of it, it is cut first, so that nothing older takes the place of what goes.

    Attributes:
        features: as the query model takes them.
        past: for each variant the catalogue rows that `repeats` weigh, oldest first; -1 is unknown.
        items: int `[any]`, the catalogue rows that go, ascending.
        values: what the query says of each feature that goes; None where it is not known.
    """

    features: dict[str, np.ndarray]
    past: list[np.ndarray]
    items: np.ndarray
    values: dict[str, Any]

    @classmethod
    def of(cls, people: People, asked: Asked, rows: Mapping[str, int], past: np.ndarray) -> "LeftOut":
        """Variants of a single query.

        Args:
            people: of the release.
            asked: the query.
            rows: of the catalogue, by item id.
            past: catalogue rows that `repeats` weigh of what the user had; none without.
        """
        lists = [_events(people, asked, name, rows) for name in _lists(people)]
        own = [column for column in people.forms if column not in people.histories]
        held = np.concatenate([past, *(events for events, _ in lists)])
        items = np.unique(held[held >= 0])
        count = FIRST + len(items) + len(own)
        gone = np.full(count, -2)  # an item that no variant holds
        gone[FIRST : FIRST + len(items)] = items
        features = {}
        for events, columns in lists:
            away = events == gone[:, np.newaxis]
            away[NOBODY] = True
            features.update({column: np.where(away, "", cells) for column, cells in columns.items()})
        for place, column in enumerate(own, FIRST + len(items)):
            features[column] = np.repeat(asked.features[column], count, axis=0)
            features[column][[NOBODY, place]] = people.defaults[column]
        left = [past[past != item] for item in gone]
        left[NOBODY] = past[:0]
        values = {column: _said(asked.features[column][0], people.defaults[column]) for column in own}
        return cls(features, left, items, values)

    def embedded(self, embed: Callable[[dict[str, np.ndarray]], np.ndarray], length: int) -> np.ndarray:
        """Vectors of all variants, in one call of the model where memory allows it.

        Args:
            embed: the model.
            length: the events of a list that the model looks at.
        """
        block = max(1, CELLS // max(1, length) ** 2)
        parts = [
            embed({column: values[start : start + block] for column, values in self.features.items()})
            for start in range(0, len(self.past), block)
        ]
        return np.concatenate(parts).astype(np.float64)


def explained(
    user_id: str | None,
    item_ids: np.ndarray,
    rows: np.ndarray,
    variants: LeftOut,
    queries: np.ndarray,
    catalogue: np.ndarray,
    repeats: Repeats | None,
) -> list[Explanation]:
    """What changes as something goes, for each of some items.

    Args:
        user_id: who asked.
        item_ids: of the whole catalogue.
        rows: int `[n]`, the items.
        variants: of the query.
        queries: their vectors.
        catalogue: vectors of the whole catalogue.
        repeats: how users come back to what they had.
    """
    distinct, back = np.unique(rows, return_inverse=True)
    vectors = np.asarray(catalogue[distinct], np.float64)
    scores = best_scores(queries, vectors)
    if repeats is not None:
        place = np.full(len(item_ids) + 1, -1)  # the last is for -1
        place[distinct] = np.arange(len(distinct))
        scores = repeats.apply(scores, [place[past] for past in variants.past])
    changes = scores[WHOLE] - scores[FIRST:]
    changes[np.abs(changes) <= _rounding(queries, vectors, scores)] = 0.0
    names: list[tuple[Any, Any, Any]] = [
        *((item, None, None) for item in item_ids[variants.items]),
        *((None, feature, value) for feature, value in variants.values.items()),
    ]
    found = []
    for row, column in zip(rows, back, strict=True):
        reasons = [
            Reason(names[at][0], None, float(changes[at, column]), *names[at][1:])
            for at in np.argsort(-changes[:, column], kind="stable")
        ]
        whole, nobody = scores[[WHOLE, NOBODY], column].tolist()
        found.append(Explanation(user_id, item_ids[row], whole, nobody, reasons, additive=False))
    return found


def _rounding(queries: np.ndarray, vectors: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How much the scores of each item may differ for nothing: float `[n]`."""
    longest = np.linalg.norm(queries, axis=-1).max() * np.linalg.norm(vectors, axis=-1)
    return ROUNDING * np.maximum(longest, np.abs(scores).max(axis=0))


def _lists(people: People) -> list[str]:
    """The histories themselves, without the columns of their context."""
    beside = {context_column(name, told) for name, some in people.contexts.items() for told in some}
    return [name for name in people.histories if name not in beside]


def _events(
    people: People, asked: Asked, name: str, rows: Mapping[str, int]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The catalogue rows of one list that count, and the cells of its columns at them.

    An empty list has one cell of padding, -1.
    """
    columns = [name, *(context_column(name, told) for told in people.contexts.get(name, ()))]
    events = np.array([rows.get(item, -1) for item in asked.features[name][0]], dtype=np.int64)
    kept = _counting(people, events, people.histories[name].length)
    if not len(kept):
        return np.array([-1]), {column: np.array([""], dtype=object) for column in columns}
    return events[kept], {column: asked.features[column][0][kept] for column in columns}


def _counting(people: People, events: np.ndarray, length: int) -> np.ndarray:
    """Places of the events that the model looks at, and of those among them that it does not know.

    It knows the items of the log that it learned from; if the release has no users, all count.
    """
    there = np.flatnonzero(events >= 0)
    if len(there) <= length:
        return there
    known = there
    if len(people.seen_items):
        known = there[np.isin(events[there], people.seen_items)]
    return there if len(known) <= length else there[there >= known[-length]]


def _said(value: Any, unknown: Any) -> Any:
    """A value of a feature as JSON can hold it; None if it stands for "not known"."""
    if isinstance(value, np.ndarray):
        return [one for one in value.tolist() if one] or None
    if isinstance(value, str):
        return None if value in ("", UNKNOWN_TOKEN, unknown) else value
    return None if value == unknown else float(value)
