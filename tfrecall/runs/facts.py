"""What `metrics.json` says of any run: its data, its curves, how long it took."""

import math
import resource
import sys
from typing import Any

from tfrecall.runs.listener import Stopwatch
from tfrecall.runs.preparation import Prepared
from tfrecall.training import Fitted


def data_facts(prepared: Prepared) -> dict[str, Any]:
    """The data of a run."""
    known = prepared.known
    return {
        "name": known.name,
        "users": known.users.height,
        "items": known.items.height,
        "train_rows": len(prepared.trainable),
        "test_rows": len(prepared.test),
        "fingerprint": known.fingerprint,
    }


def finite(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """None where an epoch diverged: JSON has no NaN."""
    return {
        name: [value if math.isfinite(value) else None for value in values]
        for name, values in history.items()
    }


def timings(fitted: Fitted, clock: Stopwatch) -> dict[str, Any]:
    """Seconds of each step, speed and memory."""
    return {
        **{f"{name}_seconds": seconds for name, seconds in clock.seconds.items()},
        "epochs": fitted.epochs,
        "examples_per_second": round(fitted.examples_per_second),
        "peak_rss_mb": round(_peak_rss_mb()),
    }


def _peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
