"""Items that stand against a target in training because its user did not choose them."""

from typing import Any, Literal, Protocol

import numpy as np

from tfrecall.data.drawing import Drawing, EitherDrawing, power_weights
from tfrecall.data.interactions import Interactions
from tfrecall.data.shown import ShownItems
from tfrecall.errors import ConfigError, DataError, nearest
from tfrecall.negatives import Explicit, HeadTail, Popularity, Uniform

SOURCES = ("uniform", "popularity", "head_tail")
# Draws worked on at a time, so that memory stays bounded.
BLOCK_DRAWS = 1 << 20

Weighted = Uniform | Popularity | HeadTail


class Sampler(Protocol):
    """Draws negatives for rows of one log."""

    def check(self, rows: np.ndarray) -> None:
        """Refuses rows that have nothing to draw."""

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Item rows for some rows of the log: int32 `[n, per_positive]`, -1 for none."""


def draw_negatives(
    log: Interactions,
    rows: np.ndarray,
    per_target: int,
    *,
    source: Literal["uniform", "popularity", "head_tail"] = "uniform",
    exclude_known: bool = True,
    seed: int = 42,
    **settings: Any,
) -> np.ndarray:
    """Draws items for each target, never the target itself.

    Draws are independent of each other: an item may come twice for one target, as often as its
    probability says. They follow from the arguments and the seed.

    Args:
        log: the events; what a user did in them, before the target or after it, is known.
        rows: int `[n]`, the targets as rows of the log, such as `Targets.rows`.
        per_target: how many items to draw for each.
        source: "uniform", "popularity" or "head_tail" (`tfrecall.negatives`).
        exclude_known: whether items of the user's events in the log are never drawn for the user.
        seed: of the draws.
        settings: of the source, such as `alpha`.

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
    if source not in SOURCES:
        raise ConfigError(
            f'There is no source "{source}" of negatives.{nearest(source, SOURCES)} '
            f"Choose of {list(SOURCES)}."
        )
    check_number(log, per_target)
    cls = {"uniform": Uniform, "popularity": Popularity, "head_tail": HeadTail}[source]
    spec = cls(per_target, exclude_known=exclude_known, seed=seed, **settings)
    rows = _checked(log, np.asarray(rows))
    if not len(rows):
        return np.empty((0, per_target), dtype=np.int32)
    sampler = WeightedSampler(log, spec)
    sampler.check(rows)
    return sampler.draw(rows, np.random.default_rng(seed))


def sampler_of(log: Interactions, spec: Weighted | Explicit) -> Sampler:
    """What draws the negatives of a source.

    Raises:
        ConfigError: if more are wanted than the catalogue has, or the source cannot draw from this log.
        DataError: if `Explicit` names a column that is not there or holds unknown ids.
    """
    check_number(log, spec.per_positive)
    return ShownItems(log, spec) if isinstance(spec, Explicit) else WeightedSampler(log, spec)


class WeightedSampler:
    """Draws by weights that are the same for all users, without what each user has.

    Args:
        log: the events.
        spec: the source.
    """

    def __init__(self, log: Interactions, spec: Weighted) -> None:
        self.log = log
        self.per_positive = spec.per_positive
        # An owner is what items are excluded for: the user, or else the target item.
        self._owners = log.user_rows if spec.exclude_known else log.item_rows
        self._n_owners = log.users.height if spec.exclude_known else log.items.height
        self._drawing = self._made(spec)

    def check(self, rows: np.ndarray) -> None:
        """Refuses rows whose user has every item that could be drawn; the message names one."""
        totals = self._drawing.totals[self._owners[rows]]
        if totals.all():
            return
        row = int(rows[np.argmin(totals)])
        raise DataError(
            f"There is no item to draw against {np.count_nonzero(totals == 0):,} of {len(rows):,} "
            f'targets: user "{self.log.log["user_id"][row]}" (row {row:,} of the log) has every item '
            f"that could be drawn; the catalogue has {self.log.items.height:,}. Leave these targets out, "
            'or draw with `exclude_known=False` or `source="uniform"`.'
        )

    def can_draw(self, rows: np.ndarray) -> np.ndarray:
        """For which rows something can be drawn: bool `[n]`."""
        return self._drawing.totals[self._owners[rows]] > 0

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Item rows for some rows of the log: int32 `[n, per_positive]`."""
        drawn = np.empty((len(rows), self.per_positive), dtype=np.int32)
        owners = self._owners[rows]
        # Owner by owner, because a search finds in the cache what the search before it has just read.
        order = np.argsort(owners, kind="stable")
        step = max(BLOCK_DRAWS // self.per_positive, 1)
        for start in range(0, len(rows), step):
            block = order[start : start + step]
            drawn[block] = self._drawing.draw(owners[block], self.per_positive, random)
        return drawn

    def _made(self, spec: Weighted) -> Drawing | EitherDrawing:
        counts = np.bincount(self.log.item_rows, minlength=self.log.items.height)
        if isinstance(spec, Uniform) or (isinstance(spec, Popularity) and spec.alpha == 0):
            return self._by(np.ones(len(counts), np.int64))
        if isinstance(spec, Popularity):
            return self._by(power_weights(counts, spec.alpha, self._n_owners))
        frequent = counts >= spec.threshold
        if frequent.all() or not frequent.any():
            raise ConfigError(
                f"{'All' if frequent.all() else 'None'} of {len(counts):,} items have {spec.threshold:,} or "
                "more events, so there is nothing to choose between. Set `threshold` between "
                f"{counts.min() + 1:,} and {counts.max():,}, the events that items have, or take the source "
                '"popularity".'
            )
        head = power_weights(np.where(frequent, counts, 0), spec.alpha, self._n_owners)
        return EitherDrawing(self._by(head), self._by((~frequent).astype(np.int64)), spec.head_share)

    def _by(self, weights: np.ndarray) -> Drawing:
        return Drawing(weights, self._owners, self.log.item_rows, self._n_owners)


def check_number(log: Interactions, count: int) -> None:
    """Refuses to draw more items than there are.

    Raises:
        ConfigError: if there are not so many besides the target.
    """
    if not 1 <= count < log.items.height:
        raise ConfigError(
            f"The catalogue has {log.items.height:,} items, so there must be from 1 to "
            f"{log.items.height - 1:,} negatives a target (`per_positive`). Received: {count}."
        )


def _checked(log: Interactions, rows: np.ndarray) -> np.ndarray:
    if not rows.size:
        return np.empty(0, dtype=np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(log):
        raise ConfigError(
            f"`rows` must be an array of rows of the log, whole numbers from 0 to {len(log) - 1:,}. "
            f"Received: {rows.dtype} of shape {rows.shape}, from {rows.min()} to {rows.max()}."
        )
    return rows.astype(np.int64)
