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

# Rows of the variants: the whole query, an unknown user with no history, then one row for each item
# and feature that is left out.
WHOLE, NOBODY, FIRST = 0, 1, 2
# Largest number of attention weights (variants * length^2) in one call of the model. Each is a float32,
# and several such tensors are alive at once, so a call stays within hundreds of MB. A history of 200
# events fits in one call (202 * 200^2 < 2^24), one of 750 takes 26.
CELLS = 2**24
# Rounding error of a few float32 layers, relative to the largest possible score.
ROUNDING = 1e-6
NO_ROWS = np.empty(0, np.int64)


class Listed(NamedTuple):
    """One history of the query, cut to the events that the model reads.

    Attributes:
        events: int `[m]`, catalogue rows, oldest first; -1 is padding.
        columns: input column of the model -> its values for the events, `[m]`: the ids, and the
            context of the events; texts, or int32 with 0 as padding.
    """

    events: np.ndarray
    columns: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Leave-one-out variants of a query, one a row: the original, an unknown user, without each item, without
    each feature.

    An item is left out of all lists at once, with all its events and their context; the other events
    keep their positions. A feature is replaced by its value for "not known". A history longer than the
    model reads is cut first, so that no older event moves up into the gap.

    Attributes:
        features: input columns of the query model, one row for each variant.
        past: for each variant the repeated history in catalogue rows, oldest first; -1 is unknown.
        items: int `[any]`, catalogue rows of the left-out items, ascending.
        values: value in the query of each left-out feature; None where it is not known.
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
            lists: histories of the user.
            features: one row of each other column.
            unknown: for each column the value that stands for "not known".
            past: repeated history of the user in catalogue rows, for a model with `repeats`.
        """
        held = np.concatenate([past, *(one.events for one in lists)])
        items = np.unique(held[held >= 0])
        count = FIRST + len(items) + len(features)
        # The item left out of each variant. -2 for the variants that keep all items: a catalogue row is
        # 0 or more and padding is -1, so it equals no event.
        gone = np.full(count, -2)
        gone[FIRST : FIRST + len(items)] = items
        variants = {}
        for events, columns in lists:
            # [variants, events]: the events to blank out. Blanked, not removed, so that all variants
            # have one width and the other events keep their positions.
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
            embed: the query model, from input columns to vectors.
            length: number of events of a history that the model reads.
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
    """Explain the scores of some items by the difference that each left-out item or feature makes.

    Args:
        user_id: user of the query; None without one.
        item_ids: ids of the whole catalogue.
        rows: int `[n]`, catalogue rows of the items to explain.
        variants: leave-one-out variants of the query.
        queries: vectors of the variants.
        catalogue: vectors of the whole catalogue.
        repeats: the model of repeat consumption; None without one.
    """
    distinct, back = np.unique(rows, return_inverse=True)
    vectors = np.asarray(catalogue[distinct], np.float64)
    scores = best_scores(queries, vectors)
    if repeats is not None:
        # Catalogue row -> column of `scores`, which has the explained items only; -1 for the others. The
        # extra last entry is what row -1, an unknown item, picks.
        place = np.full(len(item_ids) + 1, -1)
        place[distinct] = np.arange(len(distinct))
        scores = repeats.apply(scores, [place[past] for past in variants.past])
    changes = scores[WHOLE] - scores[FIRST:]
    # Noise would sort irrelevant items as reasons, in an order that differs between machines.
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
    # An inner product is at most |query| * |item|; the error of its sum grows with that, not with the
    # score, which cancellation may leave near 0.
    longest = np.linalg.norm(queries, axis=-1).max() * np.linalg.norm(vectors, axis=-1)
    return ROUNDING * np.maximum(longest, np.abs(scores).max(axis=0))


def listed(
    people: UserStore, features: Mapping[str, np.ndarray], catalogue: Vocabulary
) -> list[Listed]:
    """Histories of one query, cut to the events that the model reads.

    Args:
        people: users of the release.
        features: one row of each column.
        catalogue: ids of the items, and behind them those of removed ones.
    """
    items = len(catalogue) - len(people.retired)
    beside = {context_column(name, one) for name, told in people.contexts.items() for one in told}
    found = []
    for name in (name for name in people.histories if name not in beside):
        columns = [name, *(context_column(name, told) for told in people.contexts.get(name, ()))]
        events = np.array([catalogue.row(item) for item in features[name][0]], dtype=np.int64)
        kept = _counting(people, events, people.histories[name].length, items)
        if len(kept):
            found.append(Listed(events[kept], {c: features[c][0][kept] for c in columns}))
        else:  # the model takes no list without cells
            found.append(Listed(np.array([-1]), {c: np.array([""], object) for c in columns}))
    return found


def _counting(people: UserStore, events: np.ndarray, length: int, items: int) -> np.ndarray:
    """Positions of the events that the model reads: the newest `length` with items that it knows.

    Events of catalogue items without training events, in between, stay. The known items are those of the
    training log, and removed ones, whose rows begin at `items`; in a release without users all count.
    """
    # The model drops unknown items before it cuts, so the cut is found by counting known events only.
    there = np.flatnonzero(events >= 0)
    if len(there) <= length:
        return there
    known = there
    if len(people.seen_items):
        # Events of removed items were dropped from the seen ones, but the model read them.
        known = there[np.isin(events[there], people.seen_items) | (events[there] >= items)]
    return there if len(known) <= length else there[there >= known[-length]]


def _said(value: Any, unknown: Any) -> Any:
    """A value of a feature as JSON can hold it; None if it stands for "not known"."""
    if isinstance(value, np.ndarray):
        return [one for one in value.tolist() if one] or None
    if isinstance(value, str):
        return None if value in ("", UNKNOWN_TOKEN, unknown) else value
    return None if value == unknown else float(value)
