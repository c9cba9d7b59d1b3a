"""The engine Apache Beam, for the runners of one machine and of clusters: Flink, Spark, Dataflow."""

import argparse
import importlib
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.storage import atomic_file
from tfrecall.engines.base import Failure, Result, Task, attempt, stopped, succeeded
from tfrecall.engines.options import parsed
from tfrecall.engines.watch import WorkerDiedError, run_watched, sign_in
from tfrecall.errors import ConfigError, EngineError

# Beam's runner of this machine. Its "DirectRunner" would look for Prism in the network first.
_HERE = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_ON_THIS_MACHINE = ("fnapirunner", "directrunner", "prismrunner", "bundlebaseddirectrunner")
_OPTIONS = "apache_beam.options.pipeline_options"
_SHARED = "shared_directory"


class Beam:
    """Runs tasks as elements of a Beam pipeline, one pipeline a `map`.

    Results come back through files, which a task that runs twice writes twice alike. All workers have
    this package, and see the paths of tasks, the ones of results and `shared_directory` at the same place.
    Progress is told at the end: until then it is the runner's to tell.

    Args:
        options: pipeline options as texts, `runner=FlinkRunner` or `--runner=FlinkRunner`, and
            `shared_directory=PATH` for results; a temporary one by default, where the runner is on this
            machine. Without a runner, Beam's Python runner works in this process.
        processes: number of worker processes of a runner of this machine; None for this process.

    Raises:
        ConfigError: if Beam is missing, or refuses an option.
    """

    name = "beam"

    def __init__(self, options: Sequence[str] = (), processes: int | None = None) -> None:
        given = parsed(options)
        self._shared = given.pop(_SHARED, None)
        self._runner = given.get("runner") or _HERE
        here = self._runner.lower().endswith(_ON_THIS_MACHINE)
        if not here and self._shared is None:
            raise ConfigError(
                f"Workers of {self._runner} are on other machines, so results need a directory that all of "
                f"them see. Give the engine the option {_SHARED}=PATH."
            )
        if here:  # workers of this machine otherwise tell of each connection
            given.setdefault("default_sdk_harness_log_level", "ERROR")
        if processes is not None:
            given |= _workers(processes, self._runner)
        self._watched = given.get("direct_running_mode") == "multi_processing"
        flags = [f"--{name}" if text is None else f"--{name}={text}" for name, text in given.items()]
        _check(flags, known_alone=here)
        self._flags = [*flags, *([] if "runner" in given else [f"--runner={_HERE}"])]

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        title: str,
        progress: ProgressReporter | None = None,
    ) -> list[Result]:
        if not tasks:
            return []
        with self._directory() as directory:
            try:
                self._run(function, directory, tasks, title)
            except WorkerDiedError as error:
                raise stopped(title, tasks[error.place], str(error)) from None
            # Of any class: the runner's, or the task's with the runner's words added.
            except Exception as error:
                raise _of_task(directory, tasks, title) or EngineError(
                    f'"{title}" stopped: Beam says {type(error).__name__}: {error}'
                ) from error
            results = [
                succeeded(_outcome(directory, place, title), task, title)
                for place, task in enumerate(tasks)
            ]
        (progress or LogProgress()).progress(title, len(tasks), len(tasks), "parts")
        return results

    def _run(
        self, function: Callable[[Any], Any], directory: Path, tasks: Sequence[Any], title: str
    ) -> None:
        beam = _module("apache_beam")
        settings = _module(_OPTIONS).PipelineOptions(self._flags)
        elements = [(place, pickle.dumps(task)) for place, task in enumerate(tasks)]
        work = partial(_worked, function, directory, self._watched)

        def run() -> None:
            with beam.Pipeline(options=settings) as pipeline:
                # Without the shuffle a runner fuses both, and one worker does it all.
                _ = pipeline | beam.Create(elements) | beam.Reshuffle() | title >> beam.Map(work)

        run_watched(run, directory) if self._watched else run()

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        if self._shared is not None and not Path(self._shared).is_dir():
            raise ConfigError(
                f"{_SHARED} is no directory: {self._shared}. Give one that all workers see."
            )
        with tempfile.TemporaryDirectory(prefix="tfrecall-engine-", dir=self._shared) as directory:
            yield Path(directory)


def _worked(
    function: Callable[[Any], Any], directory: Path, watched: bool, element: tuple[int, bytes]
) -> None:
    """Run one task in a worker and leave its outcome; raise where it failed, so that the runner may retry."""
    place, task = element
    signed = sign_in(directory, place) if watched else None
    outcome = attempt(function, pickle.loads(task))
    file = _file(directory, place)
    failed = isinstance(outcome, Failure)
    # A second run beside one that ended well must not hide its result.
    if not (failed and file.exists()):
        with atomic_file(file) as stream:
            pickle.dump(outcome, stream)
    if signed is not None:
        signed.unlink(missing_ok=True)
    if failed:
        raise RuntimeError(outcome.cause)


def _file(directory: Path, place: int) -> Path:
    return directory / f"{place}.pickle"


def _outcome(directory: Path, place: int, title: str) -> Any:
    try:
        return pickle.loads(_file(directory, place).read_bytes())
    except FileNotFoundError:
        raise EngineError(
            f'"{title}" ended without the result of part {place}: nothing is in {directory}. Its workers see '
            f"another file system there; give the option {_SHARED}=PATH a place that all machines share."
        ) from None


def _of_task(directory: Path, tasks: Sequence[Any], title: str) -> Exception | None:
    """The error of the first task that left a failure; None if it was not a task that failed."""
    for place, task in enumerate(tasks):
        with suppress(FileNotFoundError):
            outcome = pickle.loads(_file(directory, place).read_bytes())
            if isinstance(outcome, Failure):
                return outcome.error or stopped(title, task, outcome.cause)
    return None


def _workers(processes: int, runner: str) -> dict[str, str]:
    if processes < 1:
        raise ConfigError(f"`processes` must be 1 or more. Received: {processes}.")
    if not runner.lower().endswith(("fnapirunner", "directrunner")):
        raise ConfigError(
            f"How many workers {runner} has is told by its own option, not by processes: parallelism=8 for "
            "Flink, num_workers=8 for Dataflow, the master's for Spark."
        )
    return {"direct_num_workers": str(processes), "direct_running_mode": "multi_processing"}


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would print before it exits."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"Apache Beam refuses the options of the engine: {message}.")


def _check(flags: Sequence[str], *, known_alone: bool) -> None:
    """Refuse options that Beam does not know or take; those of a job server are known to it alone."""
    parser = _Parser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    groups = _module(_OPTIONS).PipelineOptions.__subclasses__()
    # Sub-classes of an option class are registered beside it, and may repeat it.
    for group in {str(group): group for group in groups}.values():
        group._add_argparse_args(parser)
    if (unknown := parser.parse_known_args(flags)[1]) and known_alone:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")


def _module(name: str) -> Any:
    """Import a module of Beam, whose functions have no types."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            "The engine beam needs Apache Beam: install tfrecall[beam] (`pip install apache-beam`)."
        ) from error
