"""Item vectors in a plane: their two principal axes, and the column whose values the plane tells apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

# Largest number of values of a column that colours the plane.
MAX_VALUES = 40
# Colours that an eye tells apart; rarer values share the last one.
COLOURS = 8


@dataclass(frozen=True)
class Plane:
    """Positions of the items in a plane.

    Attributes:
        places: float64 `[n, 2]`.
        explained: share of the variance of the vectors that the plane keeps.
    """

    places: np.ndarray
    explained: float


def principal_plane(vectors: np.ndarray) -> Plane:
    """Project vectors on the two directions in which they differ most (principal components).

    The sign of each direction makes its largest coordinate positive, for the same picture on every
    machine. Equal vectors share one position.

    Args:
        vectors: float `[n, d]`.
    """
    centred = np.asarray(vectors, dtype=np.float64) - vectors.mean(axis=0, dtype=np.float64)
    # Eigenvectors of the d x d matrix are the right singular vectors of the n x d one, at a cost that hardly
    # depends on n. `eigh` sorts ascending, so the two largest are the last two.
    variances, directions = np.linalg.eigh(centred.T @ centred)
    places = centred @ directions[:, ::-1][:, :2]
    # Vectors of one dimension have one axis; the other coordinate is 0.
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    extreme = np.take_along_axis(places, np.abs(places).argmax(axis=0)[None], axis=0)
    total = variances.sum()
    explained = variances[::-1][:2].sum() / total if total > 0 else 1.0
    return Plane(places * np.where(extreme < 0, -1.0, 1.0), float(np.clip(explained, 0, 1)))


def colour_column(items: pl.DataFrame, places: np.ndarray, leave: Sequence[str]) -> str | None:
    """Choose the column that colours the map: few values, best separated by the plane; None without one.

    The best column explains the largest share of the variance of the positions by its values.
    """
    shares = {}
    for name in items.columns:
        if name in leave:
            continue
        values = colour_values(items[name])
        if values is not None and 2 <= values.n_unique() <= MAX_VALUES:
            shares[name] = _explained(colour_groups(values, COLOURS)[0], places)
    return max(shares, key=lambda name: shares[name], default=None)


def colour_values(column: pl.Series) -> pl.Series | None:
    """Values of a colour column: texts, booleans, integers, the first of a list; None for other types."""
    if column.dtype == pl.List(pl.String):
        return column.list.first()
    if column.dtype in (pl.String, pl.Boolean, pl.Categorical) or column.dtype.is_integer():
        return column.cast(pl.String)
    return None


def colour_groups(values: pl.Series, colours: int) -> tuple[np.ndarray, list[str]]:
    """Number the most frequent values 0, 1, ...; all others share the last of `colours` numbers."""
    counted = (
        values.drop_nulls()
        .value_counts(sort=True)
        .sort(["count", values.name], descending=[True, False])
    )
    kept = counted[values.name][: colours - 1].to_list()
    numbers = {value: i for i, value in enumerate(kept)}
    groups = np.array([numbers.get(value, len(kept)) for value in values.to_list()])
    return groups, [*kept, *(["other"] if (groups == len(kept)).any() else [])]


def _explained(groups: np.ndarray, places: np.ndarray) -> float:
    """Variance between groups over all variance."""
    centred = places - places.mean(axis=0)
    total = float((centred**2).sum())
    means = (centred[groups == g].mean(axis=0) for g in np.unique(groups))
    sizes = np.unique(groups, return_counts=True)[1]
    between = sum(size * float((mean**2).sum()) for size, mean in zip(sizes, means, strict=True))
    return between / total if total > 0 else 0.0
