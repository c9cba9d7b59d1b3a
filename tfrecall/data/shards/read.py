"""Folders of shards read back as one log with its tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tfrecall.core.columns import ITEM, USER
from tfrecall.data.shards.manifest import (
    ITEMS,
    MANIFEST,
    PLACE,
    USERS,
    Manifest,
    check_part,
    read_manifest,
)
from tfrecall.errors import ConfigError, DataError


class Gathered(NamedTuple):
    """A log from shards with its tables, as `Interactions` holds them."""

    log: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    name: str
    notes: tuple[str, ...]


def read_shards(path: str | Path, partitions: Sequence[int] | None = None) -> Gathered:
    """Reads all shards of a folder, or some.

    Args:
        path: a folder that `tfrecall prepare` wrote.
        partitions: numbers of the shards to read; None for all. The tables are whole either way, and a
            shard may have no event.

    Raises:
        DataError: if the folder is damaged.
        ConfigError: if there is no such partition.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    _refuse_foreign(folder, manifest)
    numbers = _checked(manifest, partitions)
    files = [check_part(folder, manifest.partitions[number]) for number in numbers]
    tables = [check_part(folder, one) for one in (manifest.users, manifest.items)]
    try:
        log = pl.concat([pl.read_parquet(file, glob=False) for file in files])
        users, items = (pl.read_parquet(file, glob=False) for file in tables)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"The shards in {folder} cannot be read: {error}. Prepare the log again."
        ) from error
    _check_schema(folder, manifest, log, users, items)
    log = log.sort(PLACE).drop(PLACE)
    return Gathered(log, users, items, manifest.name, tuple(manifest.notes))


def _checked(manifest: Manifest, partitions: Sequence[int] | None) -> list[int]:
    known = range(len(manifest.partitions))
    numbers = list(known) if partitions is None else sorted(partitions)
    if not numbers or not set(numbers) <= set(known) or len(set(numbers)) < len(numbers):
        raise ConfigError(
            f"`partitions` are different numbers from 0 to {len(known) - 1}, one at least. "
            f"Received: {list(partitions or [])}."
        )
    return numbers


def _refuse_foreign(folder: Path, manifest: Manifest) -> None:
    """Refuses Parquet files that the manifest does not list: two preparations lie in one folder."""
    listed = {one.name for one in manifest.partitions} | {USERS, ITEMS, MANIFEST}
    foreign = sorted(file.name for file in folder.glob("*.parquet") if file.name not in listed)
    if foreign:
        raise DataError(
            f"{folder} has files that its manifest does not list: {', '.join(foreign[:5])}. Move them away, or "
            "prepare the log again."
        )


def _check_schema(
    folder: Path, manifest: Manifest, log: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame
) -> None:
    columns = {name: str(dtype) for name, dtype in log.schema.items() if name != PLACE}
    fits = columns == manifest.columns and PLACE in log.columns
    if not fits or USER not in users.columns or ITEM not in items.columns:
        raise DataError(
            f"The shards in {folder} have other columns than their manifest says: {columns}. Prepare the log "
            "again."
        )
