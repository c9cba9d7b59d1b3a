"""Time, and the line that a benchmark prints. Imports no TensorFlow."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall time of a call."""
    started = perf_counter()
    work()
    return perf_counter() - started


def fastest_in_turn(works: list[Callable[[], Any]], rounds: int) -> list[float]:
    """The fewest seconds that each call took in some rounds.

    In turn, so that a noisy moment hits all sides; the fewest, because other processes only ever add.
    """
    seconds = [[seconds_of(work) for work in works] for _ in range(rounds)]
    return [min(times) for times in zip(*seconds, strict=True)]


def report(name: str, **figures: Any) -> None:
    """Prints the line of a benchmark."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps({"benchmark": name, **rounded}), flush=True)


def movielens_folder(size: str = "100k") -> Path | None:
    """`$TFRECALL_MOVIELENS/ml-100k`, or that of another size; None for the cache of `data fetch`."""
    folder = os.environ.get("TFRECALL_MOVIELENS")
    return Path(folder) / f"ml-{size}" if folder else None
