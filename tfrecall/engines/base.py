"""The engine that jobs are written against, and how a failed task is told of."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tfrecall.core.progress import ProgressReporter
from tfrecall.errors import EngineError, TfrecallError

Task = TypeVar("Task")
Result = TypeVar("Result")
# Of a task's own text in a message: a task is a path or a few numbers, and a long one says little more.
_SHOWN = 200


class Engine(Protocol):
    """Runs a function on tasks, wherever its workers are.

    A task is a part of the work, such as the path of a partition, never a row: tasks and results travel
    between processes and machines, and the data lie in files that all of them see.

    Attributes:
        name: the word of `--engine`.
    """

    name: str

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        title: str,
        progress: ProgressReporter | None = None,
    ) -> list[Result]:
        """Run `function` on each task and return the results in the order of the tasks.

        An engine may run a task again after a fault, also beside its first run: a function writes files
        whole or not at all, and the same ones each time.

        Args:
            function: a function at the top level of a module, or `functools.partial` of one.
            tasks: values that pickle makes small.
            title: the work, in messages and for `progress`.
            progress: receives the number of finished and of all tasks; None logs them to the logger
                "tfrecall".

        Raises:
            TfrecallError: the first one that a task raised, as it is.
            EngineError: if a task raised anything else or its worker died; no task goes on then.
            ConfigError: if the engine refuses its options, or cannot be reached.
        """


@dataclass(frozen=True)
class Failure:
    """What stopped a task, in a form that travels between processes.

    Attributes:
        error: an error of the package, which is raised again as it is; None for any other.
        cause: name and message of the error.
        trace: traceback in the worker.
    """

    error: TfrecallError | None
    cause: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """The failure of an error that was raised just now."""
        ours = error if isinstance(error, TfrecallError) else None
        told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return cls(ours, f"{type(error).__name__}: {error}", told)


def attempt(function: Callable[[Any], Any], task: Any) -> Any:
    """Give the result of a task, or its `Failure`; Ctrl-C and exits pass."""
    try:
        return function(task)
    except Exception as error:
        return Failure.of(error)


def succeeded(outcome: Any, task: Any, title: str) -> Any:
    """Return an outcome that is no failure.

    Raises:
        TfrecallError: for the failure.
    """
    if not isinstance(outcome, Failure):
        return outcome
    if outcome.error is not None:
        raise outcome.error
    raise stopped(title, task, outcome.cause) from RuntimeError(f"in the worker:\n{outcome.trace}")


def stopped(title: str, task: Any, cause: str) -> EngineError:
    """The error of a job that one task ended."""
    return EngineError(
        f'"{title}" stopped at the task {repr(task)[:_SHOWN]}: {cause.rstrip(".")}. Nothing of it counts as '
        "finished; mend the cause and start it again."
    )
