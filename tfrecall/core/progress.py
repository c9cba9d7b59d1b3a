"""Progress of long work: steps, notes and counts, reported to one object."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("tfrecall")


class ProgressReporter:
    """Receives the steps, notes and counts of long work; this base class ignores them all.

    Pass it as `progress=` to silence a function. Derive from it and override the methods of interest to
    show them elsewhere, such as in a progress bar.

    Example:

    >>> class Notes(ProgressReporter):
    ...     def note(self, text):
    ...         print("*", text)
    >>> reporter = Notes()
    >>> with reporter.step("Fit the model"):
    ...     reporter.progress("epoch 1", 32, 100, "steps")
    ...     reporter.note("12 events are rated too low")
    * 12 events are rated too low
    """

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Encloses one step of the work, such as "Prepare the data"."""
        yield

    def note(self, text: str) -> None:
        """Receives one sentence about the data or the work."""

    def warning(self, text: str) -> None:
        """Receives a sentence that asks for a decision; passed on to `note` unless overridden."""
        self.note(text)

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        """Receives a count after each block of work.

        Args:
            title: name of the work, such as a model or an epoch.
            done: units finished so far.
            total: all units; 0 if unknown.
            unit: name of the counted things, in the plural.
        """


class LogProgress(ProgressReporter):
    """Writes warnings to the logger "tfrecall" at WARNING, steps and notes at INFO, counts at DEBUG.

    The default of every function that takes `progress=`. Python shows only warnings until logging is
    configured, for example by `logging.basicConfig(level="INFO")`.
    """

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        logger.info("%s", title)
        yield

    def note(self, text: str) -> None:
        logger.info("%s", text)

    def warning(self, text: str) -> None:
        logger.warning("%s", text)

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        logger.debug("%s: %d of %d %s", title, done, total, unit)
