"""Users and items with too few events removed to a fixed point, over partitions.

A user lies in one partition, an item in many. Each round every partition removes the events of items that fell
in the round before and of users that have too few events left, and counts the events of each item; the sum of
the counts names the items that fall next. Nothing is removed that another order would keep: the largest set in
which all have enough is one and the same (`tfrecall.data.filters.core`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from tfrecall.core.columns import ITEM, USER
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.storage import atomic_file
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.shards.gather import gathered_file
from tfrecall.engines import Engine, Local

# Up to so many events this process goes through a round sooner (4 bytes of a user and of an item each) than
# workers start.
FEW = 200_000_000


@dataclass(frozen=True)
class Core:
    """What the rounds leave.

    Attributes:
        rounds: number of rounds.
        items: number of events of each item of the catalogue: int64 `[n_items]`.
        rows: number of events.
        users: number of users with events.
    """

    rounds: int
    items: np.ndarray
    rows: int
    users: int


def core(
    folder: Path,
    partitions: int,
    catalogue: Path,
    minima: tuple[int, int],
    engine: Engine,
    progress: ProgressReporter,
) -> Core:
    """Runs rounds until no user and no item has too few events.

    Which events are left stands in a file for each partition (`alive_file`).

    Args:
        folder: where the gathered partitions lie.
        partitions: number of partitions.
        catalogue: file with the ids of all items.
        minima: least number of events of a user, and of an item.
        engine: runs a task for each partition.
        progress: receives counts.
    """
    height = pl.scan_parquet(catalogue, glob=False).select(pl.len()).collect().item()
    start = partial(_encode, folder, catalogue)
    engine.map(start, range(partitions), title="Number the events", progress=progress)
    fallen, rounds = np.zeros(height, dtype=bool), 0
    # Two numbers of 4 bytes an event.
    events = sum(_events_file(folder, one).stat().st_size for one in range(partitions)) // 8
    engine = Local() if events <= FEW else engine
    while True:
        rounds += 1
        file = folder / f"fallen-{rounds:06d}.npy"
        _save(file, fallen)
        work = partial(_round, folder, file, rounds, minima[0])
        title = f"Minima, round {rounds}"
        found = engine.map(work, range(partitions), title=title, progress=progress)
        counts = np.zeros(height, dtype=np.int64)
        for partition in range(partitions):
            counts += np.load(_counts_file(folder, partition))
        fallen = (counts > 0) & (counts < minima[1])
        if not fallen.any():
            return Core(
                rounds, counts, sum(rows for rows, _ in found), sum(users for _, users in found)
            )


def alive_file(folder: Path, partition: int, rounds: int) -> Path:
    """Where it stands which events of a partition are left after some rounds."""
    return folder / f"alive-{partition:06d}-{rounds:06d}.npy"


def _events_file(folder: Path, partition: int) -> Path:
    return folder / f"numbers-{partition:06d}.npy"


def _counts_file(folder: Path, partition: int) -> Path:
    return folder / f"counts-{partition:06d}.npy"


def _save(file: Path, array: np.ndarray) -> None:
    with atomic_file(file) as stream:
        np.save(stream, array)


def _encode(folder: Path, catalogue: Path, partition: int) -> None:
    """Writes users and items of a partition as numbers: int32 `[2, n_events]`."""
    log = pl.read_parquet(gathered_file(folder, partition), columns=[USER, ITEM], glob=False)
    rows_of: Callable[[pl.Series], np.ndarray] = Vocabulary(
        pl.read_parquet(catalogue, columns=[ITEM], glob=False)[ITEM]
    ).rows
    users = Vocabulary(log[USER].unique(maintain_order=True)).rows(log[USER])
    _save(_events_file(folder, partition), np.stack([users, rows_of(log[ITEM])]))
    _save(alive_file(folder, partition, 0), np.ones(log.height, dtype=bool))


def _round(folder: Path, fallen: Path, number: int, min_user: int, partition: int) -> tuple[int, int]:
    """One round in one partition: number of events and of users that are left."""
    gone = np.load(fallen)
    users, items = np.load(_events_file(folder, partition))
    # Not in place: an engine may run a task twice.
    alive = np.load(alive_file(folder, partition, number - 1)) & ~gone[items]
    left = np.bincount(users[alive], minlength=users.max(initial=-1) + 1)
    alive &= (left >= min_user)[users]
    _save(alive_file(folder, partition, number), alive)
    _save(_counts_file(folder, partition), np.bincount(items[alive], minlength=len(gone)))
    return int(alive.sum()), int((left >= max(min_user, 1)).sum())
