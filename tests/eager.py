"""Training steps that run as they are: where a few run, tracing their graph takes longer."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock


@contextmanager
def eager_steps() -> Iterator[None]:
    """Steps of models that are compiled within are run eagerly, also those that `fit` compiles."""
    from tfrecall.models.keras_methods import KerasMethods

    compile_eagerly = functools.partialmethod(KerasMethods.compile, run_eagerly=True)
    with mock.patch.object(KerasMethods, "compile", compile_eagerly):
        yield
