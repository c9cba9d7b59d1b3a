"""Commands to paste into a shell: the program as it was started, arguments quoted."""

import shlex
import shutil
import sys
from pathlib import Path


def command(*arguments: object) -> str:
    """A command of `tfrecall` that works as printed, also where the environment is not activated.

    >>> command("recommend", "my shop", "--user", 42).partition(" recommend")[2]
    " 'my shop' --user 42"
    """
    return shlex.join([*program(sys.argv[0]), *map(str, arguments)])


def program(started: str) -> list[str]:
    """The words that start `tfrecall` again.

    Args:
        started: the path by which the running program was started.
    """
    path = Path(started)
    if path.name == "__main__.py":  # python -m tfrecall.cli
        return [sys.executable, "-m", "tfrecall.cli"]
    if path.name != "tfrecall" or not path.exists():  # Python code that calls a command
        return ["tfrecall"]
    found = shutil.which("tfrecall")
    return ["tfrecall"] if found and path.samefile(found) else [started]
