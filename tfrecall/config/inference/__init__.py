"""Inference of a recipe from the files of a log, with the reason for each setting, and of its rivals."""

from tfrecall.config.inference.entrants import Entrant, default_budget, entrants
from tfrecall.config.inference.proposal import Proposal
from tfrecall.config.inference.propose import propose

__all__ = ["Entrant", "Proposal", "default_budget", "entrants", "propose"]
