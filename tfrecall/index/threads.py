"""Threads of an index: parts of a catalogue are searched at the same time by libraries that release the GIL."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

Part = TypeVar("Part")
Answer = TypeVar("Answer")


def thread_count() -> int:
    """Threads that an index may use: `OMP_NUM_THREADS`, which `tfrecall serve --threads` sets, or all cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else os.cpu_count() or 1


def in_threads(work: Callable[[Part], Answer], parts: Iterable[Part]) -> list[Answer]:
    """Answers of `work` for each part, in their order; the first error that a part raises is raised.

    `work` does not call this function: the threads would wait for each other.

    >>> in_threads(abs, [-1, 2])
    [1, 2]
    """
    listed, threads = list(parts), thread_count()
    if threads == 1 or len(listed) < 2:
        return [work(part) for part in listed]
    return list(_pool(os.getpid(), threads).map(work, listed))


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of this process: a fork has none of those that its parent has started."""
    return ThreadPoolExecutor(threads, thread_name_prefix="tfrecall-index")
