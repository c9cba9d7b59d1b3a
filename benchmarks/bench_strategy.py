"""hit_rate@100 and seconds of `tfrecall run` on MovieLens-100K: two workers against one process.

Both learn from the same batches, a half of each on either worker, so the figures of the test rows agree within
what rounding leads to. Two workers on one machine share its cores: the seconds say what the exchange costs,
not what a second machine gains.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.measure import movielens_folder, report

PORTS = (23451, 23452)


def start(folder: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    """`tfrecall run` of the recipe, of a process of its own."""
    data = ["--data", str(movielens_folder())] if movielens_folder() else []
    command = [sys.executable, "-m", "tfrecall.cli", "run", "two_tower_ml100k", *data]
    return subprocess.Popen(
        [*command, "--json", "--allow-worse", "--out", str(folder / "release"), *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )


def outcome(processes: list[subprocess.Popen[str]], began: float) -> dict[str, Any]:
    """Metrics of the release, which the first process writes, and seconds until all have ended."""
    answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"Ended with {[process.returncode for process in processes]}.")
    metrics = json.loads(answers[0])
    return {
        "hit_rate": metrics["test"]["seen_removed"]["hit_rate@100"],
        "loss": metrics["training"]["history"]["loss"][-1],
        "fit_seconds": metrics["timings"]["fit_seconds"],
        "seconds": perf_counter() - began,
    }


def config(index: int) -> str:
    """TF_CONFIG of one of two workers of this machine."""
    workers = [f"localhost:{port}" for port in PORTS]
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=3)
epochs = f"training.epochs={parser.parse_args().epochs}"
with TemporaryDirectory() as folder:
    began = perf_counter()
    one = outcome([start(Path(folder, "one"), "--set", epochs)], began)
    began = perf_counter()
    workers = [
        start(
            Path(folder, f"worker_{index}"),
            "--set",
            epochs,
            "--strategy",
            "multi_worker_mirrored",
            TF_CONFIG=config(index),
        )
        for index in range(len(PORTS))
    ]
    two = outcome(workers, began)
report(
    "strategy",
    **{f"one_{name}": value for name, value in one.items()},
    **{f"two_{name}": value for name, value in two.items()},
    hit_rate_ratio=two["hit_rate"] / one["hit_rate"],
    loss_ratio=two["loss"] / one["loss"],
)
