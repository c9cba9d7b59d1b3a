"""The order of one final list: the best next item, one after the other."""

from collections.abc import Sequence

import numpy as np


def in_order(
    scores: np.ndarray,
    k: int,
    *,
    diversity: float = 0.0,
    vectors: np.ndarray | None = None,
    caps: Sequence[tuple[int, np.ndarray]] = (),
) -> np.ndarray:
    """Places of up to `k` candidates, in the order of the list; see `Rules` for what it is.

    The first item is the one with the largest score, whatever the diversity; of equal ones the earlier
    candidate. A list is short where no candidate fits under the caps any more.

    Args:
        scores: finite `[n]`.
        k: length of the list.
        diversity: from 0 to 1.
        vectors: number `[n, d]`, with diversity. A vector of length 0 is like nothing.
        caps: for each capped column the cap, and which candidate has which value: bool `[n, n_values]`.

    >>> genres = np.array([[True, False], [True, False], [False, True]])
    >>> in_order(np.array([3.0, 2.0, 1.0]), 3, caps=[(1, genres)]).tolist()
    [0, 2]
    """
    relevance = _scaled(scores)
    unit = _unit(vectors) if diversity and vectors is not None else None
    free = np.ones(len(scores), dtype=bool)
    left = [np.full(has.shape[1], cap) for cap, has in caps]
    nearest = np.full(len(scores), -np.inf)
    value = relevance
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        place = int(np.argmax(np.where(free, value, -np.inf)))
        chosen.append(place)
        free[place] = False
        for (_, has), room in zip(caps, left, strict=True):
            room -= has[place]
            free &= ~has[:, room == 0].any(axis=1)
        if unit is not None:
            nearest = np.maximum(nearest, unit @ unit[place])
            value = (1 - diversity) * relevance - diversity * nearest
    return np.array(chosen, dtype=np.int64)


def _scaled(scores: np.ndarray) -> np.ndarray:
    """From 0 to 1, in float64, so that float32 scores that differ still do."""
    wide = scores.astype(np.float64)
    lowest, spread = wide.min(initial=np.inf), np.ptp(wide) if len(wide) else 0.0
    return (wide - lowest) / spread if spread > 0 else np.zeros(len(wide))


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
