"""Sampling of negatives on the host: by weight over the catalogue, or from the impressions in the log."""

from typing import Any, Literal, Protocol

import numpy as np
import polars as pl

from tfrecall.core.ragged import offsets_of
from tfrecall.data.interactions import Interactions
from tfrecall.data.sampling import MixtureSampler, WeightedSampler, power_weights
from tfrecall.errors import ConfigError, DataError, MissingColumnError, nearest
from tfrecall.schema.negatives import Explicit, HeadTail, Popularity, Uniform


class ImpressionSampler:
    """Samples negatives from the impressions of each event: items shown, not chosen.

    The event's own item is never a negative; with `exclude_known` no item of its user is.

    Args:
        log: the events.
        spec: the column of impressions, and how many to draw.

    Attributes:
        items: int32, item rows of all impressions, one event after the other.
        offsets: int64 `[n_rows + 1]`: those of event `i` are `items[offsets[i]:offsets[i + 1]]`.

    Raises:
        MissingColumnError: if the log has no such column.
        DataError: if it holds neither ids nor lists of ids, or an id that the item table lacks.
    """

    def __init__(self, log: Interactions, spec: Explicit) -> None:
        self.per_positive = spec.per_positive
        rows, items = _pairs(log, spec.column)
        kept = items != log.item_rows[rows]
        if spec.exclude_known:
            n_items = log.items.height
            # A pair of user and item as one number; a pair is known if a binary search meets its number.
            known = np.unique(log.user_rows.astype(np.int64) * n_items + log.item_rows)
            keys = log.user_rows[rows].astype(np.int64) * n_items + items
            kept &= known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] != keys
        self.items = items[kept].astype(np.int32)
        self.offsets = offsets_of(np.bincount(rows[kept], minlength=len(log)))

    def check(self, rows: np.ndarray) -> None:
        """Refuses rows if none of them has a negative."""
        if len(rows) and not (self.offsets[rows + 1] > self.offsets[rows]).any():
            raise DataError(
                f"None of {len(rows):,} targets has an explicit negative: the column is empty, or holds "
                "only items that the users have. Set `exclude_known = false`, or choose another source."
            )

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draws item rows for rows of the log: int32 `[n, per_positive]`, -1 where there are too few."""
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        # Consecutive impressions from a random place on, wrapping round the end: each is equally likely, and
        # none is drawn twice. One random number a row does for lists of any length.
        first = np.where(lengths > self.per_positive, random.integers(0, np.maximum(lengths, 1)), 0)
        place = np.arange(self.per_positive)
        within = (first[:, np.newaxis] + place) % np.maximum(lengths, 1)[:, np.newaxis]
        exists = place < lengths[:, np.newaxis]
        padded = self.items if len(self.items) else np.zeros(1, np.int32)  # index 0 must exist
        return np.where(
            exists, padded[np.where(exists, starts[:, np.newaxis] + within, 0)], np.int32(-1)
        )


def _pairs(log: Interactions, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Row of the log and item row of each impression."""
    values = _lists(log, column)
    pairs = pl.DataFrame({"row": pl.int_range(len(values), eager=True), "id": values})
    pairs = pairs.explode("id").filter(pl.col("id").is_not_null() & (pl.col("id") != ""))
    items = log.item_vocabulary.rows(pairs["id"])
    if (items < 0).any():
        first = int(np.argmax(items < 0))
        raise DataError(
            f'The column "{column}" of explicit negatives holds {np.count_nonzero(items < 0):,} ids that the '
            f'item table lacks, the first "{pairs["id"][first]}" in row {pairs["row"][first]:,} of the log. '
            "Add these items to the table, or remove them from the column."
        )
    return pairs["row"].to_numpy(), items


def _lists(log: Interactions, column: str) -> pl.Series:
    if column not in log.log.columns:
        raise MissingColumnError(
            f'The log has no column "{column}" of explicit negatives. It has: {", ".join(log.log.columns)}.'
            f"{nearest(column, log.log.columns)}"
        )
    values = log.log[column]
    inner = values.dtype.inner if isinstance(values.dtype, pl.List | pl.Array) else values.dtype
    if not (inner == pl.String or inner.is_integer() or inner in (pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(
            f'The column "{column}" of explicit negatives must hold item ids, or lists of them. Received: '
            f"{values.dtype}. If a text holds several ids, name what separates them: "
            f"`data.list_separators.{column}`."
        )
    if isinstance(values.dtype, pl.List | pl.Array):
        return values.cast(pl.List(pl.String))
    # One id an event becomes a list of one.
    return values.cast(pl.String).reshape((-1, 1)).arr.to_list()


SOURCES = ("uniform", "popularity", "head_tail")
# Draws made at a time, to bound the memory.
BLOCK_DRAWS = 1 << 20

Weighted = Uniform | Popularity | HeadTail


class NegativeSampler(Protocol):
    """Samples negatives for rows of one log."""

    def check(self, rows: np.ndarray) -> None:
        """Refuses rows without an item to draw."""

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draws item rows for rows of the log: int32 `[n, per_positive]`, -1 for none."""


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
    """Samples negatives for each target, never the target itself.

    Draws are independent: an item may be drawn twice for one target. Equal arguments give equal draws.

    Args:
        log: the events; items of a user's events before and after the target are known.
        rows: int `[n]`, the targets as rows of the log, such as `Targets.rows`.
        per_target: draws a target.
        source: "uniform", "popularity" or "head_tail" (`tfrecall.schema.negatives`).
        exclude_known: whether items of the user's events in the log are never drawn for the user.
        seed: seed of the draws.
        settings: further settings of the source, such as `alpha`.

    Returns:
        int32 `[n, per_target]`, item rows.

    Raises:
        ConfigError: if an argument is invalid.
        DataError: if a user has every item that could be drawn; the message names one.

    >>> from tfrecall.data import synthetic
    >>> log = synthetic(n_users=3, n_items=5, n_rows=12)
    >>> negatives = draw_negatives(log, np.arange(12), per_target=2)
    >>> negatives.shape, bool((negatives == log.item_rows[:, None]).any())
    ((12, 2), False)
    """
    if source not in SOURCES:
        raise ConfigError(
            f'`source` of negatives must be one of {list(SOURCES)}. Received: "{source}".'
            f"{nearest(source, SOURCES)}"
        )
    check_number(log, per_target)
    cls = {"uniform": Uniform, "popularity": Popularity, "head_tail": HeadTail}[source]
    spec = cls(per_target, exclude_known=exclude_known, seed=seed, **settings)
    rows = _checked(log, np.asarray(rows))
    if not len(rows):
        return np.empty((0, per_target), dtype=np.int32)
    sampler = WeightedNegatives(log, spec)
    sampler.check(rows)
    return sampler.draw(rows, np.random.default_rng(seed))


def make_sampler(log: Interactions, spec: Weighted | Explicit) -> NegativeSampler:
    """Makes the sampler of a source of negatives.

    Raises:
        ConfigError: if the catalogue has too few items, or the source cannot draw from this log.
        DataError: if the column of `Explicit` is missing or holds unknown ids.
    """
    check_number(log, spec.per_positive)
    return ImpressionSampler(log, spec) if isinstance(spec, Explicit) else WeightedNegatives(log, spec)


class WeightedNegatives:
    """Samples negatives by weights that are the same for all users, without the items that a user has.

    Args:
        log: the events.
        spec: the source.

    Raises:
        ConfigError: if a `HeadTail` threshold leaves no frequent or no rare items.
    """

    def __init__(self, log: Interactions, spec: Weighted) -> None:
        self.log = log
        self.per_positive = spec.per_positive
        # Items are excluded for an owner: a user excludes all known items, a target item only itself.
        self._owners = log.user_rows if spec.exclude_known else log.item_rows
        self._n_owners = log.users.height if spec.exclude_known else log.items.height
        self._sampler = self._made(spec)

    def check(self, rows: np.ndarray) -> None:
        """Refuses rows whose user has every item that could be drawn; the message names one user."""
        totals = self._sampler.totals[self._owners[rows]]
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
        """Whether each row has an item to draw: bool `[n]`."""
        return self._sampler.totals[self._owners[rows]] > 0

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draws item rows for rows of the log: int32 `[n, per_positive]`."""
        drawn = np.empty((len(rows), self.per_positive), dtype=np.int32)
        owners = self._owners[rows]
        # Sorted by owner: neighbouring searches then read the same part of the table, still in the cache.
        order = np.argsort(owners, kind="stable")
        step = max(BLOCK_DRAWS // self.per_positive, 1)
        for start in range(0, len(rows), step):
            block = order[start : start + step]
            drawn[block] = self._sampler.draw(owners[block], self.per_positive, random)
        return drawn

    def _made(self, spec: Weighted) -> WeightedSampler | MixtureSampler:
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
        return MixtureSampler(self._by(head), self._by((~frequent).astype(np.int64)), spec.head_share)

    def _by(self, weights: np.ndarray) -> WeightedSampler:
        return WeightedSampler(weights, self._owners, self.log.item_rows, self._n_owners)


def check_number(log: Interactions, count: int) -> None:
    """Refuses a number of negatives a target that the catalogue cannot give.

    Raises:
        ConfigError: if it is below 1, or there are not so many items besides the target.
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
