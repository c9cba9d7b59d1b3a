"""Counting and sorting in one block of scores, in NumPy."""

import numpy as np

# Rows compared at a time: 256 rows of 2,000 float32 scores fit into a processor's cache.
CHUNK_ROWS = 256

Pairs = tuple[np.ndarray, np.ndarray]


def count_at_least(scores: np.ndarray, rows: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Counts the items of `scores[rows[j]]` that score `thresholds[j]` or more.

    Args:
        scores: float `[n_queries, n_items]`.
        rows: int `[n]`, rows of `scores`, repeated at will.
        thresholds: float `[n]`, of the dtype of `scores`.

    Returns:
        int64 `[n]`.
    """
    counts = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        counts[part] = np.count_nonzero(scores[rows[part]] >= thresholds[part, None], axis=1)
    return counts


def count_among(
    scores: np.ndarray, rows: np.ndarray, thresholds: np.ndarray, listed: Pairs
) -> np.ndarray:
    """Like `count_at_least`, but counts only listed items.

    Args:
        scores: float `[n_queries, n_items]`.
        rows: int `[n]`, rows of `scores`.
        thresholds: float `[n]`.
        listed: `(positions, items)`, as `Histories.flat` gives them: `items[j]` is listed for
            `rows[positions[j]]`. An item listed twice counts twice.

    Returns:
        int64 `[n]`.
    """
    positions, items = listed
    reached = scores[rows[positions], items] >= thresholds[positions]
    return np.bincount(positions[reached], minlength=len(rows))


def places_within(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The place of each value in its own group, largest first, ties by position: int64 `[n]`.

    >>> places_within(np.array([0, 0, 1, 0]), np.array([1.0, 3.0, 2.0, 3.0])).tolist()
    [2, 0, 0, 1]
    """
    order = np.lexsort((-values, groups))
    lengths = np.bincount(groups)
    places = np.empty(len(groups), dtype=np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places


def top_k(scores: np.ndarray, k: int, excluded: Pairs | None = None) -> np.ndarray:
    """The `k` best items of each row, best first, ties by lower row.

    Args:
        scores: float `[n_queries, n_items]`, without NaN; not changed. An item scored -inf is never
            listed.
        k: length of a list; may exceed the catalogue.
        excluded: `(rows, items)`: `items[j]` may not stand in the list of row `rows[j]`.

    Returns:
        int32 `[n_queries, k]`, -1 where no item is left.

    >>> top_k(np.array([[1.0, 3.0, 3.0]]), k=2, excluded=(np.array([0]), np.array([1]))).tolist()
    [[2, 0]]
    """
    if excluded is not None:
        scores = scores.copy()
        scores[excluded] = -np.inf
    n_queries, n_items = scores.shape
    width = min(k, n_items)
    chosen = _first_columns(scores, width)
    values = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.full((n_queries, k), -1, dtype=np.int32)
    best[:, :width] = np.take_along_axis(np.where(values > -np.inf, chosen, -1), order, axis=1)
    return best


def _first_columns(scores: np.ndarray, width: int) -> np.ndarray:
    """The columns of the `width` largest scores, in ascending order: int64 `[n_queries, width]`.

    `np.argpartition` alone would choose among equal scores as it likes, and takes fifty times as long
    where most scores of a row are equal, as those of sparse models are.
    """
    floors = _floors(scores, width)
    columns = np.empty((len(scores), width), dtype=np.int64)
    for row, (values, floor) in enumerate(zip(scores, floors, strict=True)):
        above = np.flatnonzero(values > floor)
        if len(above) < width:  # the last places are for scores that equal the floor
            tied = np.flatnonzero(values == floor)[: width - len(above)]
        else:
            last = np.sort(values[above])[-width]
            above, tied = above[values[above] > last], above[values[above] == last]
            tied = tied[: width - len(above)]
        columns[row] = np.sort(np.concatenate([above, tied]))
    return columns


def _floors(scores: np.ndarray, width: int) -> np.ndarray:
    """For each row a score that `width` or more reach, and not many more: `[n_queries]`.

    The largest scores of equal stretches of a row: so many as the `width` largest of these reach it.
    """
    n_items = scores.shape[1]
    starts = np.arange(0, n_items, max(1, n_items // (8 * width)))
    largest = np.maximum.reduceat(scores, starts, axis=1) if len(scores) else scores
    return np.sort(largest, axis=1)[:, largest.shape[1] - width]


def best_scores(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The largest inner product of each query's vectors with each candidate: float `[n_queries, n]`.

    Args:
        queries: float `[n_queries, d]` or `[n_queries, interests, d]`.
        vectors: float `[n, d]`.

    >>> best_scores(np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[2.0, 3.0], [5.0, 4.0]])).tolist()
    [[3.0, 5.0]]
    """
    if queries.ndim == 2:
        return queries @ vectors.T
    # One interest at a time: all at once would hold as many times the scores.
    scores = queries[:, 0] @ vectors.T
    for interest in range(1, queries.shape[1]):
        np.maximum(scores, queries[:, interest] @ vectors.T, out=scores)
    return scores
