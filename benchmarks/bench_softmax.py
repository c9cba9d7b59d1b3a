"""Training step of full softmax, sampled softmax and scalable cross entropy, by the size of the catalogue.

A user table and an item table of 64 numbers a row, 3,000 targets a step, Adagrad. Each loss and size in a
process of its own, for its peak memory. Times are CPU time, which other processes disturb least; each is that
of the cheapest step.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks.measure import report

DIM, BATCH, STEPS = 64, 3_000, 3
LOSSES = ("full", "sampled", "sce")
SIZES = (3_883, 100_000, 1_000_000)
# A step of the full softmax over a million items takes a minute: it is left out unless asked for.
LEFT_OUT = {("full", 1_000_000)}


def measure(loss: str, items: int) -> dict[str, float]:
    """CPU milliseconds of a step, and peak memory of the process, its log and vocabulary included."""
    import tfrecall as tr
    from benchmarks.bench_catalogue import log_of
    from tfrecall.training.optimizers import make_optimizer

    tasks = {"full": tr.FullSoftmax, "sampled": tr.SampledSoftmax, "sce": tr.ScalableCrossEntropy}
    schema = tr.Schema(
        query=[tr.Categorical("user_id", DIM)], candidate=[tr.Categorical("item_id", DIM)]
    )
    model = tr.TwoTower(schema, layer_sizes=[], task=tasks[loss]())
    data = log_of(items, items + 20 * BATCH)
    model.adapt(data)
    model.compile(make_optimizer("adagrad", 0.1))
    batches = tr.data.examples(data, BATCH, encode=model.encode, forms=model.forms)
    batch = batches.take(1).cache()
    model.create_weights()
    model.fit(batch, epochs=1, verbose=0)  # traces
    seconds = []
    for _ in range(STEPS):
        started = time.process_time()
        model.fit(batch, epochs=1, verbose=0)
        seconds.append(time.process_time() - started)
    return {"step_ms": 1000 * min(seconds), "peak_gb": peak_gb()}


def peak_gb() -> float:
    """Peak memory of this process so far."""
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """One process a loss and size, one after another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=2, metavar=("LOSS", "ITEMS"), help="a loss and a size, in here")
    parser.add_argument("--all", action="store_true", help="also what takes minutes a step")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    figures: dict[str, Any] = {}
    for items in SIZES:
        for loss in LOSSES:
            if options.all or (loss, items) not in LEFT_OUT:
                command = [sys.executable, "-m", "benchmarks.bench_softmax", "--one", loss, str(items)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                figures |= {f"{loss}_{items}_{name}": value for name, value in found.items()}
    report(
        "softmax",
        ratio=figures["full_100000_step_ms"] / figures["sce_100000_step_ms"],
        peak_gb=figures["sce_1000000_peak_gb"],
        **figures,
    )


if __name__ == "__main__":
    main()
