"""Processes that work on tasks, found by files: Beam's runner of this machine waits for dead ones for ever."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_POLL_SECONDS = 0.5


class WorkerDiedError(Exception):
    """A worker that is gone before its task ended.

    Attributes:
        place: place of the task.
    """

    def __init__(self, place: int) -> None:
        super().__init__("its process is gone: killed, or out of memory")
        self.place = place


def sign_in(directory: Path, place: int) -> Path:
    """Note that this process works on a task; the caller removes the file when the task has ended."""
    file = directory / f"{place}.pid"
    # Renamed, so that no reader finds a file without its number.
    new = directory / f"{place}.{os.getpid()}.new"
    new.write_text(str(os.getpid()))
    return new.replace(file)


def run_watched(run: Callable[[], None], directory: Path) -> None:
    """Run a function in a thread as long as the processes that signed in are alive.

    Raises:
        WorkerDiedError: if one is gone; the others are killed, and the thread is left behind.
        Exception: that of `run`.
    """
    failed: list[BaseException] = []

    def caught() -> None:
        try:
            run()
        except BaseException as error:
            failed.append(error)

    # A daemon: it would keep the process alive after a worker died.
    thread = threading.Thread(target=caught, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            _check(directory)
    finally:
        if thread.is_alive():  # Ctrl-C, too
            for process in _workers(directory).values():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
    if failed:
        raise failed[0]


def _check(directory: Path) -> None:
    for place, process in _workers(directory).items():
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            # Looked at again: it may have ended well after the list was made.
            if place in _workers(directory):
                raise WorkerDiedError(place) from None


def _workers(directory: Path) -> dict[int, int]:
    found = {}
    for file in directory.glob("*.pid"):
        with suppress(FileNotFoundError):
            found[int(file.stem)] = int(file.read_text())
    return found
