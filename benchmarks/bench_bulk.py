"""Users that `recommend_all` answers in a second of one core by exact search, and the hours of a million.

The catalogue has 100,000 items, the users are fewer than a million: each user takes the same work. CPU time of
all threads counts, so that neither other processes nor the number of cores change the figure.
"""

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np
import polars as pl

import tfrecall as tr
from benchmarks.measure import report, seconds_of
from tfrecall.batch import recommend_all
from tfrecall.core.progress import ProgressReporter
from tfrecall.engines import Local

MILLION = 1_000_000
BLOCK = 4096


def released(users: int, items: int, folder: Path) -> Any:
    """A release of towers of 64 numbers with their first weights: training would not change the work."""
    random = np.random.default_rng(1)
    events = max(10 * users, items)
    log = pl.DataFrame(
        {
            "user_id": pl.Series(np.arange(events) % users).cast(pl.String),
            "item_id": pl.Series(np.arange(events) % items).cast(pl.String),
            "timestamp": random.integers(1_600_000_000, 1_700_000_000, events),
        }
    )
    data = tr.data.from_frame(log)
    schema = tr.Schema(query=[tr.Categorical("user_id")], candidate=[tr.Categorical("item_id")])
    model = tr.TwoTower(schema, [64])
    model.adapt(data)
    model.compile(optimizer=tr.keras.optimizers.Adagrad(0.1))
    return tr.export(model, folder / "release", index=None)


def cpu_seconds(work: Any) -> float:
    """CPU time of a call, of all threads of this process."""
    started = process_time()
    work()
    return process_time() - started


def _products(vectors: np.ndarray) -> None:
    """Inner products of a block of queries with all vectors, into memory that is there already."""
    some = 128
    place = np.empty((some, len(vectors)), np.float32)
    for start in range(0, BLOCK, some):
        np.matmul(vectors[start : start + some], vectors.T, out=place)


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=5 * BLOCK)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        release = released(given.users, given.items, folder)
        quiet = {"k": given.k, "index": "exact", "progress": ProgressReporter()}
        ask = partial(recommend_all, release, **quiet)
        some = release.users.ids[:BLOCK]
        ask(some, out=folder / "first.parquet")  # traces the model
        seconds = cpu_seconds(lambda: ask(out=folder / "all.parquet"))
        # The least that an exact search does: the inner products, once.
        vectors = np.asarray(release.bundle.exact.vectors)
        products = cpu_seconds(lambda: _products(vectors)) * given.users / BLOCK
        wall = seconds_of(lambda: ask(out=folder / "parts", engine=Local(given.processes)))
    rate = given.users / seconds
    report(
        "bulk",
        users=given.users,
        items=given.items,
        k=given.k,
        users_per_cpu_second=rate,
        ratio_to_products=seconds / products,
        core_hours_of_a_million=MILLION / rate / 3600,
        processes=given.processes,
        wall_seconds=wall,
    )


if __name__ == "__main__":
    main()
