"""Third pass: the events of the users of one partition together, once each, filtered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.core.storage import atomic_file
from tfrecall.data.cleaning import repeats
from tfrecall.data.filters import steps_within_users
from tfrecall.data.interactions import Interactions
from tfrecall.data.shards.manifest import PLACE, ROW
from tfrecall.data.shards.scatter import Scattered, dropped_file, kept_file, read_range
from tfrecall.data.shards.settings import Settings
from tfrecall.data.time_doubts import days_of


@dataclass(frozen=True)
class Counts:
    """Numbers of rows of one partition.

    Attributes:
        rows: rows before any was dropped.
        repeated: rows that repeat another one.
        no_user, no_item: rows without one.
        missing: rows whose item the item table lacks.
        kept: rows with a user and an item.
        steps: rows, and users with rows, before and after each filter.
    """

    rows: int
    repeated: int
    no_user: int
    no_item: int
    missing: int
    kept: int
    steps: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Gather:
    """The task of the third pass, called with the number of a partition.

    Attributes:
        settings: how the log is cleaned and filtered.
        scattered: the files of the second pass.
        folder: where they lie, and the results are put.
        catalogue: file with the ids of the item table; None without one.
        now: seconds since 1970, after which times are of the future.
    """

    settings: Settings
    scattered: Sequence[Scattered] = field(default_factory=tuple)
    folder: Path = Path()
    catalogue: Path | None = None
    now: float = 0.0

    def __call__(self, partition: int) -> Counts:
        kept = self._rows(partition, [(kept_file, one.number, one.kept) for one in self.scattered])
        lost = self._rows(
            partition, [(dropped_file, one.number, one.dropped) for one in self.scattered]
        )
        rows = kept.height + lost.height
        kept, lost = _once(kept, lost)
        repeated = rows - kept.height - lost.height
        write(lost.drop(ROW), lost_file(self.folder, partition))
        log = kept.drop(ROW)
        write(days_of(log[TIMESTAMP], self.now), days_file(self.folder, partition))
        height, absent = log.height, self._absent(log)
        write(_ids(log.filter(pl.Series(absent)), ITEM), absent_file(self.folder, partition))
        if self.settings.missing_items == "drop":
            log = log.filter(pl.Series(~absent))
        log, steps = self._filtered(log, partition)
        write(log, gathered_file(self.folder, partition))
        return Counts(
            rows,
            repeated,
            int((lost["role"] == "user").sum()),
            int((lost["role"] == "item").sum()),
            int(absent.sum()),
            height,
            steps,
        )

    def _rows(self, partition: int, places: Sequence[tuple]) -> pl.DataFrame:  # type: ignore[type-arg]
        """The ranges of a partition in all pieces, in the order of the log."""
        parts = [
            read_range(file(self.folder, number), ends, partition) for file, number, ends in places
        ]
        return pl.concat(parts, rechunk=True)

    def _absent(self, log: pl.DataFrame) -> np.ndarray:
        """Whether each event is of an item that the item table lacks."""
        if self.catalogue is None:
            return np.zeros(log.height, dtype=bool)
        known = pl.read_parquet(self.catalogue, glob=False)[ITEM]
        return ~log[ITEM].is_in(known.implode()).to_numpy()

    def _filtered(
        self, log: pl.DataFrame, partition: int
    ) -> tuple[pl.DataFrame, tuple[tuple[int, int], ...]]:
        """The events that the filters within users keep, and the numbers of each; writes ids with counts."""
        users, items = _ids(log, USER), _ids(log, ITEM)
        numbers = [(log.height, users.height)]
        counts = [_count(log, items, ITEM, 0)]
        for n, step in enumerate(steps_within_users(**self.settings.within_users), start=1):
            # No checks: a partition may have one user or one item.
            data = Interactions(log, _ids(log, USER), _ids(log, ITEM))
            log = log.filter(pl.Series(step.keep(data))) if log.height else log
            numbers.append((log.height, log[USER].n_unique()))
            counts.append(_count(log, items, ITEM, n))
        write(pl.concat([items, *counts], how="horizontal"), items_file(self.folder, partition))
        write(users, users_file(self.folder, partition))
        return log, tuple(numbers)


def gathered_file(folder: Path, partition: int) -> Path:
    """Where the events of a partition lie, in the order of the log."""
    return folder / f"gathered-{partition:06d}.parquet"


def items_file(folder: Path, partition: int) -> Path:
    """Where the items of a partition lie, with their first places and their events after each filter."""
    return folder / f"items-{partition:06d}.parquet"


def users_file(folder: Path, partition: int) -> Path:
    """Where the users of a partition lie, with their first places."""
    return folder / f"users-{partition:06d}.parquet"


def write(table: pl.DataFrame, file: Path) -> None:
    """Writes a table of intermediate rows, whole or not at all."""
    with atomic_file(file) as stream:
        table.write_parquet(stream, compression="lz4", statistics=False)


def _once(kept: pl.DataFrame, lost: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows without those that repeat an earlier one."""
    # Equal rows are equally clean, so they are all in one of the two tables. Rows as read that differ only in
    # what is gone, such as a column that is not read, are told by their hashes alone: one of 2^64 such pairs
    # counts as a repetition. A second hash would take eight bytes more of each row.
    first, second = (~repeats(one.drop(PLACE, ROW), one[ROW]) for one in (kept, lost))
    return kept.filter(first), lost.filter(second)


def _ids(log: pl.DataFrame, key: str) -> pl.DataFrame:
    """Distinct ids with their first places, in order of first appearance."""
    return log.group_by(key, maintain_order=True).agg(pl.col(PLACE).first())


def _count(log: pl.DataFrame, ids: pl.DataFrame, key: str, step: int) -> pl.DataFrame:
    """Number of events of each id after a filter."""
    counts = log.group_by(key).len(name=f"events_{step}")
    joined = ids.join(counts, on=key, how="left", maintain_order="left")
    return joined.select(pl.col(f"events_{step}").fill_null(0).cast(pl.Int64))


def days_file(folder: Path, partition: int) -> Path:
    """Where the days of the times of a partition lie (`tfrecall.data.time_doubts.days_of`)."""
    return folder / f"days-{partition:06d}.parquet"


def lost_file(folder: Path, partition: int) -> Path:
    """Where the rows of a partition without a user or an item lie."""
    return folder / f"lost-{partition:06d}.parquet"


def absent_file(folder: Path, partition: int) -> Path:
    """Where the items of a partition lie that the item table lacks, with their first places."""
    return folder / f"absent-{partition:06d}.parquet"
