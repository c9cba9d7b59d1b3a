"""The exceptions of the package.

    TfrecallError
    ├── DataError (ValueError)          a log or table that cannot be used as it is
    │   └── MissingColumnError (KeyError)   a column that is not there
    ├── ConfigError (ValueError)        a recipe, setting or argument that makes no sense
    ├── FetchError (OSError)            a data set that could not be fetched
    ├── DivergedError (ArithmeticError) a loss, gradient or weight that is no longer a finite number
    ├── CheckpointError (ValueError)    a checkpoint that is damaged or belongs to another training
    ├── ReleaseError (ValueError)       a release or index bundle that is damaged or foreign
    ├── ExportError (RuntimeError)      a release that could not be written or does not answer alike
    └── KerasVersionError (ImportError) Keras 3 was chosen before tfrecall could choose Keras 2

Each message says what is wrong, what was received and what to do.
"""

import difflib
from collections.abc import Iterable


class TfrecallError(Exception):
    """Base of every exception that the package raises on purpose."""

    def __str__(self) -> str:  # KeyError would print the repr of the message.
        return str(self.args[0]) if self.args else ""


class DataError(TfrecallError, ValueError):
    """A log or table cannot be used as it is."""


class MissingColumnError(DataError, KeyError):
    """A table does not have a column that was asked for."""


class ConfigError(TfrecallError, ValueError):
    """A recipe, a setting or an argument makes no sense."""


class FetchError(TfrecallError, OSError):
    """A data set could not be fetched from any of its sources."""


class DivergedError(TfrecallError, ArithmeticError):
    """Training came to numbers that are not finite."""


class CheckpointError(TfrecallError, ValueError):
    """A checkpoint is damaged, or belongs to another training."""


class ReleaseError(TfrecallError, ValueError):
    """A release or an index bundle is damaged, incomplete or foreign."""


class ExportError(TfrecallError, RuntimeError):
    """A release could not be written, or answers unlike the live model."""


class KerasVersionError(TfrecallError, ImportError):
    """Keras 3 is in use where Keras 2 is needed."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns ` Did you mean "x"?` for the valid name nearest to `name`, or an empty string.

    >>> nearest("usr_id", ["user_id", "item_id"])
    ' Did you mean "user_id"?'
    """
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f' Did you mean "{matches[0]}"?' if matches else ""
