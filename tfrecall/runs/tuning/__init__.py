"""Hyperparameter search over the settings of a recipe, by validation rows."""

from importlib.util import find_spec

from tfrecall.errors import ConfigError

if find_spec("optuna") is None:
    raise ConfigError(
        "`tfrecall tune` searches with the library `optuna`, which is not installed. Install it with "
        "`pip install 'tfrecall[tune]'`."
    )

from tfrecall.runs.tuning.search import Trial, Tuned, tune
from tfrecall.runs.tuning.space import default_space

__all__ = ["Trial", "Tuned", "default_space", "tune"]
