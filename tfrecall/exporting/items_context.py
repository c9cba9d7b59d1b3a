"""Context of a release whose items change: the item table, seen items and histories in new rows."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from tfrecall.release.histories import UserContexts, UserHistories
from tfrecall.release.parts import TIMES
from tfrecall.release.retriever import RetrieverRelease
from tfrecall.release.users import RETIRED


def write_changed_context(
    directory: Path,
    items: pl.DataFrame,
    rows: np.ndarray,
    retired: np.ndarray,
    release: RetrieverRelease,
) -> list[str]:
    """Rewrite the files of a copied context that name items by their rows.

    Events of removed items leave the seen items, which lists leave out, and stay in histories, which the model
    reads.

    Args:
        directory: a copy of the context of the release.
        items: the item table after.
        rows: row after of each row before; rows of retired items follow those of the catalogue.
        retired: ids of these.
        release: the release before.

    Returns:
        Names of the histories that have got files of their own.
    """
    items.write_parquet(directory / "items.parquet")
    if np.array_equal(rows, np.arange(len(rows))) and not len(retired):
        return []  # items were added behind all others
    (directory / RETIRED).write_text(json.dumps(retired.tolist(), ensure_ascii=False), "utf-8")
    users = release.users
    every = np.concatenate([items["item_id"].to_numpy(), retired])
    # Without a file of its own a history is the seen items, which lose events below. Context has no such rows.
    lists = {n: one for n, one in users.histories.items() if not isinstance(one, UserContexts)}
    for name, past in lists.items():
        moved = UserHistories(past.offsets, rows[past.items], past.length, every)
        moved.newest().save(directory, name)
    seen = rows[users.seen_items]
    kept = seen < items.height
    counts = np.concatenate([[0], np.cumsum(kept)])
    np.save(directory / "seen_offsets.npy", counts[users.seen_offsets].astype(np.int64))
    np.save(directory / "seen_items.npy", seen[kept].astype(np.int32))
    if users.seen_times is not None:
        np.save(directory / TIMES, np.asarray(users.seen_times)[kept])
    return list(lists)
