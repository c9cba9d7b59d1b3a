"""Map of the items of a release: places in a plane, in which items that are alike lie together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from tfrecall.core.columns import ITEM
from tfrecall.core.item_plane import (
    COLOURS,
    colour_column,
    colour_groups,
    colour_values,
    principal_plane,
)
from tfrecall.core.text import feature_words
from tfrecall.release.base import Release

# Most points of a map.
MOST_POINTS = 3000
# Items whose vectors make the axes; more hardly move them.
_AXES = 20_000
# Dimensions in which items without vectors are placed by their users.
_FACTORS = 8


def item_map(release: Release, names: Sequence[str]) -> dict[str, Any]:
    """Places of the most popular items in the plane of their vectors.

    Args:
        release: a release of any kind. Items of one without vectors are placed by their users: two lie
            together if the same users had them.
        names: title of each item.

    Returns:
        `points`, the most popular first: place from 0 to 1 across and down, number of the colour, id and
        title; `groups`, the values that the colours stand for, of the column `colour`; `explained`, the share
        of the variance that the plane keeps; `by_users`; `items`, the size of the catalogue.
    """
    order = np.argsort(-release.event_counts, kind="stable")[:_AXES]
    vectors, by_users = _vectors(release)
    plane = principal_plane(vectors[order])
    groups, colour, values = _colours(release, order, plane.places)
    ids = release.item_ids
    drawn = zip(
        _within(plane.places).tolist(), groups.tolist(), order[:MOST_POINTS].tolist(), strict=False
    )
    return {
        "points": [[x, y, group, ids[row], names[row]] for (x, y), group, row in drawn],
        "items": len(ids),
        "explained": round(plane.explained, 4),
        "by_users": by_users,
        "colour": colour,
        "groups": values,
    }


def _within(places: np.ndarray) -> np.ndarray:
    """Places from 0 to 1, by the central 99 %: one outlier would press all other points together."""
    low, high = np.quantile(places, [0.005, 0.995], axis=0)
    return np.clip((places - low) / np.where(high > low, high - low, 1.0), 0, 1).round(4)


def _colours(
    release: Release, order: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, str | None, list[str]]:
    """Number of each item's colour, the column that chose it, and the values of the numbers."""
    table = release.items[order.tolist()]
    column = colour_column(table, places, [ITEM, release.title_column or ITEM])
    values = None if column is None else colour_values(table[column])
    if column is None or values is None:
        return np.zeros(len(order), int), None, []
    groups, names = colour_groups(values, COLOURS)
    return groups, feature_words(column), names


def _vectors(release: Release) -> tuple[np.ndarray, bool]:
    """Vectors of the items, and whether they come from the users of the items."""
    bundle = getattr(release, "bundle", None)
    if bundle is not None:
        return np.asarray(bundle.exact.vectors), False
    users = release.users
    shape = len(users.seen_offsets) - 1, len(release.item_ids)
    ones = np.ones(len(users.seen_items), np.float32)
    log = csr_array((ones, users.seen_items, users.seen_offsets), shape=shape)
    # Columns of length 1, so that products are cosines, as in ItemCF.
    log = log.multiply(1 / np.sqrt(np.maximum(release.event_counts, 1))).tocsr()
    if min(shape) <= _FACTORS + 1:
        return log.T.toarray(), True
    _, sizes, directions = svds(log, _FACTORS, random_state=0)
    return directions.T * sizes, True
