"""Fitting a model: seeds, schedules, early stopping, best weights restored, checkpoints."""

from tfrecall.training.fitting import MONITOR, Fitted, fit, made_with, seed_everything
from tfrecall.training.optimizers import OPTIMIZERS, make_optimizer
from tfrecall.training.strategy import connect

__all__ = [
    "MONITOR",
    "OPTIMIZERS",
    "Fitted",
    "connect",
    "fit",
    "made_with",
    "make_optimizer",
    "seed_everything",
]
