"""Leave-one-out explanations of two-tower scores: the query again, each time without one item or feature."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfrecall.core.event_context import context_column
from tfrecall.core.raw import UNKNOWN_TOKEN
from tfrecall.core.results import Explanation, Reason
from tfrecall.core.top_k import best_scores
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.index.repeats import Repeats
from tfrecall.release.users import UserStore

# The first two variants; what is taken away one at a time follows.
WHOLE, NOBODY, FIRST = 0, 1, 2
# Cells of attention in one call, of 4 bytes, several at a time: hundreds of MB. Up to 200 events that
# is one call, 750 take some 26.
CELLS = 2**24
# Rounding in float32 of a network of some layers, as a share of the largest score there could be.
ROUNDING = 1e-6
NO_ROWS = np.empty(0, np.int64)


class Listed(NamedTuple):
    """One list of items that a user had, without what does not count.

    Attributes:
        events: int `[m]`, catalogue rows, oldest first; -1 is padding.
        columns: for each column that the model takes of the list the cells of the events, `[m]`: the
            ids themselves and what is said of the events, as texts or as int32 where 0 pads.
    """

    events: np.ndarray
    columns: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Leave-one-out variants of a query, one a row: the original, an unknown user, without each item, without
    each feature.

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
    def of(
        cls,
        lists: Sequence[Listed],
        features: Mapping[str, np.ndarray],
        unknown: Mapping[str, Any],
        past: np.ndarray = NO_ROWS,
    ) -> "LeaveOneOut":
        """Variants of one query.

        Args:
            lists: of items that the user had.
            features: one row of each other column.
            unknown: for each column the value that stands for "not known".
            past: catalogue rows that `repeats` weigh of what the user had.
        """
        held = np.concatenate([past, *(one.events for one in lists)])
        items = np.unique(held[held >= 0])
        count = FIRST + len(items) + len(features)
        gone = np.full(count, -2)  # an item that no variant holds
        gone[FIRST : FIRST + len(items)] = items
        variants = {}
        for events, columns in lists:
            away = events == gone[:, np.newaxis]
            away[NOBODY] = True
            for column, cells in columns.items():
                padding = "" if cells.dtype == object else np.int32(0)
                variants[column] = np.where(away, padding, cells)
        for place, (column, row) in enumerate(features.items(), FIRST + len(items)):
            variants[column] = np.repeat(row, count, axis=0)
            variants[column][[NOBODY, place]] = unknown[column]
        left = [past[past != item] for item in gone]
        left[NOBODY] = NO_ROWS
        values = {column: _said(row[0], unknown[column]) for column, row in features.items()}
        return cls(variants, left, items, values)

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
    variants: LeaveOneOut,
    queries: np.ndarray,
    catalogue: np.ndarray,
    repeats: Repeats | None,
) -> list[Explanation]:
    """Explains the scores of some items by the difference that each left-out item or feature makes.

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
    """Difference in the scores of each item that rounding alone can make: float `[n]`."""
    longest = np.linalg.norm(queries, axis=-1).max() * np.linalg.norm(vectors, axis=-1)
    return ROUNDING * np.maximum(longest, np.abs(scores).max(axis=0))


def listed(
    people: UserStore, features: Mapping[str, np.ndarray], catalogue: Vocabulary
) -> list[Listed]:
    """The histories of one query as a release takes them.

    Args:
        people: of the release.
        features: one row of each column.
        catalogue: item ids.
    """
    beside = {context_column(name, one) for name, told in people.contexts.items() for one in told}
    found = []
    for name in (name for name in people.histories if name not in beside):
        columns = [name, *(context_column(name, told) for told in people.contexts.get(name, ()))]
        events = np.array([catalogue.row(item) for item in features[name][0]], dtype=np.int64)
        kept = _counting(people, events, people.histories[name].length)
        if len(kept):
            found.append(Listed(events[kept], {c: features[c][0][kept] for c in columns}))
        else:  # the model takes no list without cells
            found.append(Listed(np.array([-1]), {c: np.array([""], object) for c in columns}))
    return found


def _counting(people: UserStore, events: np.ndarray, length: int) -> np.ndarray:
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
