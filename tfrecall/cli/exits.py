"""Exit statuses of the commands, and the handling of a closed or full standard output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BEATEN = 3  # a run that is complete, but a baseline of its table is better than the model
DRIFTED = 4  # a drift beyond a limit that was given
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
READER_GONE = 141  # 128 + SIGPIPE, likewise


def open_streams() -> None:
    """Give closed standard streams (`>&-`) the null device: the next files would take their numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  until the end
            setattr(sys, name, stream)


@contextmanager
def standard_output() -> Iterator[None]:
    """Turn a closed or full standard output into an exit status, without a traceback.

    Raises:
        SystemExit: 141 if the reader has gone away, 1 if nothing can be written, such as on a full disk.
    """
    try:
        try:
            yield
        finally:
            # Buffered text would otherwise fail at interpreter exit, out of reach of this handler.
            sys.stdout.flush()
    except BrokenPipeError as error:
        _discard_output()
        raise SystemExit(READER_GONE) from error
    except OSError as error:
        if error.filename is not None:  # an error of a file, not of standard output
            raise
        _discard_output()
        print(f"Error: the output cannot be written: {error}.", file=sys.stderr)
        raise SystemExit(1) from error


def _discard_output() -> None:
    """Redirect standard output to the null device: Python flushes it at exit, and would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
