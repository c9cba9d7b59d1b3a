"""CPU seconds and peak memory to prepare logs of one, ten and more million events into shards.

The logs are expansions of MovieLens-1M, or of a generated log of its size without it. Each is written by one
process and prepared by another; the peak is that of the largest process, and CPU time is that of all. Polars
has one thread a process: threads that wait for one another count as CPU time, which then says little of the
work.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import tfrecall as tr
from benchmarks.measure import movielens_folder, report, seconds_of
from tfrecall.core.progress import ProgressReporter
from tfrecall.data.shards.prepare import prepare
from tfrecall.engines import Local

MILLION = 1_000_000
# A shard of half a million events: what is held at once does not grow with the log.
SHARDS_OF_A_MILLION = 2


def write_log(folder: Path, millions: int) -> None:
    """An expansion of MovieLens-1M of so many times its events."""
    place = movielens_folder("1m")
    if place is not None and place.is_dir():
        data = tr.data.movielens("1m", place)
    else:
        data = tr.data.synthetic(n_users=6000, n_items=3700, n_rows=MILLION)
    tr.data.expand(data, millions, seed=1).write(folder, ProgressReporter())


def work(folder: Path, millions: int, processes: int) -> None:
    """Prepare a log in a process of its own; print what it took."""
    shards = max(8, SHARDS_OF_A_MILLION * millions)
    started = process_time()  # imports, the same for every log, do not count
    wall = seconds_of(
        lambda: prepare(
            folder / "log.parquet", folder / "shards", partitions=shards, engine=Local(processes)
        )
    )
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used) - started
    peak = max(one.ru_maxrss for one in used) / 2**20
    print(json.dumps({"cpu_seconds": cpu, "wall_seconds": wall, "peak_rss_gb": peak}))


def measured(millions: int, processes: int) -> dict[str, Any]:
    """What one log took, in processes of their own: the peak of this one says nothing of the others."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "log"
        _again("write", place, millions, processes)
        return json.loads(_again("work", place, millions, processes).splitlines()[-1])


def _again(step: str, folder: Path, millions: int, processes: int) -> str:
    arguments = ["--step", step, "--folder", folder, "--processes", processes, "--millions", millions]
    command = [sys.executable, "-m", "benchmarks.bench_prepare", *map(str, arguments)]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"} if step == "work" else None
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout


def main() -> None:
    """Measure logs in their order and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--step", choices=["write", "work"])
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.step == "write":
        write_log(given.folder, given.millions[0])
    elif given.step == "work":
        work(given.folder, given.millions[0], given.processes)
    else:
        _compare(given.millions, given.processes)


def _compare(sizes: list[int], processes: int) -> None:
    found = {millions: measured(millions, processes) for millions in sizes}
    figures: dict[str, float] = {}
    for millions, one in found.items():
        figures[f"seconds_per_million_of_{millions}"] = one["cpu_seconds"] / millions
        figures[f"wall_seconds_per_million_of_{millions}"] = one["wall_seconds"] / millions
        figures[f"peak_rss_gb_of_{millions}"] = one["peak_rss_gb"]
    each = [one["cpu_seconds"] / millions for millions, one in found.items()]
    report("prepare", processes=processes, **figures, growth=each[-1] / each[0])


if __name__ == "__main__":
    main()
