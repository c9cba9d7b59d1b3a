"""Inference of a recipe from the files of a log, with the reason for each setting."""

from tfrecall.config.inference.proposal import Proposal
from tfrecall.config.inference.propose import propose

__all__ = ["Proposal", "propose"]
