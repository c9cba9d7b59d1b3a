"""Locks that go with the process that holds them, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock of a directory, among all processes that see its file system.

    Args:
        directory: where the lock file lies.
        wait: whether to wait for who has it now.

    Raises:
        BlockingIOError: if another has it and `wait` is False.
        OSError: if the directory cannot be written, or its file system has no locks.
    """
    file = directory / LOCK
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Whoever had it before may have removed the file: that lock keeps nobody out.
            if _is_open(descriptor, file):
                yield
                return
        finally:
            os.close(descriptor)


def _is_open(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
