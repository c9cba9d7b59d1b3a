"""Top-K selection and counting in a block of scores, with one rule for ties: the lower column first."""

import numpy as np

from tfrecall.core.ragged import positions
from tfrecall.errors import ConfigError

# Rows compared at a time: 256 rows of 2,000 float32 scores fit into a processor's cache.
CHUNK_ROWS = 256
# From so many columns for each place in a list, bounds by groups are cheaper than a partition.
_LONG_ROW = 64

Pairs = tuple[np.ndarray, np.ndarray]


def check_k(k: object, limit: int | None = None, name: str = "k", of_what: str = "items") -> int:
    """Checks a length of lists, and returns it as `int`.

    Args:
        k: an integer of Python or NumPy, from 1.
        limit: the largest length possible; None for any.
        name: the argument, for the message.
        of_what: the things that `limit` counts, for the message.

    Raises:
        ConfigError: if it is no integer (booleans are none), below 1, or above `limit`.

    >>> check_k(np.int64(3), limit=10)
    3
    """
    whole = isinstance(k, (int, np.integer)) and not isinstance(k, bool)
    if not whole or k < 1 or (limit is not None and k > limit):  # type: ignore[operator]
        bound = "" if limit is None else f" to {limit}, the number of {of_what}"
        raise ConfigError(f"`{name}` must be an integer from 1{bound}. Received {name}={k!r}.")
    return int(k)  # type: ignore[call-overload]


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
    """Counts the listed items of `scores[rows[j]]` that score `thresholds[j]` or more.

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


def top_k(scores: np.ndarray, k: int, excluded: Pairs | None = None) -> np.ndarray:
    """The `k` best items of each row, best first, equal ones by column.

    Args:
        scores: float `[n_queries, n_items]`; not changed. An item scored -inf or NaN is never listed.
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
    width = min(k, scores.shape[1])
    columns = _first_columns(scores, width)
    values = np.take_along_axis(scores, columns, axis=1)
    # Columns ascend, so a stable sort leaves equal scores in the order of the catalogue. NaN sorts last.
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.full((len(scores), k), -1, dtype=np.int32)
    best[:, :width] = np.take_along_axis(np.where(values > -np.inf, columns, -1), order, axis=1)
    return best


def is_top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Marks the items that `top_k` lists: bool `[n_queries, n_items]`.

    Args:
        scores: float `[n_queries, n_items]`; -inf and NaN are never marked.
        k: length of a list; may exceed the catalogue.

    >>> is_top_k(np.array([[1.0, 3.0, 1.0, -np.inf]]), k=2).tolist()
    [[True, True, False, False]]
    """
    marked = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(marked, _first_columns(scores, min(k, scores.shape[1])), True, axis=1)
    return marked & (scores > -np.inf)


def _first_columns(scores: np.ndarray, width: int) -> np.ndarray:
    """The columns of the `width` largest scores, in ascending order: int64 `[n_queries, width]`.

    The rule for ties, once: all scores above the `width`-th largest are in, and of those that equal it
    the first fill the places left. `np.argpartition` would choose among equal scores as it likes.
    """
    if width in (0, scores.shape[1]):
        return np.tile(np.arange(width), (len(scores), 1))
    least = kth_largest(scores, width)[:, np.newaxis]
    reached = scores >= least
    counts = np.count_nonzero(reached, axis=1)
    if (counts < width).any():  # NaN sorts above all numbers, and compares as below them
        return _first_columns(np.where(np.isnan(scores), -np.inf, scores), width)
    for row in np.flatnonzero(counts > width):  # few, but where models are sparse: most scores 0
        # Those above the threshold are fewer than `width`; of the tied ones the last are too many.
        tied = np.flatnonzero(scores[row] == least[row])
        reached[row, tied[len(tied) - (counts[row] - width) :]] = False
    # One axis: NumPy finds the set bits of a flat array several times as fast.
    return (np.flatnonzero(reached) % scores.shape[1]).reshape(-1, width)


def kth_largest(scores: np.ndarray, k: int) -> np.ndarray:
    """The `k`-th largest score of each row, of the dtype of `scores`: `[n_queries]`.

    Args:
        scores: float `[n_queries, n_items]`. NaN counts as largest or is left out.
        k: from 1 to n_items.

    A partition of whole rows costs ten times as much on long ones, and more where most scores are
    equal. So a bound comes first: the row is dealt out into groups, and of their largest scores
    the `k`-th largest is reached by `k` scores or more, and not by many more; these are partitioned.

    >>> kth_largest(np.array([[1.0, 3.0, 3.0]]), k=2).tolist()
    [3.0]
    """
    n_items = scores.shape[1]
    if n_items < _LONG_ROW * k or not len(scores):
        return np.partition(scores, n_items - k, axis=1)[:, n_items - k]
    # Eight groups for each place: fewer let more scores through, more cost as much as they save. A group
    # is each `size`-th part of the row laid over the others, which NumPy compares several at once; the
    # few columns left over at the end can only lower the bound.
    size = n_items // (8 * k)
    groups = scores[:, : n_items // size * size].reshape(len(scores), size, -1)
    largest = groups.max(axis=1)
    bounds = np.partition(largest, largest.shape[1] - k, axis=1)[:, largest.shape[1] - k]
    for row, values in enumerate(scores):
        above = values[values > bounds[row]]
        if len(above) >= k:
            bounds[row] = np.partition(above, len(above) - k)[len(above) - k]
    return bounds


def places_within(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The place of each value in its own group, largest first, ties by position: int64 `[n]`.

    >>> places_within(np.array([0, 0, 1, 0]), np.array([1.0, 3.0, 2.0, 3.0])).tolist()
    [2, 0, 0, 1]
    """
    # `lexsort` sorts by its last key first, and is stable: ties keep their position.
    order = np.lexsort((-values, groups))
    places = np.empty(len(groups), dtype=np.int64)
    places[order] = positions(np.bincount(groups))
    return places


def strongest(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """The `k` largest entries of each row of a sparse matrix, equal ones by column.

    Args:
        rows, columns: int `[n]`, in any order, each cell once.
        values: number `[n]`.
        k: entries kept of a row.

    Returns:
        int64 `[n_kept]`, positions in `values`, by row, the largest first.

    >>> rows, columns = np.array([0, 0, 0, 1]), np.array([2, 1, 0, 0])
    >>> strongest(rows, columns, np.array([3.0, 5.0, 3.0, 1.0]), k=2).tolist()
    [1, 2, 3]
    """
    order = np.lexsort((columns, -values, rows))
    return order[positions(np.bincount(rows)) < k]


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
