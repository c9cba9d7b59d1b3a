"""Items that stand against a target in training because its user did not choose them."""

from typing import Literal

import numpy as np

from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError, nearest

SOURCES = ("uniform", "popularity")
# Draws worked on at a time, so that memory stays bounded.
BLOCK_DRAWS = 1 << 20
# Weights are whole numbers, and a weight with the number of its owner before it must fit into int64.
KEY_BITS = 62


def draw_negatives(
    log: Interactions,
    rows: np.ndarray,
    per_target: int,
    *,
    source: Literal["uniform", "popularity"] = "uniform",
    alpha: float = 0.75,
    exclude_known: bool = True,
    seed: int = 42,
) -> np.ndarray:
    """Draws items for each target, never the target itself.

    Draws are independent of each other: an item may come twice for one target, as often as its
    probability says. They follow from the arguments and the seed.

    Args:
        log: the events; what a user did in them, before the target or after it, is known.
        rows: int `[n]`, the targets as rows of the log, such as `Targets.rows`.
        per_target: how many items to draw for each.
        source: "uniform", each item of the catalogue alike; "popularity", by its share of the events
            to the power of `alpha`, so that items without events are not drawn.
        alpha: from 0 (all items alike, with or without events) to 2; 1 draws by share.
        exclude_known: whether items of the user's events in the log are never drawn for the user.
        seed: of the draws.

    Returns:
        int32 `[n, per_target]`, item rows.

    Raises:
        ConfigError: if an argument makes no sense.
        DataError: if a user has every item that could be drawn; the message names one.

    >>> from tfrecall.data import synthetic
    >>> log = synthetic(n_users=3, n_items=5, n_rows=12)
    >>> negatives = draw_negatives(log, np.arange(12), per_target=2)
    >>> negatives.shape, bool((negatives == log.item_rows[:, None]).any())
    ((12, 2), False)
    """
    rows = _check(log, np.asarray(rows), per_target, source, alpha)
    if not len(rows):
        return np.empty((0, per_target), dtype=np.int32)
    # An owner is what items are excluded for: the user, or else the target item.
    owners = log.user_rows if exclude_known else log.item_rows
    n_owners = log.users.height if exclude_known else log.items.height
    weights = _weights(log, alpha if source == "popularity" else 0.0, n_owners)
    drawing = _Drawing(weights, owners, log.item_rows, n_owners)
    _refuse_without_choice(log, rows, drawing.totals[owners[rows]])
    random = np.random.default_rng(seed)
    drawn = np.empty((len(rows), per_target), dtype=np.int32)
    # Owner by owner, because a search finds in the cache what the search before it has just read.
    order = np.argsort(owners[rows], kind="stable")
    step = max(BLOCK_DRAWS // per_target, 1)
    for start in range(0, len(rows), step):
        block = order[start : start + step]
        drawn[block] = drawing.draw(owners[rows[block]], per_target, random)
    return drawn


class _Drawing:
    """Draws items by weight for owners that each have items left out.

    The weights stand side by side on a line and a number below their total points at one of them. For
    an owner the line is shorter by the weights left out, so a number below the shorter total is moved
    on by those of them that come before it. Every draw hits, whatever share of the items an owner
    has, and is exact, because all numbers are whole.

    Attributes:
        totals: int64 `[n_owners]`, the length of each owner's line.
    """

    def __init__(
        self, weights: np.ndarray, owners: np.ndarray, items: np.ndarray, n_owners: int
    ) -> None:
        self._ends = np.cumsum(weights)
        pairs = np.sort(owners.astype(np.int64) * len(weights) + items)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        owners, items = np.divmod(pairs, len(weights))
        self._first = np.searchsorted(owners, np.arange(n_owners + 1))
        self._left_out = np.concatenate([[0], np.cumsum(weights[items])])
        starts = self._left_out[self._first]
        self._length = int(self._ends[-1])
        self.totals = self._length - np.diff(starts)
        # Where an item was cut out of its owner's line; the lines lie one owner after the other.
        cuts = self._ends[items] - weights[items] - (self._left_out[:-1] - starts[owners])
        self._cuts = owners * self._length + cuts

    def draw(self, owners: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """Item rows for some owners: int64 `[n, count]`."""
        owners = owners.astype(np.int64)[:, np.newaxis]
        points = random.integers(0, self.totals[owners], size=(len(owners), count))
        cut = np.searchsorted(self._cuts, points + owners * self._length, side="right")
        points += self._left_out[cut] - self._left_out[self._first[owners]]
        return np.searchsorted(self._ends, points, side="right")


def _weights(log: Interactions, alpha: float, n_owners: int) -> np.ndarray:
    """Whole numbers in proportion to the share of the events to the power of alpha: int64 `[n_items]`."""
    if alpha == 0:
        return np.ones(log.items.height, dtype=np.int64)
    counts = np.bincount(log.item_rows, minlength=log.items.height)
    powers = (counts / counts.max()) ** alpha
    # Rounded up: an item that has events can be drawn, however few they are.
    return np.ceil(powers / powers.sum() * (2 ** (KEY_BITS - 1) // n_owners)).astype(np.int64)


def _refuse_without_choice(log: Interactions, rows: np.ndarray, totals: np.ndarray) -> None:
    if totals.all():
        return
    row = int(rows[np.argmin(totals)])
    raise DataError(
        f"There is no item to draw against {np.count_nonzero(totals == 0):,} of {len(rows):,} targets: "
        f'user "{log.log["user_id"][row]}" (row {row:,} of the log) has every item that could be '
        f"drawn; the catalogue has {log.items.height:,}. Leave these targets out, or draw with "
        '`exclude_known=False` or `source="uniform"`.'
    )


def _check(log: Interactions, rows: np.ndarray, count: int, source: str, alpha: float) -> np.ndarray:
    if source not in SOURCES:
        raise ConfigError(
            f'There is no source "{source}" of negatives.{nearest(source, SOURCES)} '
            f"Choose of {list(SOURCES)}."
        )
    if not 0 <= alpha <= 2:
        raise ConfigError(f"`alpha` must be from 0 to 2. Received: {alpha}.")
    if not 1 <= count < log.items.height:
        raise ConfigError(
            f"The catalogue has {log.items.height:,} items, so `per_target` must be from 1 to "
            f"{log.items.height - 1:,}. Received: {count}."
        )
    if not rows.size:
        return np.empty(0, dtype=np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(log):
        raise ConfigError(
            f"`rows` must be an array of rows of the log, whole numbers from 0 to {len(log) - 1:,}. "
            f"Received: {rows.dtype} of shape {rows.shape}, from {rows.min()} to {rows.max()}."
        )
    return rows.astype(np.int64)
