"""Seconds and peak memory to read, validate, split and index a generated Parquet log."""

import argparse
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from benchmarks.common import report, seconds_of
from tfrecall.data import read, split_by_time, split_leave_last_out, split_random


def write_log(file: Path, rows: int) -> None:
    """A log of `rows` events by rows / 140 users over 27,000 items, popular ones more often."""
    rng = np.random.default_rng(0)
    items = (27_000 * rng.random(rows) ** 3).astype(np.int32)
    pl.DataFrame(
        {
            "user_id": rng.integers(0, max(rows // 140, 2), rows, dtype=np.int32),
            "item_id": items,
            "timestamp": rng.integers(1_500_000_000, 1_600_000_000, rows),
        }
    ).write_parquet(file)


def work(file: Path) -> None:
    """The whole way of a log before training."""
    data = read(file)
    split_random(data)
    split_leave_last_out(data)
    train, _ = split_by_time(data, 1_590_000_000)
    _ = train.user_rows, train.item_rows, train.histories


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_000_000)
    rows = parser.parse_args().rows
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log.parquet"
        write_log(log, rows)
        seconds = seconds_of(lambda: work(log))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report("log", rows=rows, seconds=seconds, peak_rss_gb=peak)
