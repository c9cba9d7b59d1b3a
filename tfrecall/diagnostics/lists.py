"""Does the model recommend, or does it print one list?"""

import numpy as np

from tfrecall.diagnostics.finding import Finding

# Two users have nine of ten items in common. A model that is at work has one to three; random lists
# have k / n_items of the list in common, which `list_length` keeps at a quarter or less.
MAX_OVERLAP = 0.9
MIN_USERS = 10


def list_length(n_items: int) -> int:
    """Ten, or a quarter of a small catalogue, where longer lists overlap by chance."""
    return max(1, min(10, n_items // 4))


def overlap(lists: np.ndarray) -> float:
    """Share of the items that the lists of two users have in common, mean over all pairs.

    Args:
        lists: int `[n_users, k]`, distinct rows of items in each list.

    >>> overlap(np.array([[1, 2], [2, 1], [3, 4]]))  # one of three pairs is alike
    0.3333333333333333
    """
    n, k = lists.shape
    counts = np.bincount(lists.ravel()).astype(np.float64)
    return float(np.sum(counts * (counts - 1)) / (n * (n - 1) * k))


def same_lists(lists: np.ndarray, popular: np.ndarray) -> Finding | None:
    """Tells when nearly everybody gets the same list.

    Args:
        lists: int `[n_users, k]`, the best items of some users, what they had not taken out.
        popular: int `[k]`, the most popular items.
    """
    n, k = lists.shape
    if n < MIN_USERS or (common := overlap(lists)) < MAX_OVERLAP:
        return None
    known = float(np.isin(lists, popular).mean())
    return Finding(
        "same_lists",
        "error",
        f"Nearly everybody gets the same list: of the first {k} items of two of {n:,} users {common:.0%} "
        f"are the same (popularity: 100%), and {known:.0%} are among the {k} most popular. The query "
        "features say nothing about the item, or the model did not learn from them: add features of the "
        "user or the moment to `schema.query`, train longer, or lower `training.learning_rate`.",
    )
