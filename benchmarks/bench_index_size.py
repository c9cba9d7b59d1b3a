"""Indexes over catalogues of growing size: recall, queries a second of CPU time, CPU time of building, memory.

One line an index, then the line of the benchmark. Each index is built in a process of its own and asked in
another, which opens the files as a service does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np

from benchmarks.measure import report
from tfrecall.index import Annoy, Exact, Faiss, Hits, Scann, load_bundle, write_bundle
from tfrecall.index.bundle import IndexSettings
from tfrecall.index.tuning import recall_of

K, QUERIES, BATCH, SECONDS = 100, 1000, 32, 3.0
INDEXES: dict[str, IndexSettings] = {
    "exact float32": Exact(),
    "exact bfloat16": Exact("bfloat16"),
    "exact int8": Exact("int8"),
    "annoy": Annoy(),
    "annoy, 4 shards": Annoy(shards=4),
    "faiss hnsw": Faiss("hnsw"),
    "faiss ivf_flat": Faiss("ivf_flat"),
    "faiss ivf_pq": Faiss("ivf_pq"),
    **({} if find_spec("scann") is None else {"scann": Scann()}),
}


def catalogue(items: int, kind: str, release: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of a catalogue and of queries, float32.

    `random`: normal numbers. `trained`: those of a release and its users; a larger catalogue is drawn around
    its items, between near neighbours, with a fifth of the spread of all. Without a release: clusters whose
    directions weaken like those of trained models, with lengths that differ.
    """
    rng = np.random.default_rng(0)
    if kind == "random":
        vectors, queries = rng.normal(size=(items, 64)), rng.normal(size=(QUERIES, 64))
    elif release is None:
        spectrum = 1 / np.sqrt(1 + np.arange(64))
        centres = rng.normal(size=(200, 64)) * spectrum
        near = rng.integers(len(centres), size=items)
        vectors = centres[near] + 0.5 * rng.normal(size=(items, 64)) * spectrum
        vectors *= rng.lognormal(sigma=0.3, size=(items, 1))
        queries = centres[rng.integers(len(centres), size=QUERIES)]
        queries = queries + 0.7 * rng.normal(size=queries.shape) * spectrum
    else:
        trained, queries = trained_vectors(release)
        vectors = trained if items <= len(trained) else around(trained, items, rng)
    return vectors.astype(np.float32), queries.astype(np.float32)


def trained_vectors(release: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the items of a release, and of its first users."""
    import tfrecall as tr

    opened = tr.load(release)
    asked = opened.users.build_queries(list(opened.users.ids)[:QUERIES])
    return np.asarray(opened.bundle.exact.vectors), opened.embed(asked.features)


def around(trained: np.ndarray, items: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors between those of a trained catalogue."""
    unit = trained / np.maximum(np.linalg.norm(trained, axis=1, keepdims=True), 1e-12)
    neighbours = np.argsort(-(unit @ unit.T), axis=1)[:, 1:11]
    one = rng.integers(len(trained), size=items)
    other = neighbours[one, rng.integers(10, size=items)]
    spread = trained[rng.integers(len(trained), size=items)] - trained.mean(axis=0)
    return trained[one] + rng.random((items, 1)) * (trained[other] - trained[one]) + 0.2 * spread


def build(folder: Path, name: str) -> dict[str, float]:
    """Builds one index; seconds, and the peak of memory."""
    arrays = np.load(folder / "catalogue.npz")
    vectors, ids = arrays["vectors"], [f"i{row}" for row in range(len(arrays["vectors"]))]
    tuning = arrays["queries"][::2]
    began = process_time()
    write_bundle(folder / "bundle", vectors, ids, INDEXES[name], tuning_queries=tuning)
    seconds = process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"build_seconds": seconds, "build_peak_mb": peak}


def ask(folder: Path) -> dict[str, float]:
    """Asks the files of one index: recall, queries a second, and the memory that the index adds."""
    arrays = np.load(folder / "catalogue.npz")
    queries = arrays["queries"]
    truth = Hits(arrays["rows"], arrays["scores"])
    before = own_mb()
    bundle = load_bundle(folder / "bundle", verify=False)
    index = bundle.index(bundle.names[-1])
    one = rate(index, queries, 1)
    after = own_mb()
    several = rate(index, queries, BATCH)
    hits = index.search(queries, K)
    return {
        "recall": float(recall_of(hits, truth).mean()),
        "queries_per_second": one,
        "batched_per_second": several,
        "memory_mb": after - before,
        "mapped_mb": mapped_mb(folder),
        "disk_mb": sum(file.stat().st_size for file in (folder / "bundle").iterdir()) / 2**20,
    }


def rate(index: Any, queries: np.ndarray, size: int) -> float:
    """Queries a second of CPU time, `size` at once, for some seconds."""
    index.search(queries[:size], K)  # pages are mapped, and libraries loaded
    done, began = 0, process_time()
    while (seconds := process_time() - began) < SECONDS:
        start = done % (len(queries) - size + 1)
        index.search(queries[start : start + size], K)
        done += size
    return done / seconds


def own_mb() -> float:
    """Resident memory of this process that is of no file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def mapped_mb(folder: Path) -> float:
    """Resident memory of files of a folder that are mapped; processes share it."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if line.startswith("Rss:"):
            total += int(line.split()[1]) if inside else 0
        elif "-" in line.split()[0]:
            inside = str(folder) in line
    return total / 1024


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Writes the catalogue, the queries, and their true answers."""
    vectors, queries = catalogue(options.items, options.vectors, options.release)
    truth = Exact().build(vectors, [str(row) for row in range(len(vectors))]).search(queries, K)
    np.savez(folder / "catalogue.npz", vectors=vectors, queries=queries, **truth._asdict())


def in_process(folder: Path, step: str, name: str, options: argparse.Namespace) -> dict[str, float]:
    """A step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_index_size", "--step", step, "--index", name]
    command += ["--folder", str(folder), "--items", str(options.items), "--vectors", options.vectors]
    command += [] if options.release is None else ["--release", str(options.release)]
    # One thread each: CPU time is then the time that an idle core takes, also where others compute.
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=alone)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures all indexes, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--vectors", choices=["trained", "random"], default="trained")
    parser.add_argument("--release", type=Path, help="a release whose vectors are taken")
    parser.add_argument("--index", action="append", choices=list(INDEXES), help="all by default")
    parser.add_argument("--step", choices=["prepare", "build", "ask"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        steps = {"build": build, "ask": lambda folder, _: ask(folder)}
        if options.step == "prepare":
            prepare(options.folder, options)
        answer = steps[options.step](options.folder, options.index[0]) if options.step in steps else {}
        print(json.dumps(answer))
        return
    figures = measured(options)
    rates = {name: one["queries_per_second"] for name, one in figures.items()}
    report(
        "index_size",
        items=options.items,
        vectors=options.vectors,
        least_recall=min(one["recall"] for one in figures.values()),
        rates={name: rate / rates.get("exact float32", rate) for name, rate in rates.items()},
    )


def measured(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures of each index, one line for each as it is measured."""
    figures = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        in_process(folder, "prepare", "exact float32", options)
        for index in options.index or INDEXES:
            built = in_process(folder, "build", index, options)
            figures[index] = {**built, **in_process(folder, "ask", index, options)}
            for file in (folder / "bundle").iterdir():
                file.unlink()
            (folder / "bundle").rmdir()
            told = {key: round(value, 3) for key, value in figures[index].items()}
            print(json.dumps({"index": index, "items": options.items, **told}), flush=True)
    return figures


if __name__ == "__main__":
    main()
