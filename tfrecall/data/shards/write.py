"""Last pass: the shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.columns import TIMESTAMP, USER
from tfrecall.core.storage import atomic_file
from tfrecall.data.shards.gather import gathered_file, write
from tfrecall.data.shards.manifest import PLACE, part, shard_name
from tfrecall.data.shards.rounds import alive_file

# Rows of a row group: a reader of a few users reads little more than theirs.
_GROUP_ROWS = 1 << 17


@dataclass(frozen=True)
class Write:
    """The task of the last pass, called with the number of a partition.

    Attributes:
        work: where the gathered partitions lie.
        folder: where the shards are put.
        rounds: rounds of minima, which left a file of the events that are left; 0 without.
    """

    work: Path
    folder: Path
    rounds: int

    def __call__(self, partition: int) -> dict[str, Any]:
        log = pl.read_parquet(gathered_file(self.work, partition), glob=False)
        if self.rounds:
            alive = np.load(alive_file(self.work, partition, self.rounds))
            log = log.filter(pl.Series(alive))
        log = log.sort(USER, TIMESTAMP, PLACE)
        users = log.select(pl.col(USER).unique(maintain_order=True))
        write(users, left_file(self.work, partition))
        file = self.folder / shard_name(partition)
        write_table(log, file)
        return part(file, log.height, users.height)


def write_table(table: pl.DataFrame, file: Path) -> None:
    """Writes a table that stays, whole or not at all; equal tables make equal files."""
    with atomic_file(file) as stream:
        table.rechunk().write_parquet(stream, compression="zstd", row_group_size=_GROUP_ROWS)


def left_file(folder: Path, partition: int) -> Path:
    """Where the users of a shard lie."""
    return folder / f"left-{partition:06d}.parquet"
