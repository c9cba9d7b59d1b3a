"""Generated log with planted structure, to test what models learn."""

import numpy as np
import polars as pl

from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError

# Within a group item j has the weight 1 / (j + 1) ** SKEW: a few items are popular.
SKEW = 0.8

# One event a minute on average; a step of 0 ties with the previous event.
START_SECONDS = 1_600_000_000
MEAN_STEP_SECONDS = 60

TIE_PROBABILITY = 0.05


def synthetic(
    n_users: int = 200,
    n_items: int = 100,
    n_rows: int = 4000,
    structure: float = 0.9,
    n_groups: int = 5,
    seed: int = 0,
) -> Interactions:
    """Generates a log in which users prefer the items of their own group.

    Users and items are assigned to groups in turn (user 7 of 5 groups is in group 2). With the probability
    `structure` an event is an item of the user's group, mostly a popular one; otherwise it is a uniform draw
    from all items. With `structure=0` nothing can be learned; with 1 no event leaves its group. The tables
    hold every user and item, with or without events.

    Args:
        n_users: number of users, at least 2; `user_id` is "u0", "u1", ...
        n_items: number of items, at least `n_groups`; `item_id` is "i0", "i1", ...
        n_rows: number of events; times never decrease, and about one in twenty equals the one before.
        structure: probability, 0 to 1.
        n_groups: number of groups, at least 1.
        seed: seed of the draws; equal arguments give an equal log.

    Returns:
        The log, users with a column `segment`, items with `group` and `title`; groups are "g0", "g1", ...

    Raises:
        ConfigError: if an argument is out of range.

    Example:

    >>> data = synthetic(n_users=20, n_items=10, n_rows=200)
    >>> len(data), data.users.columns, data.items.columns
    (200, ['user_id', 'segment'], ['item_id', 'group', 'title'])
    """
    if not 0 <= structure <= 1:
        raise ConfigError(f"`structure` must be between 0 and 1. Received: {structure}.")
    if n_groups < 1 or n_users < 2 or n_items < max(2, n_groups) or n_rows < 2:
        raise ConfigError(
            "A synthetic log needs at least 2 users, 2 items, 2 rows, 1 group, and no more groups "
            f"than items. Received: n_users={n_users}, n_items={n_items}, n_rows={n_rows}, "
            f"n_groups={n_groups}."
        )
    random = np.random.default_rng(seed)
    users = random.integers(n_users, size=n_rows)
    inside = _items_of_groups(random, users % n_groups, n_items, n_groups)
    anywhere = random.integers(n_items, size=n_rows)
    items = np.where(random.random(n_rows) < structure, inside, anywhere)
    steps = random.exponential(MEAN_STEP_SECONDS, n_rows).astype(np.int64) + 1
    steps[random.random(n_rows) < TIE_PROBABILITY] = 0
    log = pl.DataFrame({"user": users, "item": items}).select(
        pl.format("u{}", "user").alias("user_id"),
        pl.format("i{}", "item").alias("item_id"),
        pl.Series("timestamp", START_SECONDS + np.cumsum(steps)),
    )
    return Interactions.from_frame(
        log,
        users=_table("user_id", "u", n_users, n_groups, "segment"),
        items=_table("item_id", "i", n_items, n_groups, "group").with_columns(
            pl.format("Title {} of {}", pl.int_range(n_items), "group").alias("title")
        ),
        name="synthetic",
    )


def _items_of_groups(
    random: np.random.Generator, groups: np.ndarray, n_items: int, n_groups: int
) -> np.ndarray:
    """Draws an item of each given group, by popularity."""
    # One number an event, drawn before the loop: the same whatever the number of groups.
    points = random.random(len(groups))
    items = np.empty(len(groups), dtype=np.int64)
    for group in range(n_groups):
        members = np.arange(group, n_items, n_groups)
        weights = 1.0 / (np.arange(len(members)) + 1) ** SKEW
        edges = np.cumsum(weights) / weights.sum()
        mine = groups == group
        chosen = np.searchsorted(edges, points[mine], side="right")
        # Rounding can leave the last edge just below 1, and a point above it.
        items[mine] = members[np.minimum(chosen, len(members) - 1)]
    return items


def _table(key: str, prefix: str, n: int, n_groups: int, group: str) -> pl.DataFrame:
    rows = pl.DataFrame({"row": np.arange(n)})
    return rows.select(
        pl.format(prefix + "{}", "row").alias(key),
        pl.format("g{}", pl.col("row") % n_groups).alias(group),
    )
