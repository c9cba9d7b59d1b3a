"""Functions that tests run in other processes, which import this file."""

import os
import signal
import time
from pathlib import Path

import polars as pl

from tfrecall.errors import MissingColumnError


def squared(number: int, plus: int = 0) -> int:
    return number * number + plus


def refused_at_3(number: int) -> int:
    if number == 3:
        raise MissingColumnError("part 3 has no column")
    return number


def broken_at_3(number: int) -> float:
    return 1 / (number - 3)


def killed_at_3(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def unportable(number: int) -> object:
    return lambda: number


def told_and_stuck(folder: Path) -> None:
    """Leave the process' id in a file, and go on until the process is ended."""
    (folder / f"{os.getpid()}.pid").touch()
    while True:
        time.sleep(0.1)


def process(number: int) -> int:
    return os.getpid()


def threads(_: object) -> tuple[str, int]:
    return os.environ["OMP_NUM_THREADS"], pl.thread_pool_size()
