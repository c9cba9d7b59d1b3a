"""The one place that imports TensorFlow, without the notes on CUDA, TensorRT and CPU features that it prints.

Everyone else in the package writes `from tfrecall._tensorflow import tf`, or takes it from `tfrecall._keras`.
Errors stay, and so does everything that Python code prints while TensorFlow is imported.
"""

import gc
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Information and warnings of TensorFlow's C++ code, such as "Allocation exceeds 10 % of free memory".
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# absl's form (I0000 00:00:17), TensorFlow's own (2026-11-27 21:00:00.1: I), and lines that belong to them.
_NOTE = re.compile(
    r"([IW]\d{4} [\d:.]+ |\d{4}-\d\d-\d\d [\d:.]+: [IW] "
    r"|WARNING: All log messages before absl::InitializeLog"
    r"|To enable the following instructions:|Skipping registering GPU devices)"
    r"|E.*(Unable to register cu\w+ factory|computation placer already registered)"
)
_CUDA_ERROR = re.compile(r"(E\d{4} [\d:.]+ |\d{4}-\d\d-\d\d [\d:.]+: E ).*(cuda|cuInit)", re.IGNORECASE)
# Steps of Keras, and the towers and rankers of this package, are traced once for each model.
_RETRACED_FOR_A_MODEL = re.compile(
    r"calls to <(function|bound method) (Model\.make_|PreprocessingLayer\.make_|Tower\.|Ranker\.|MultiTask\.)"
    r".*triggered tf\.function retracing"
)
# Devices of NVIDIA's driver, on Linux and in WSL. Without one, nobody expects CUDA to start.
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")


@contextmanager
def without_notes(*, has_gpu: bool) -> Iterator[None]:
    """Drop the notes of C++ libraries from standard error; all other lines appear at the end.

    C++ writes them before any log level applies, so file descriptor 2 itself is redirected, to a file
    that is filtered afterwards.

    Args:
        has_gpu: whether errors of CUDA mean something; without a GPU they are notes, too.
    """
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    with tempfile.TemporaryFile() as heard:
        _flush()
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(kept, 2)
            os.close(kept)
            heard.seek(0)
            with suppress(OSError):  # nobody listens
                os.write(
                    2,
                    b"".join(
                        line for line in heard if not is_note(line.decode(errors="replace"), has_gpu)
                    ),
                )


def is_note(line: str, has_gpu: bool) -> bool:
    """Whether a line of standard error is one of the notes that nobody can act on."""
    return bool(_NOTE.match(line) or (not has_gpu and _CUDA_ERROR.match(line)))


def _flush() -> None:
    # None under pythonw; closed in some servers.
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def is_of_interest(record: logging.LogRecord) -> bool:
    """Whether a warning is other than of functions that are traced anew for each model."""
    return not _RETRACED_FOR_A_MODEL.search(record.getMessage())


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Leave garbage where it is.

    While TensorFlow is imported, the collector would look hundreds of times through a third of a million
    objects that stay: a quarter of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_HAS_GPU = any(Path(device).exists() for device in _GPU_DEVICES)
with without_garbage_collection(), without_notes(has_gpu=_HAS_GPU):
    import tensorflow as tf

    if not _HAS_GPU:
        # CUDA is looked for when devices are first listed, and its absence is told then.
        tf.config.list_physical_devices("GPU")
tf.get_logger().addFilter(is_of_interest)

__all__ = ["tf"]
