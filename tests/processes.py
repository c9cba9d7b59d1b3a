"""Processes to kill and to limit, which start with TensorFlow imported and nothing run.

They are forks of one process that imports it once for all tests of a worker: an import takes most of the
time of a process that does little. What tests the start itself begins a fresh interpreter.
"""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tfrecall._keras"])


class Forked:
    """Python code that runs in a process of its own, as `python -c CODE ARGUMENTS` would.

    Args:
        code: the code, which finds `arguments` in `sys.argv`.
        arguments: texts, paths and numbers.
    """

    def __init__(self, code: str, *arguments: object) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._heard = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        self._process = _FORKS.Process(
            target=_run, args=(code, [*map(str, arguments)], *map(str, self._heard))
        )
        self._process.start()

    @property
    def is_over(self) -> bool:
        return not self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    def ended(self, timeout: float = 600) -> tuple[int, str, str]:
        """Waits for the end: the status, below 0 for a signal, standard output and standard error."""
        self._process.join(timeout)
        assert self.is_over, "The process hangs."
        output, errors = (file.read_text("utf-8") for file in self._heard)
        self._folder.cleanup()
        return self._process.exitcode, output, errors


def _run(code: str, arguments: list[str], *heard: str) -> None:
    for descriptor, name in enumerate(heard, start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "-c", "exec"), {"__name__": "__main__"})
