"""Wall seconds of `tfrecall run` on MovieLens-100K in a fresh process: what `make demo` does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import movielens_folder, report, seconds_of

with TemporaryDirectory() as folder:
    command = [
        sys.executable,
        "-m",
        "tfrecall.cli",
        "run",
        "--json",
        "--out",
        str(Path(folder) / "release"),
    ]
    if movielens_folder():
        command += ["--data", str(movielens_folder())]
    answers = []
    # Standard error has the progress of the run, for who waits.
    seconds = seconds_of(
        lambda: answers.append(
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        )
    )
metrics = json.loads(answers[0].stdout)
timings = {name: value for name, value in metrics["timings"].items() if name.endswith("_seconds")}
report(
    "demo",
    seconds=seconds,
    **timings,
    hit_rate_at_100_kept=metrics["test"]["seen_kept"]["hit_rate@100"],
    hit_rate_at_100_removed=metrics["test"]["seen_removed"]["hit_rate@100"],
)
