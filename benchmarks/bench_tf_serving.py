"""Memory of SavedModels, and CPU and latency of a query through a v1 session at batches of 1, 8 and 32.

A v1 session is what TF Serving runs; its network, JSON and protocol buffers are not in the figures.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tfrecall as tr
from benchmarks.measure import report
from benchmarks.tutorial import movielens_split
from tfrecall._tensorflow import tf

BATCHES = (1, 8, 32)
QUERIES = 1024
ROUNDS = 5


def exported(folder: Path, items: int | None) -> Path:
    """A release of the tutorial's towers, on MovieLens-100K or on a generated log of so many items.

    What they learn changes no figure, so one epoch is enough, and none for a generated log.
    """
    train = movielens_split()[0] if items is None else tr.data.synthetic(1000, items, 10_000, seed=1)
    schema = tr.Schema(
        query=[tr.Categorical("user_id"), tr.Bucketized("timestamp", 1000)],
        candidate=[tr.Categorical("item_id"), tr.Text("movie_title" if items is None else "title")],
    )
    model = tr.TwoTower(schema, [64, 32])
    if items is None:
        tr.fit(model, train, epochs=1, verbose=0)
    else:
        model.adapt(train)
    return tr.export(model, folder / "release", index=None).root


class Model:
    """One SavedModel in a session with some threads."""

    def __init__(self, path: Path, threads: int) -> None:
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
        )
        self.session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with self.session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self.session, ["serve"], str(path))
        self.signature = loaded.signature_def["serving_default"]
        outputs = [tensor.name for tensor in self.signature.outputs.values()]
        inputs = [tensor.name for tensor in self.signature.inputs.values()]
        self.call = self.session.make_callable(outputs, inputs)

    def feed(self, rows: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [rows[name] for name in self.signature.inputs]


def resident_mb() -> float:
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def measure(model: Model, columns: dict[str, np.ndarray], batch: int) -> dict[str, float]:
    """CPU microseconds a query, and milliseconds of a call at the median and the 95th percentile.

    Of the fastest of some rounds, because other processes only ever add.
    """
    feeds = [
        model.feed({name: values[at : at + batch] for name, values in columns.items()})
        for at in range(0, QUERIES, batch)
    ]
    for feed in feeds[:20]:
        model.call(*feed)
    rounds = [_round(model, feeds) for _ in range(ROUNDS)]
    return {name: min(one[name] for one in rounds) for name in rounds[0]}


def _round(model: Model, feeds: list[list[np.ndarray]]) -> dict[str, float]:
    calls, cpu = [], time.process_time()
    for feed in feeds:
        began = time.perf_counter()
        model.call(*feed)
        calls.append(1000 * (time.perf_counter() - began))
    cpu_us = 1e6 * (time.process_time() - cpu) / QUERIES
    return {
        "cpu_us": cpu_us,
        "p50_ms": float(np.median(calls)),
        "p95_ms": float(np.quantile(calls, 0.95)),
    }


def main() -> None:
    """Measure the SavedModels of a release that take queries, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, help="of a retriever or a pipeline")
    parser.add_argument("--items", type=int, help="size of a generated catalogue")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        root = options.release or exported(Path(folder), options.items)
        release: Any = tr.load(root)
        users = release.users.ids
        asked = [users[i % len(users)] for i in range(QUERIES)]
        columns = release.users.build_queries(asked).features
        found: dict[str, Any] = {}
        for part in ("query", "retrieval", "pipeline"):
            path = root / part / str(release.version)
            if path.exists():
                # A process each, so that memory is that of one model.
                with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                    one = fresh.submit(figures, path, columns, options.threads).result()
                found |= {f"{part}_{name}": value for name, value in one.items()}
        report("tf_serving", items=len(release.item_ids), threads=options.threads, **found)


def figures(path: Path, columns: dict[str, np.ndarray], threads: int) -> dict[str, float]:
    """Size on disk, memory after loading and after asking, and the figures of each batch size."""
    tf.constant(0)  # what TensorFlow takes at its first call is not the model's
    before = resident_mb()
    model = Model(path, threads)
    loaded = resident_mb()
    found = {batch: measure(model, columns, batch) for batch in BATCHES}
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {
        "disk_mb": size / 2**20,
        "loaded_mb": loaded - before,
        "memory_mb": resident_mb() - before,
        "process_mb": resident_mb(),
        **{f"{name}_{batch}": value for batch, one in found.items() for name, value in one.items()},
        "ratio": found[1]["cpu_us"] / found[32]["cpu_us"],
    }


if __name__ == "__main__":
    main()
