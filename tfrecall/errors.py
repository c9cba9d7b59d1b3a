"""Exceptions of the package.

    TfrecallError
    ├── DataError (ValueError)          log or table that cannot be used as it is
    │   └── MissingColumnError (KeyError)   missing column
    ├── ConfigError (ValueError)        invalid recipe, setting or argument
    │   └── UnsupportedError (AttributeError)   ability that a release of this kind lacks
    ├── FetchError (OSError)            data set that could not be fetched
    ├── DivergedError (ArithmeticError) loss, gradient or weight that is not finite
    ├── WorkerLostError (ConnectionError)   worker of a training on several machines that is gone
    ├── CheckpointError (ValueError)    checkpoint that is damaged or of another training
    ├── ReleaseError (ValueError)       release or index bundle that is damaged, incomplete or foreign
    ├── ExportError (RuntimeError)      release that could not be written, or differs from the live model
    ├── EngineError (RuntimeError)      job that a task or a worker of an engine ended
    ├── ServingError (RuntimeError)     request that a service could not answer
    │   ├── QueueFullError                  too many requests wait already
    │   ├── NotReadyError                   the service is starting or stopping
    │   ├── DeadlineError (TimeoutError)    nobody waits for the answer any more
    │   └── ModelFailedError                the model raised, or did not return
    └── KerasVersionError (ImportError) Keras 3 in use before tfrecall could choose Keras 2

Each message says what is wrong, what was received and what to do. Each class also inherits the built-in
exception in parentheses.
"""

import difflib
from collections.abc import Iterable


class TfrecallError(Exception):
    """Base of all exceptions that the package raises on purpose.

    Example:

    >>> import tfrecall as tr
    >>> try:
    ...     tr.load_config("two_tower_ml10k")
    ... except tr.TfrecallError as error:
    ...     print(str(error).split(" Shipped")[0])
    There is no recipe "two_tower_ml10k". Did you mean "two_tower_ml100k"?
    """

    def __str__(self) -> str:  # KeyError would print the repr of the message.
        return str(self.args[0]) if self.args else ""


class DataError(TfrecallError, ValueError):
    """Log or table that cannot be used as it is."""


class MissingColumnError(DataError, KeyError):
    """Missing column of a table."""


class ConfigError(TfrecallError, ValueError):
    """Invalid recipe, setting or argument."""


class UnsupportedError(ConfigError, AttributeError):
    """Ability that a model or a release of this kind lacks."""


class FetchError(TfrecallError, OSError):
    """Data set that no source could provide."""


class DivergedError(TfrecallError, ArithmeticError):
    """Training that produced numbers that are not finite."""


class WorkerLostError(TfrecallError, ConnectionError):
    """Worker of a training on several machines that is gone."""


class CheckpointError(TfrecallError, ValueError):
    """Checkpoint that is damaged, or belongs to another training."""


class ReleaseError(TfrecallError, ValueError):
    """Release or index bundle that is damaged, incomplete or foreign."""


class ExportError(TfrecallError, RuntimeError):
    """Release that could not be written, or differs from the live model."""


class EngineError(TfrecallError, RuntimeError):
    """Job that ended because a task raised an error that is not ours, or its worker died."""


class ServingError(TfrecallError, RuntimeError):
    """Request that a service could not answer, although nothing is wrong with it."""


class QueueFullError(ServingError):
    """Request refused because too many wait already."""


class NotReadyError(ServingError):
    """Request to a service that is starting or stopping."""


class DeadlineError(ServingError, TimeoutError):
    """Request whose deadline passed before its answer was there."""


class ModelFailedError(ServingError):
    """Request on which the model raised an error that is not ours, or did not return."""


class KerasVersionError(TfrecallError, ImportError):
    """Keras 3 in use where Keras 2 is needed."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns ` Did you mean "x"?` for the valid name nearest to `name`, or an empty string.

    >>> nearest("usr_id", ["user_id", "item_id"])
    ' Did you mean "user_id"?'
    """
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f' Did you mean "{matches[0]}"?' if matches else ""
