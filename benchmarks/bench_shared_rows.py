"""Ten million ids in a million rows: memory and seconds to learn a vocabulary, against a row for each id.

Ids by Zipf's law. The 900,000 most frequent have rows of their own, all others 100,000 shared ones, in vectors
of 32 numbers. Each form in a process of its own, which reads its ids from the same generator.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import polars as pl

from benchmarks.bench_softmax import peak_gb
from benchmarks.measure import report

DIM = 32
# Share of the ids with rows of their own, and of shared rows.
OWN, SHARED = 0.09, 0.01


def measure(form: str, ids: int) -> dict[str, float]:
    """CPU seconds until an adapted layer has its table, its size, and the memory added at the peak."""
    import tfrecall as tr
    from tfrecall.data.batches import column_batches
    from tfrecall.layers.features import CategoricalFeature
    from tfrecall.layers.shared_rows import EventReader, Events

    settings: dict[str, Any] = {}
    if form == "shared":
        settings = {"max_tokens": int(OWN * ids), "hash_rows": int(SHARED * ids), "min_count": 1}
    layer = CategoricalFeature(tr.Categorical("item_id", DIM, **settings))
    names = pl.DataFrame({"item_id": np.random.default_rng(0).permutation(ids)}).cast(pl.String)
    # Each id as often as its rank says.
    counts = np.maximum(ids // (1 + np.arange(ids)), 1)
    reader = EventReader(
        lambda column, kind: column_batches(names, column, kind), Events(counts.astype(np.int64))
    )
    before = peak_gb()

    started = time.process_time()
    layer.adapt_to(reader)
    layer(layer.preprocess(names["item_id"].head(10).to_numpy()))
    seconds = time.process_time() - started
    rows = int(layer.table.shape[0])
    return {
        "seconds": seconds,
        "rows": rows,
        "table_gb": 4 * DIM * rows / 2**30,
        "added_gb": peak_gb() - before,
    }


def main() -> None:
    """One process a form."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ids", type=int, default=10_000_000, help="number of ids")
    parser.add_argument("--form", choices=["shared", "own"], help="one form, in here")
    options = parser.parse_args()
    if options.form:
        print(json.dumps(measure(options.form, options.ids)))
        return
    figures: dict[str, Any] = {}
    for form in ("shared", "own"):
        command = [sys.executable, "-m", "benchmarks.bench_shared_rows", "--form", form]
        command += ["--ids", str(options.ids)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        figures |= {f"{form}_{name}": value for name, value in found.items()}
    report("shared_rows", ratio=figures["own_added_gb"] / figures["shared_added_gb"], **figures)


if __name__ == "__main__":
    main()
