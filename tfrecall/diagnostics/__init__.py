"""Diagnostics of data, training and model.

Each diagnostic is a small function of arrays or tables that returns a `Finding`, or None without a
problem.
"""

from tfrecall.diagnostics.finding import Finding

__all__ = ["Finding"]
