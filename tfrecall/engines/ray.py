"""The engine Ray: a cluster that is there, or one started on this machine."""

import json
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.engines.base import Result, Task, attempt, stopped, succeeded
from tfrecall.engines.options import parsed
from tfrecall.errors import ConfigError

# Tasks and results are paths and a few numbers. Ray's default is a third of the memory, which tasks need.
_STORE_BYTES = 100 * 2**20


class Ray:
    """Runs tasks as remote functions of Ray, as many at a time as there are processors.

    A session that is open is used and left open; one that the engine opens ends with the engine. All
    machines have this package and see the paths of tasks and results at the same place. A task whose worker
    died is run again, as often as Ray does by itself (three times).

    Args:
        options: arguments of `ray.init` as texts, such as `address=auto`.
        processes: how many tasks run at a time; None for as many as the cluster has processors. Of a
            cluster started here, its number of processors.

    Raises:
        ConfigError: if Ray is missing.
    """

    name = "ray"

    def __init__(self, options: Sequence[str] = (), processes: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise ConfigError(f"`processes` must be 1 or more. Received: {processes}.")
        self._options = {name: _value(text) for name, text in parsed(options).items()}
        self._processes = processes
        _ray()

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
        if not tasks:
            return []
        self._open()
        running: dict[Any, int] = {}
        try:
            for place, outcome in _outcomes(function, tasks, self._at_a_time(), running, title):
                results[place] = succeeded(outcome, tasks[place], title)
                progress.progress(title, len(results), len(tasks), "parts")
        finally:
            for reference in running:
                _ray().cancel(reference, force=True)
        return [results[place] for place in range(len(tasks))]

    def _open(self) -> None:
        """Start or join a cluster, unless a session is open."""
        ray = _ray()
        if ray.is_initialized():
            return
        given = {
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": "WARNING",
            **self._options,
        }
        if "address" not in given:
            given.setdefault("object_store_memory", _STORE_BYTES)
            if self._processes is not None:
                given.setdefault("num_cpus", self._processes)
        try:
            ray.init(**given)
        except (RuntimeError, TypeError, ValueError, ConnectionError) as error:
            raise ConfigError(
                f"Ray refuses the options of the engine ({self._options}): {error}."
            ) from error
        weakref.finalize(self, ray.shutdown)

    def _at_a_time(self) -> int:
        processors = int(_ray().cluster_resources().get("CPU", 1))
        return max(1, self._processes or processors)


def _outcomes(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    at_a_time: int,
    running: dict[Any, int],
    title: str,
) -> Any:
    """Yield the place and the outcome of each task as it ends; `running` holds the others' places."""
    ray = _ray()
    remote = ray.remote(attempt)
    shared = ray.put(function)
    waiting = iter(range(len(tasks)))
    while True:
        while len(running) < at_a_time and (place := next(waiting, None)) is not None:
            running[remote.remote(shared, tasks[place])] = place
        if not running:
            return
        (reference,), _ = ray.wait(list(running), num_returns=1)
        place = running.pop(reference)
        try:
            yield place, ray.get(reference)
        except ray.exceptions.RayError as error:  # its worker died, or the result cannot travel
            raise stopped(title, tasks[place], str(error)) from error


def _value(text: str | None) -> Any:
    """The value of an option: a number or a truth value where it reads as one."""
    if text is None:
        return True
    try:
        return json.loads(text)
    except ValueError:
        return text


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "The engine ray needs Ray: install tfrecall[ray] (`pip install ray`)."
        ) from error
    return ray
