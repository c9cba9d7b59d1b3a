"""Seconds and peak memory to read, validate, split and index a generated Parquet log.

The log is written by one process and worked on by another, whose peak is reported.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from benchmarks.measure import report, seconds_of
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
    """The whole way of a log before training: vocabularies and histories at the end."""
    data = read(file)
    split_random(data)
    split_leave_last_out(data)
    train, _ = split_by_time(data, 1_590_000_000)
    _ = train.user_rows, train.item_rows, train.histories


def main() -> None:
    """Writes and works in two processes of their own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--write", type=Path, help="only write the log there")
    parser.add_argument("--work", type=Path, help="only work on the log there")
    options = parser.parse_args()
    if options.write:
        write_log(options.write, options.rows)
    elif options.work:
        seconds = seconds_of(lambda: work(options.work))
        unit = 2**30 if sys.platform == "darwin" else 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        report("log", rows=options.rows, seconds=seconds, peak_rss_gb=peak)
    else:
        with TemporaryDirectory() as folder:
            for step in ("--write", "--work"):
                file = str(Path(folder) / "log.parquet")
                command = [sys.executable, "-m", "benchmarks.bench_log", step, file]
                subprocess.run([*command, "--rows", str(options.rows)], check=True)


if __name__ == "__main__":
    main()
