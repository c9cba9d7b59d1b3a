"""A small search over the settings of a recipe, judged by validation rows."""

from tfrecall.runs.tuning.search import Trial, Tuned, tune
from tfrecall.runs.tuning.space import default_space

__all__ = ["Trial", "Tuned", "default_space", "tune"]
