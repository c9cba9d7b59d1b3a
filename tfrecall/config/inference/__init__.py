"""A recipe for a log that nobody has written one for: inferred from what is in the files, and explained."""

from tfrecall.config.inference.propose import Proposal, propose

__all__ = ["Proposal", "propose"]
