"""Exit statuses of the commands, and the end of a standard output that takes no more."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
READER_GONE = 141  # 128 + SIGPIPE, likewise


@contextmanager
def standard_output() -> Iterator[None]:
    """Turn a standard output that takes no more into an exit status, without a traceback.

    Raises:
        SystemExit: 141 if the reader has gone away, 1 if nothing can be written, such as on a full disk.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        _discard_output()
        raise SystemExit(READER_GONE) from error
    except OSError as error:
        if error.filename is not None:  # of a file
            raise
        _discard_output()
        print(f"Error: the output cannot be written: {error}.", file=sys.stderr)
        raise SystemExit(1) from error


def _discard_output() -> None:
    """Point standard output to nowhere: Python flushes it at the end, and would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
