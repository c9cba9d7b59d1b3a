"""Facts of any run for `metrics.json`: data, curves and timings."""

import math
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfrecall.runs.preparation import DataSplits
from tfrecall.training import Fitted


class Stopwatch:
    """Seconds of named steps; a step that is still running counts until now."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        self._started[name] = time.perf_counter()
        yield
        self._ended[name] = time.perf_counter()

    @property
    def seconds(self) -> dict[str, float]:
        now = time.perf_counter()
        return {n: round(self._ended.get(n, now) - start, 3) for n, start in self._started.items()}


def data_facts(splits: DataSplits) -> dict[str, Any]:
    """Describe the data of a run: name, sizes and fingerprint of the log."""
    known = splits.known
    return {
        "name": known.name,
        "users": known.users.height,
        "items": known.items.height,
        "train_rows": len(splits.trainable),
        "test_rows": len(splits.test),
        "fingerprint": known.fingerprint,
    }


def intervals_of(figures: dict[str, Any], model: str) -> dict[str, Any]:
    """Intervals of an evaluation in its plain form, the model under the name that tables give it."""
    return _named(figures, "intervals", model)


def among_new_of(figures: dict[str, Any], model: str) -> dict[str, Any]:
    """Figures among new items, `model` under the name that tables give it; nothing where none were made."""
    if not figures.get("among_new"):
        return {}
    return {"among_new": _named(figures, "among_new", model), "new_items": figures["new_items"]}


def _named(figures: dict[str, Any], part: str, model: str) -> dict[str, Any]:
    return {model if name == figures["model"] else name: of for name, of in figures[part].items()}


def finite(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Replace values of diverged epochs by None: JSON has no NaN."""
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
    # `ru_maxrss` is in bytes on macOS, in kilobytes on Linux.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
