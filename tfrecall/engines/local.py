"""The engine of one machine: this process, or a pool of others."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.engines.base import Failure, Result, Task, attempt, stopped, succeeded
from tfrecall.errors import ConfigError, EngineError

# How long a worker may take to end by itself before it is killed.
_GRACE_SECONDS = 5.0
# Where libraries look for their number of threads: Polars, BLAS, faiss and the indexes here, TensorFlow.
THREADS = (
    "POLARS_MAX_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


class Local:
    """Runs tasks on this machine, one after another or several at a time.

    Each of several processes is a fresh interpreter and takes the next task when it has finished one. Its
    libraries use its share of the cores, or as many threads as the environment says (`OMP_NUM_THREADS`,
    `POLARS_MAX_THREADS` and others). Processes end with the job, with Ctrl-C, and with this process even if
    that is killed. A script that starts them needs `if __name__ == "__main__":`, as with `multiprocessing`.

    Args:
        processes: number of processes; 1 runs the tasks in this one.

    Raises:
        ConfigError: if `processes` is below 1.

    Example:

    >>> Local().map(len, ["a", "bcd"], title="Measure")
    [1, 3]
    """

    name = "local"

    def __init__(self, processes: int = 1) -> None:
        if processes < 1:
            raise ConfigError(f"`processes` must be 1 or more. Received: {processes}.")
        self.processes = processes

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        title: str,
        progress: ProgressReporter | None = None,
    ) -> list[Result]:
        progress = progress or LogProgress()
        results: dict[int, Result] = {}
        workers = min(self.processes, len(tasks))
        outcomes = _here(function, tasks) if workers <= 1 else _there(function, tasks, workers, title)
        # Closed here: the traceback of an error would keep the generator, and with it the processes.
        with closing(outcomes):
            for place, outcome in outcomes:
                results[place] = succeeded(outcome, tasks[place], title)
                progress.progress(title, len(results), len(tasks), "parts")
        return [results[place] for place in range(len(tasks))]


def _here(
    function: Callable[[Any], Any], tasks: Sequence[Any]
) -> Generator[tuple[int, Any], None, None]:
    for place, task in enumerate(tasks):
        yield place, attempt(function, task)


def _there(
    function: Callable[[Any], Any], tasks: Sequence[Any], workers: int, title: str
) -> Generator[tuple[int, Any], None, None]:
    """Yield the place and the outcome of each task as it ends."""
    waiting = iter(range(len(tasks)))
    busy: dict[Connection, int] = {}

    def give(connection: Connection) -> None:
        place = next(waiting, None)
        if place is not None:
            busy[connection] = place
            with suppress(BrokenPipeError):  # of a dead worker, whose end is found below
                connection.send(tasks[place])

    with _pool(_pickled(function), workers) as pool:
        for connection in pool:
            give(connection)
        while busy:
            # A worker that died leaves the end of its stream to read.
            for connection in cast("list[Connection]", wait(list(busy))):
                place = busy.pop(connection)
                try:
                    outcome = pickle.loads(connection.recv_bytes())
                except (EOFError, OSError):
                    raise _died(pool[connection], tasks[place], title) from None
                yield place, outcome
                give(connection)


def _pickled(function: Callable[[Any], Any]) -> bytes:
    try:
        return pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"Other processes cannot get the function {function!r}: {error}. Define it at the top level of a "
            "module, or give `functools.partial` of such a function."
        ) from error


@contextmanager
def _pool(function: bytes, workers: int) -> Iterator[dict[Connection, BaseProcess]]:
    """Start workers, each behind its connection; at the end of the block none is left."""
    # Not forked: threads that Polars and TensorFlow have started would be missing in the copies.
    context = multiprocessing.get_context("spawn")
    pool: dict[Connection, BaseProcess] = {}
    try:
        with _shared_cores(workers):
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process: BaseProcess = context.Process(
                    target=_work, args=(theirs, function), daemon=True
                )
                pool[ours] = process
                process.start()
                # Open here, too, it would hide the end of the worker.
                theirs.close()
        yield pool
    finally:
        for connection, process in pool.items():
            connection.close()
            _end(process)


@contextmanager
def _shared_cores(workers: int) -> Iterator[None]:
    """Give processes that are started in the block their share of the cores, where nothing else is set.

    Libraries read their number of threads when they are imported, before any code of a worker runs, so
    it is in the environment that workers inherit.
    """
    share = str(max(1, _cores() // workers))
    added = {name: share for name in THREADS if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end(process: BaseProcess) -> None:
    if process.pid is None:  # Ctrl-C before it was started
        return
    process.terminate()
    process.join(_GRACE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def _work(connection: Connection, function: bytes) -> None:
    """Answer tasks until the other end closes; runs in a process of the pool."""
    # Ctrl-C reaches all processes of a terminal: the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run = pickle.loads(function)
        while True:
            connection.send_bytes(_portable(attempt(run, connection.recv())))
    except (EOFError, OSError):  # of the connection alone: those of tasks are outcomes
        return


def _portable(outcome: Any) -> bytes:
    """Pickle an outcome, or the reason why that cannot be done."""
    try:
        return pickle.dumps(outcome)
    except Exception as error:  # of any class: the result's own code runs
        if isinstance(outcome, Failure):
            return pickle.dumps(Failure(None, outcome.cause, outcome.trace))
        return pickle.dumps(Failure.of(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _died(process: BaseProcess, task: Any, title: str) -> EngineError:
    process.join(_GRACE_SECONDS)
    status = process.exitcode or 0
    if status < 0:
        cause = f"its process was ended by signal {-status} (9: often for lack of memory)"
    else:
        cause = (
            f"its process ended with status {status} (1 at the start: a script needs "
            '`if __name__ == "__main__":`)'
        )
    return stopped(title, task, cause)
