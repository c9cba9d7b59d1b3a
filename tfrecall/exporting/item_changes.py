"""Change of the items of a release: what is added, kept and removed, checked before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from tfrecall.core.columns import ITEM
from tfrecall.core.raw import UNKNOWN_TOKEN
from tfrecall.core.vocabulary import Vocabulary, item_row
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.release.retriever import RetrieverRelease

# Ids listed in an error message.
NAMED = 5


@dataclass(frozen=True, eq=False)
class ChangedItems:
    """The catalogue of a release after a change: kept items in their order, then added ones.

    Attributes:
        release: the release before.
        table: the item table after, `item_id` first.
        kept: int `[any]`, rows of the kept items in the catalogue before.
    """

    release: RetrieverRelease
    table: pl.DataFrame
    kept: np.ndarray

    @cached_property
    def ids(self) -> np.ndarray:
        """Object array of `str`, the catalogue after."""
        return np.array(self.table[ITEM].to_list(), dtype=object)

    @property
    def added(self) -> pl.DataFrame:
        """The part of the table that is new."""
        return self.table[len(self.kept) :]

    @cached_property
    def retired(self) -> np.ndarray:
        """Object array of `str`, ids that histories may hold and the catalogue lacks."""
        after = Vocabulary(self.ids)
        before = [*self.release.item_ids, *self.release.users.retired]
        return np.array([item for item in before if item not in after], dtype=object)

    @cached_property
    def rows(self) -> np.ndarray:
        """Row after of each row before, retired items behind the catalogue in both: int32 `[any]`."""
        after = Vocabulary(np.concatenate([self.ids, self.retired]))
        return after.rows(np.concatenate([self.release.item_ids, self.release.users.retired]))


def changed(
    release: RetrieverRelease, added: pl.DataFrame | None, removed: Sequence[str]
) -> ChangedItems:
    """Check the items to add and to remove, and give the catalogue after; arguments as for `change_items`."""
    if not len(removed) and (added is None or not added.height):
        raise ConfigError("Nothing would change: name items to add or to remove. Received: neither.")
    gone = {item_row(release.catalogue.vocabulary, item) for item in removed}
    kept = np.array([row for row in range(len(release.item_ids)) if row not in gone], np.int64)
    table = release.items[kept.tolist()]
    if added is not None:
        _check_ids(added, set(release.item_ids[kept]))
        table = pl.concat([table, _like(added, release)])
    if not table.height:
        raise ConfigError(
            f"No item would be left: {len(gone):,} are removed and none added. A release answers from one item "
            "or more; remove its directory in the place of its items."
        )
    return ChangedItems(release, table, kept)


def _check_ids(added: pl.DataFrame, there: set[str]) -> None:
    if ITEM not in added.columns:
        raise MissingColumnError(
            f"The items to add have no column `item_id`. Received: {', '.join(added.columns)}."
        )
    ids = added[ITEM]
    if ids.dtype != pl.String or ids.null_count() or ids.is_in(["", UNKNOWN_TOKEN]).any():
        raise DataError(
            f"The ids of items to add are texts, none of them null, empty or {UNKNOWN_TOKEN}. Received: "
            f"{ids.dtype} with {ids.null_count():,} nulls."
        )
    if ids.n_unique() < len(ids):
        raise DataError(
            f"Each item can be added once. Received twice: {_some(ids.filter(ids.is_duplicated()).unique())}."
        )
    known = ids.filter(ids.is_in(list(there)))
    if len(known):
        raise DataError(
            f"{len(known):,} of the items to add are in the catalogue already: {_some(known)}. Leave them out, "
            "or remove them at once, which gives them the new features."
        )


def _some(ids: pl.Series) -> str:
    return ", ".join(ids[:NAMED].to_list()) + (", ..." if len(ids) > NAMED else "")


def _like(added: pl.DataFrame, release: RetrieverRelease) -> pl.DataFrame:
    """The added rows with the columns and types of the item table."""
    own = release.manifest["schema"].get("candidate_id", ITEM)
    added = added.with_columns(pl.col(ITEM).alias(own))
    needed = [name for name in release.manifest["candidate"]["forms"] if name not in added.columns]
    if needed:
        raise MissingColumnError(
            f"The candidate model reads {', '.join(needed)}, which the items to add lack. They have: "
            f"{', '.join(added.columns)}."
        )
    return pl.DataFrame(
        [
            _cast(added[name], dtype)
            if name in added.columns
            else pl.Series(name, [None] * added.height, dtype)
            for name, dtype in release.items.schema.items()
        ]
    )


def _cast(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    try:
        told = column.cast(dtype)
        if dtype.is_integer() and column.dtype.is_float() and not (told == column).all():
            raise ValueError("fractions are no whole numbers")
        return told
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f'The column "{column.name}" of the items to add holds {column.dtype}, that of the release '
            f"{dtype}, and its values do not fit: {error}. Write them as in the item table of the run."
        ) from error
